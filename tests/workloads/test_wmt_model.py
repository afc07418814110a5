"""The Transformer of `wmt`: published numbers, and a transcription in plain NumPy."""

import dataclasses
import types

import numpy as np
import pytest
import wmt_oracle as oracle
from test_wmt_beam import (
    FRAMEWORKS,
    TINY,
    batch_of,
    outputs_of,
    random_params,
)

from algoperf import backend as backends
from algoperf import registry, spec
from algoperf.forward_context import ForwardContext
from algoperf.runner.randomness import key_numbers
from algoperf.workloads.wmt import rows
from algoperf.workloads.wmt.definition import DEFINITION, ModelConfig
from tests.closeness import FLOAT32_SHORT, assert_close

PACKAGES = {"jax": "flax", "pytorch": "torch"}
each_framework = pytest.mark.parametrize("framework", FRAMEWORKS)
VARIANTS = {
    "base": dataclasses.replace(TINY, num_layers=2),
    "post_ln": dataclasses.replace(TINY, norm_position="post"),
    "attention_temp": dataclasses.replace(TINY, attention_temperature=4.0),
    "glu_tanh": dataclasses.replace(TINY, activation="tanh", is_gated=True),
}
PAIRS = [([5, 4, 2], [7, 9, 3, 2]), ([8, 2], [6, 2]), ([3, 10, 4, 2], [5, 5, 8, 2])]


def bound(framework, definition, **options):
    pytest.importorskip(PACKAGES[framework])
    backend = backends.load(framework, **options)
    model = registry.module("workloads", "wmt", f"model_{framework}")
    return backend, backend.bind(definition, model, types.SimpleNamespace())


def with_model(config):
    return dataclasses.replace(DEFINITION, model=config)


def init(backend, model, seed=0):
    return model.init(backend.keys(key_numbers(seed, "init"))[0])[0]


def leaves(tree, prefix=""):
    if not isinstance(tree, dict):
        return {prefix.removeprefix("/"): tree}
    parts = (leaves(sub, f"{prefix}/{key}") for key, sub in tree.items())
    return {key: leaf for part in parts for key, leaf in part.items()}


def packed(pairs, length):
    """One row of several pairs, as the published packing makes it."""
    batch = {}
    for side, key in enumerate(("inputs", "targets")):
        parts = [pair[side] for pair in pairs]
        arrays = {
            key: [token for part in parts for token in part],
            f"{key}_position": [i for part in parts for i in range(len(part))],
            f"{key}_segmentation": [n for n, p in enumerate(parts, 1) for _ in p],
        }
        for name, values in arrays.items():
            batch[name] = np.zeros((1, length), np.int32)
            batch[name][0, : len(values)] = values
    batch["weights"] = (batch["targets"] > 0).astype(np.float32)
    return batch


def logits_of(framework, config, params, batch, **options):
    """Logits of a batch through the backend, with weights given in JAX's names."""
    return logits_by_seed(framework, config, params, batch, **options)(0)


def logits_by_seed(framework, config, params, batch, *, rate=0.0, train=False):
    """A function of the step's seed, compiled once."""
    backend, model = bound(framework, with_model(config))
    if framework == "jax":
        from flax.traverse_util import unflatten_dict

        held = unflatten_dict(params, sep="/")
    else:
        import torch

        from algoperf.pytorch_backend.weights import from_jax

        held = init(backend, model)
        for name, a in from_jax(params).items():
            held.get_parameter(name).data.copy_(torch.tensor(a))
    mode = spec.ForwardPassMode.TRAIN if train else spec.ForwardPassMode.EVAL
    placed = backend.place(batch)

    def forward(held, placed, rng):
        return model.forward(held, placed, {}, mode, rng, True, rate)[0]

    if framework == "jax":
        forward = pytest.importorskip("jax").jit(forward)

    def logits(seed):
        rng = backend.keys(key_numbers(seed, "step"))[0]
        found = forward(held, placed, rng)
        return np.asarray(found if framework == "jax" else found.detach())

    return logits


# Definition


def test_published_numbers():
    limits = {k: (v.budget_seconds, v.step_hint) for k, v in DEFINITION.limits.items()}
    assert limits == {
        "v0.5": (48_151, 133_333),
        "v0.6": (43_336, 120_000),
        "v1.0": (16_114, 120_000),
    }
    assert dataclasses.astuple(DEFINITION.splits) == (5_906_184, 3_072, 3_000, 3_003)
    assert (DEFINITION.eval_batch_size, DEFINITION.eval_period_seconds) == (128, 840)
    assert DEFINITION.default_dropout_rate == 0.1
    assert DEFINITION.target.metric == "bleu"
    assert DEFINITION.loss_type is spec.LossType.SOFTMAX_CROSS_ENTROPY


@pytest.mark.parametrize(
    ("name", "validation", "test", "num_params"),
    [
        ("wmt", 30.8491, 30.7219, 133_521_408),
        ("wmt_post_ln", 30.0779, 29.8982, 133_517_312),
        ("wmt_attention_temp", 29.3379, 29.4143, 133_521_408),
        ("wmt_glu_tanh", 29.5779, 29.0515, 146_116_608),
    ],
)
@each_framework
def test_targets_and_numbers_of_parameters_are_the_published_ones(
    framework, name, validation, test, num_params
):
    definition = registry.definition(name)
    assert (definition.target.validation, definition.target.test) == (validation, test)
    _, model = bound(framework, definition)
    shapes = leaves(model.param_shapes).values()
    assert sum(int(np.prod(s.shape_tuple)) for s in shapes) == num_params


@each_framework
def test_types_are_set_and_the_shared_table_is_the_output(framework):
    _, model = bound(framework, with_model(TINY))
    types_of = {
        path.replace(".", "/").rpartition("/")[0]: type
        for path, type in leaves(model.param_types).items()
        if not path.endswith("bias")
    }
    attention = "decoder_0/cross_attention"
    kinds = spec.ParameterType
    assert types_of[f"{attention}/query"] is kinds.ATTENTION_Q
    assert types_of[f"{attention}/key"] is kinds.ATTENTION_K
    assert types_of[f"{attention}/value"] is kinds.ATTENTION_V
    assert types_of[f"{attention}/out"] is kinds.ATTENTION_OUT
    assert types_of["encoder_0/mlp/hidden"] is kinds.WEIGHT
    assert types_of["encoder_norm"] is kinds.LAYER_NORM_SCALE
    assert types_of["embedding"] is kinds.EMBEDDING
    outputs = [p for p in types_of if model.is_output_param(p)]
    assert outputs == ["embedding"]


@each_framework
def test_initial_values_are_the_published_ones(framework):
    config = ModelConfig(
        vocab_size=400,
        max_length=8,
        num_layers=1,
        embed_dim=32,
        num_heads=2,
        mlp_dim=96,
    )
    backend, model = bound(framework, with_model(config))
    params = init(backend, model)
    if framework == "jax":
        values = {k.replace("/", "."): np.asarray(v) for k, v in leaves(params).items()}
    else:
        values = {k: v.detach().numpy() for k, v in params.named_parameters()}
    limits = {"self_attention.query": 64, "mlp.hidden": 128, "mlp.out": 128}
    for name, fans in limits.items():
        found = [
            v for k, v in values.items() if f"decoder_0.{name}" in k and v.ndim > 1
        ]
        largest = np.abs(found[0]).max()
        assert 0.97 * np.sqrt(6 / fans) < largest <= np.sqrt(6 / fans)
    assert not any("attention" in k and "bias" in k and "norm" not in k for k in values)
    assert 0 < np.abs(values["encoder_0.mlp.hidden.bias"]).max() < 1e-5
    table = next(v for k, v in values.items() if k.startswith("embedding"))
    assert table.std() == pytest.approx(1, abs=0.03)
    assert abs(table.mean()) < 0.03


# Rows


def test_positions_are_sines_then_cosines():
    table = rows.sinusoids(256, 1_024)
    k = np.arange(512)
    angles = 37 * 10_000 ** (-k / 511)
    assert_close(table[37, :512], np.sin(angles), tolerance=FLOAT32_SHORT)
    assert_close(table[37, 512:], np.cos(angles), tolerance=FLOAT32_SHORT)
    assert table.shape == (256, 1_024)


def test_logits_are_cut_into_equal_parts_of_at_most_four_megabytes():
    assert rows.num_chunks(256, 32_000) == 8
    assert rows.num_chunks(32, 1_000) == 1
    assert rows.num_chunks(7, 10**7) == 7


# Model


@each_framework
@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_are_those_of_the_transcription(framework, variant):
    config = VARIANTS[variant]
    params = random_params(config, 1)
    batch = {
        "inputs": np.zeros((3, 13), np.int32),
        "targets": np.zeros((3, 13), np.int32),
    }
    for i, (source, target) in enumerate(PAIRS):
        batch["inputs"][i, : len(source)] = source
        batch["targets"][i, : len(target)] = target
    found = logits_of(framework, config, params, batch)
    for row, (source, target) in zip(found, PAIRS, strict=True):
        expected = oracle.transformer(params, config, source, [0, *target[:-1]])
        assert_close(row[: len(target)], expected)


@each_framework
def test_a_pair_in_a_packed_row_is_alone_but_for_the_token_before_it(framework):
    """Published: the shift ignores where pairs begin."""
    params = random_params(TINY, 2)
    found = logits_of(framework, TINY, params, packed(PAIRS, 13))[0]
    first, before = 0, 0
    for source, target in PAIRS:
        expected = oracle.transformer(params, TINY, source, [before, *target[:-1]])
        part = found[first : first + len(target)]
        assert_close(part, expected)
        first, before = first + len(target), target[-1]


@each_framework
def test_what_padding_is_predicted_to_be_is_finite(framework):
    found = logits_of(
        framework, TINY, random_params(TINY, 0), batch_of([[], [5]], TINY)
    )
    assert np.isfinite(found).all()


@each_framework
def test_sums_of_an_evaluation_are_those_of_the_unsmoothed_loss(framework):
    params = random_params(TINY, 3)
    sentences = [[5, 4, 9, 2], [3, 2], [], [], []]
    found = outputs_of(framework, TINY, params, batch_of(sentences, TINY))
    for i, sentence in enumerate(sentences[:2]):
        read = [0, *sentence[:-1]]
        log_probs = oracle.log_probs(params, TINY, sentence, read)
        loss = -sum(log_probs[j, token] for j, token in enumerate(sentence))
        hits = sum(log_probs.argmax(axis=1) == sentence)
        assert found["per_example_loss"][i] == pytest.approx(loss, rel=1e-4)
        assert found["num_tokens"][i] == len(sentence)
        assert found["num_correct"][i] == hits
    assert found["per_example_loss"][2] == 0
    np.testing.assert_array_equal(
        found["reference"], batch_of(sentences, TINY)["targets"]
    )


def sums_of(framework, decoded, targets, params):
    """The sums that evaluation makes of the decoder's output."""
    model = registry.module("workloads", "wmt", f"model_{framework}")
    module, is_real = model.build(TINY), np.array([True, True, False])
    table = params["embedding/embedding"]
    if framework == "jax":
        variables = {"params": {"embedding": {"embedding": table}}}
        return model.sums(module, variables, decoded, targets, is_real)
    import torch

    module.embedding.weight.data.copy_(torch.tensor(table))
    arrays = (torch.tensor(a) for a in (decoded, targets, is_real))
    with torch.no_grad():
        return model.sums(module, *arrays)


@each_framework
def test_sums_do_not_depend_on_how_logits_are_cut(framework, monkeypatch):
    pytest.importorskip(PACKAGES[framework])
    params = random_params(TINY, 3)
    rng = np.random.default_rng(0)
    decoded = rng.normal(size=(3, 12, TINY.embed_dim)).astype(np.float32)
    targets = rng.integers(0, TINY.vocab_size, (3, 12)).astype(np.int32)
    whole = sums_of(framework, decoded, targets, params)
    model = registry.module("workloads", "wmt", f"model_{framework}")
    monkeypatch.setattr(model, "num_chunks", lambda length, vocab_size: 4)
    parts = sums_of(framework, decoded, targets, params)
    assert whole["per_example_loss"][0] > 0 == whole["per_example_loss"][2]
    for key in ("per_example_loss", "num_tokens", "num_correct"):
        assert_close(parts[key], whole[key], tolerance=FLOAT32_SHORT)


@each_framework
def test_dropout_sites_are_those_of_the_paper(framework, monkeypatch):
    """Embeddings; of each attention probabilities and output; of each MLP both layers."""
    num_sites = 2 + (2 + 2) + (2 + 2 + 2)
    pytest.importorskip(PACKAGES[framework])
    if framework == "pytorch":
        from algoperf.pytorch_backend.layers import Dropout
        from algoperf.workloads.wmt import model_pytorch

        parts = model_pytorch.build(TINY).modules()
        assert sum(isinstance(part, Dropout) for part in parts) == num_sites
        return
    from algoperf.jax_backend import layers

    shapes = []

    def seen(x, rate, rng, **_):
        shapes.append(x.shape)
        return x

    monkeypatch.setattr(layers, "dropout", seen)
    params, batch = random_params(TINY, 0), packed(PAIRS, 13)
    logits_of("jax", TINY, params, batch, rate=0.3, train=True)
    assert len(shapes) == num_sites
    assert shapes.count((1, 2, 13, 13)) == 1 + 2


@each_framework
def test_dropout_acts_in_training_only_and_depends_on_the_rng(framework):
    params, batch = random_params(TINY, 0), packed(PAIRS, 13)
    plain = logits_of(framework, TINY, params, batch, rate=0.5)
    dropped = logits_by_seed(framework, TINY, params, batch, rate=0.5, train=True)
    first, again, other = dropped(0), dropped(0), dropped(1)
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, plain)
    assert not np.allclose(first, other)


@pytest.mark.parametrize(
    "framework", [pytest.param("jax", marks=pytest.mark.slow), "pytorch"]
)
def test_evaluation_in_bfloat16_reduces_in_float32(framework):
    backend, model = bound(framework, with_model(TINY), precision="bf16")
    params = init(backend, model)
    batch = backend.place(batch_of([[5, 4, 9, 2], [3, 2]], TINY))
    found, _ = model.evaluate(params, {}, batch)
    assert found["per_example_loss"].dtype == np.float32
    assert np.isfinite(found["per_example_loss"]).all()
    assert found["hypothesis"].dtype == np.int32


# Slow


@pytest.mark.slow
def test_pytorch_compiles_without_a_break():
    torch = pytest.importorskip("torch")
    from algoperf.workloads.wmt import model_pytorch

    module = model_pytorch.build(TINY)
    from algoperf.pytorch_backend.model import initialise

    initialise(module, np.array([0, 1]))
    module.eval()
    sentences = [[5, 4, 9, 2], [3, 2], []]
    batch = {k: torch.tensor(v) for k, v in batch_of(sentences, TINY).items()}
    with torch.no_grad():
        eager = model_pytorch.outputs(module, batch, ForwardContext(TINY))
    module.compile(fullgraph=True, dynamic=False)
    with torch.no_grad():
        compiled = model_pytorch.outputs(module, batch, ForwardContext(TINY))
    for key, tensor in eager.items():
        assert_close(compiled[key], tensor)


@pytest.mark.slow
@each_framework
def test_the_initial_loss_of_the_full_model_is_the_published_one(framework):
    """11.037 after one step; a uniform guess has ln 32000 = 10.37."""
    backend, model = bound(framework, DEFINITION)
    params = init(backend, model)
    if framework == "pytorch":
        params.requires_grad_(False)
    tokens = np.random.default_rng(0).integers(3, 32_000, (2, 256)).astype(np.int32)
    batch = backend.place({"inputs": tokens, "targets": tokens[::-1].copy()})
    rng = backend.keys(key_numbers(0, "step"))[0]
    mode = spec.ForwardPassMode.EVAL
    logits, _ = model.forward(params, batch, {}, mode, rng, False, 0.0)
    loss = model.loss(batch["targets"], logits, None, 0.0)
    assert 10.5 < float(loss["summed"]) / tokens.size < 11.5
