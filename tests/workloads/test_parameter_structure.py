"""The structure of JAX's parameters is the published one: algorithms look at matrices."""

import re
import types
from collections import Counter

import numpy as np
import pytest

from algoperf import backend as backends
from algoperf import registry
from algoperf.reference_algorithms._shared.matrices import matrix_shape
from tests.closeness import FLOAT32_SHORT, assert_close

pytest.importorskip("flax")

GATES = "ifgo"


def bound(name, framework):
    pytest.importorskip({"jax": "flax", "pytorch": "torch"}[framework])
    definition = registry.definition(name)
    model = registry.workload_part(definition, f"model_{framework}")
    return backends.load(framework).bind(definition, model, types.SimpleNamespace())


def flat(tree, prefix=""):
    if not isinstance(tree, dict):
        return {prefix: tree}
    parts = [flat(part, f"{prefix}/{key}".lstrip("/")) for key, part in tree.items()]
    return {path: leaf for part in parts for path, leaf in part.items()}


def shapes_of(name, framework="jax"):
    shapes = flat(bound(name, framework).param_shapes)
    return {path: shape.shape_tuple for path, shape in shapes.items()}


@pytest.mark.parametrize(
    ("name", "attention", "heads", "width", "out", "has_bias"),
    [
        ("imagenet_vit", "block_3/attention", (6, 64), 384, "out", True),
        ("imagenet_vit_map", "pooling/attention", (6, 64), 384, "out", True),
        ("librispeech_conformer", "block_2/attention", (8, 64), 512, "output", True),
        ("wmt", "encoder_5/attention", (16, 64), 1_024, "out", False),
        ("wmt", "decoder_0/self_attention", (16, 64), 1_024, "out", False),
        ("wmt", "decoder_5/cross_attention", (16, 64), 1_024, "out", False),
    ],
)
def test_attention_has_heads_as_an_axis_of_their_own(
    name, attention, heads, width, out, has_bias
):
    shapes = shapes_of(name)
    expected = {f"{attention}/{out}/kernel": (*heads, width)}
    for projection in ("query", "key", "value"):
        expected[f"{attention}/{projection}/kernel"] = (width, *heads)
    if has_bias:
        expected[f"{attention}/{out}/bias"] = (width,)
        for projection in ("query", "key", "value"):
            expected[f"{attention}/{projection}/bias"] = heads
    found = {
        path: shape
        for path, shape in shapes.items()
        if re.match(f"{attention}/(query|key|value|out|output)/", path)
    }
    assert found == expected


@pytest.mark.parametrize("direction", ["forwards", "backwards"])
def test_each_gate_of_an_lstm_has_kernels_of_its_own(direction):
    lstm = f"lstm_4/lstm/{direction}"
    shapes = shapes_of("librispeech_deepspeech")
    expected = {}
    for gate in GATES:
        expected[f"{lstm}/i{gate}/kernel"] = (512, 256)
        expected[f"{lstm}/h{gate}/kernel"] = (256, 256)
        expected[f"{lstm}/h{gate}/bias"] = (256,)
    assert {p: s for p, s in shapes.items() if p.startswith(f"{lstm}/")} == expected


def test_each_gate_is_initialised_on_its_own():
    """Kernels LeCun normal for inputs, orthogonal for states; biases 0."""
    model = bound("librispeech_deepspeech_mini", "jax")
    params, _ = model.init(backends.load("jax").keys(np.array([[0, 1]]))[0])
    values = {k: np.asarray(v) for k, v in flat(params).items() if "/lstm/" in k}
    kernels = {k: v for k, v in values.items() if k.endswith("kernel")}
    assert len({array.tobytes() for array in kernels.values()}) == len(kernels)
    for path, array in values.items():
        if path.endswith("bias"):
            assert not array.any()
        elif path.split("/")[-2].startswith("h"):
            assert_close(array.T @ array, np.eye(len(array)), tolerance=FLOAT32_SHORT)
        else:
            assert array.std() == pytest.approx(len(array) ** -0.5, rel=0.05)
            assert np.abs(array).max() < 2.5 * len(array) ** -0.5  # truncated


@pytest.mark.parametrize("name", ["imagenet_vit", "librispeech_conformer", "wmt"])
def test_muon_takes_the_same_matrices_in_both_frameworks(name):
    """But for the order of the axes: heads do not count."""

    def matrices(framework):
        model = bound(name, framework)
        kinds, shapes = flat(model.param_types), shapes_of(name, framework)
        return Counter(
            tuple(sorted(matrix))
            for path, shape in shapes.items()
            if (
                matrix := matrix_shape(
                    kinds[path], shape, is_output=model.is_output_param(path)
                )
            )
        )

    found = matrices("jax")
    assert found == matrices("pytorch")
    assert sum(found.values()) > 16
