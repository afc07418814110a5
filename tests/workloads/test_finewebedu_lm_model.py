"""The language model: published vectors, sizes, types, and both precisions."""

import dataclasses
import functools
import math

import numpy as np
import pytest

from algoperf import backend as backends
from algoperf import registry, rulesets, spec
from algoperf.definition import WorkloadDefinition
from algoperf.runner.randomness import key_numbers
from algoperf.spec import ParameterType
from algoperf.workload import Workload
from algoperf.workloads.finewebedu_lm import metrics, rotary
from algoperf.workloads.finewebedu_lm.definition import DEFINITION, ModelConfig

FRAMEWORKS = ("jax", "pytorch")
each_framework = pytest.mark.parametrize("framework", FRAMEWORKS)

# The published test configuration: 137,602 parameters.
SMALL = ModelConfig(
    vocab_size=97,
    sequence_length=16,
    num_layers=2,
    embed_dim=64,
    num_heads=2,
    mlp_dim=256,
)
TOKENS = np.array(
    [[(7 * b + 13 * i + i * i) % 97 for i in range(17)] for b in range(3)], np.int32
)
BATCH = {"inputs": TOKENS[:, :-1], "targets": TOKENS[:, 1:]}


def load(framework):
    pytest.importorskip({"jax": "flax", "pytorch": "torch"}[framework])
    return backends.load(framework)


def workload_of(framework, config=SMALL, precision="float32"):
    pytest.importorskip({"jax": "flax", "pytorch": "torch"}[framework])
    backend = backends.load(framework, precision=precision)
    definition = dataclasses.replace(
        DEFINITION.named("finewebedu_lm_mini"), model=config
    )
    return bound(definition, backend), backend


def bound(definition: WorkloadDefinition, backend) -> Workload:
    model = registry.module("workloads", "finewebedu_lm", f"model_{backend.name}")
    rules = rulesets.ruleset("v0.6")
    # The base has limits of its own ruleset only; here any will do.
    limits = {rules.limits: next(iter(definition.limits.values()))}
    definition = dataclasses.replace(definition, limits=limits)
    return Workload(
        definition, backend, model, metrics, ruleset=rules, tuning="external"
    )


def waves(shape, c):
    """The published weights: 0.2 sin(0.37 j + c), j the flat index."""
    j = np.arange(math.prod(shape))
    return (0.2 * np.sin(0.37 * j + c)).astype(np.float32).reshape(shape)


def published_weights():
    """JAX parameters by path."""
    weights = {"embedding/embedding": waves((97, 64), 0)}
    for i in range(2):
        layer, c = f"layer_{i}", 10 * i
        for place, name in enumerate(("query", "key", "value"), 1):
            path = f"{layer}/attention/{name}/kernel"
            weights[path] = waves((64, 2, 32), c + place)
        weights[f"{layer}/attention/out/kernel"] = waves((64, 64), c + 4)
        weights[f"{layer}/attention/scale"] = np.float32(math.log2(240))
        weights[f"{layer}/mlp/hidden/kernel"] = waves((64, 512), c + 5)
        weights[f"{layer}/mlp/out/kernel"] = waves((256, 64), c + 6)
        for norm in ("attention_norm", "mlp_norm"):
            weights[f"{layer}/{norm}/scale"] = np.ones(64, np.float32)
    return weights | {"final_norm/scale": np.ones(64, np.float32)}


def nested(flat):
    tree = {}
    for path, value in flat.items():
        *folders, name = path.split("/")
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = value
    return tree


def flat(tree, prefix=""):
    if not isinstance(tree, dict):
        return {prefix[:-1]: tree}
    return {
        path: leaf
        for name, part in tree.items()
        for path, leaf in flat(part, f"{prefix}{name}/").items()
    }


def step(framework, weights=None, *, batch=BATCH, precision="float32"):
    """Logits, losses, summed loss and gradients by PyTorch's names."""
    run = {"jax": jax_step, "pytorch": pytorch_step}[framework]
    return run(precision, weights or published_weights(), batch)


@functools.cache
def jax_gradient(precision):
    """Compiled once for all tests."""
    import jax

    workload, _ = workload_of("jax", precision=precision)

    def objective(params, batch):
        logits, _ = workload.model_fn(
            params, batch, {}, spec.ForwardPassMode.TRAIN, None, True
        )
        loss = workload.loss_fn(batch["targets"], logits)
        return loss["summed"], (logits, loss)

    return jax.jit(jax.value_and_grad(objective, has_aux=True))


def jax_step(precision, weights, batch):
    from algoperf.workloads.finewebedu_lm.model_pytorch import weights_from_jax

    _, backend = workload_of("jax", precision=precision)
    (summed, (logits, loss)), grads = jax_gradient(precision)(
        nested(weights), backend.place(batch)
    )
    arrays = {k: np.asarray(v) for k, v in flat(grads).items()}
    return {
        "logits": np.asarray(logits),
        "summed": float(summed),
        "n_valid": float(loss["n_valid_examples"]),
        "per_example": np.asarray(loss["per_example"]),
        "grads": weights_from_jax(SMALL, arrays),
    }


def pytorch_step(precision, weights, batch):
    import torch

    from algoperf.workloads.finewebedu_lm.model_pytorch import weights_from_jax

    workload, backend = workload_of("pytorch", precision=precision)
    module, _ = workload.init_model_fn(backend.keys(key_numbers(0, "init"))[0])
    tensors = weights_from_jax(SMALL, weights)
    module.load_state_dict(
        {k: torch.tensor(np.ascontiguousarray(v)) for k, v in tensors.items()}
    )
    placed = backend.place(batch)
    logits, _ = workload.model_fn(
        module, placed, None, spec.ForwardPassMode.TRAIN, None, True
    )
    loss = workload.loss_fn(placed["targets"], logits)
    loss["summed"].backward()
    return {
        "logits": np.asarray(logits.detach()),
        "summed": loss["summed"].item(),
        "n_valid": float(loss["n_valid_examples"]),
        "per_example": loss["per_example"].detach().numpy(),
        "grads": {n: p.grad.numpy() for n, p in module.named_parameters()},
    }


@each_framework
def test_the_published_vectors(framework):
    found = step(framework)
    assert found["summed"] == pytest.approx(573.506836, rel=1e-6)
    assert found["n_valid"] == 48
    assert found["summed"] / 48 == pytest.approx(11.948059, rel=1e-6)
    assert metrics.perplexity(found["summed"] / 48) == pytest.approx(
        154_516.95, rel=1e-5
    )
    logits = found["logits"]
    assert logits[0, 0, :3] == pytest.approx([8.902606, -0.661989, -9.058547], abs=1e-5)
    last = [7.47765, -3.8665473, -8.38846]
    assert logits[2, 15, 94:] == pytest.approx(last, abs=1e-5)
    norm = math.sqrt(sum(float((g**2).sum()) for g in found["grads"].values()))
    assert norm == pytest.approx(3530.817, rel=1e-6)
    scales = [float(found["grads"][f"layer_{i}.attention.scale"]) for i in range(2)]
    # What is left of terms that cancel: in float64 it is -0.0382668, -0.0816766.
    assert scales == pytest.approx([-0.0382670, -0.0816760], abs=1e-5)


def test_both_frameworks_have_the_same_gradients():
    jax, pytorch = step("jax"), step("pytorch")
    assert jax["grads"].keys() == pytorch["grads"].keys()
    for name, grad in jax["grads"].items():
        np.testing.assert_allclose(
            pytorch["grads"][name],
            grad,
            rtol=1e-4,
            atol=1e-4 * np.abs(grad).max() + 1e-5,
        )


@each_framework
def test_tokens_see_none_after_them(framework):
    changed = TOKENS.copy()
    changed[:, 9] += 1
    batch = {"inputs": changed[:, :-1], "targets": changed[:, 1:]}
    before = step(framework)["logits"]
    after = step(framework, batch=batch)["logits"]
    np.testing.assert_allclose(after[:, :9], before[:, :9], rtol=1e-5, atol=1e-5)
    assert not np.allclose(after[:, 9:], before[:, 9:], atol=1e-3)


@each_framework
def test_a_weight_of_zero_keeps_a_token_out_of_the_loss(framework):
    weights = np.ones((3, 16), np.float32)
    weights[1] = weights[2, 5:] = 0
    every = step(framework)
    workload, backend = workload_of(framework)
    given = {"logits": every["logits"], "targets": BATCH["targets"], "mask": weights}
    placed = backend.place(given)
    loss = workload.loss_fn(placed["targets"], placed["logits"], placed["mask"])
    assert float(loss["n_valid_examples"]) == 16 + 5
    expected = (every["per_example"] * weights).sum()
    assert float(loss["summed"]) == pytest.approx(expected, rel=1e-5)


@each_framework
def test_label_smoothing_follows_the_published_formula(framework):
    workload, backend = workload_of(framework)
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 3, 97)).astype(np.float32)
    targets = rng.integers(0, 97, (2, 3))
    placed = backend.place({"logits": logits, "targets": targets})
    loss = workload.loss_fn(placed["targets"], placed["logits"], label_smoothing=0.3)
    log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    picked = np.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]
    expected = -0.7 * picked - 0.3 / 97 * log_p.sum(axis=-1)
    np.testing.assert_allclose(np.asarray(loss["per_example"]), expected, rtol=1e-5)
    assert float(loss["n_valid_examples"]) == 6


@each_framework
def test_bfloat16_computes_nearly_the_same_and_returns_float32(framework):
    rough = step(framework, precision="bf16")
    fine = step(framework)
    assert rough["logits"].dtype == np.float32
    assert rough["summed"] == pytest.approx(fine["summed"], rel=0.05)
    assert rough["summed"] != fine["summed"]


@each_framework
@pytest.mark.parametrize(
    ("name", "count"),
    [("finewebedu_lm", 252_815_372), ("finewebedu_lm_mini", 459_394)],
)
def test_number_of_parameters(framework, name, count):
    workload = bound(registry.definition(name), load(framework))
    shapes = leaves(workload.param_shapes)
    assert sum(math.prod(s.shape_tuple) for s in shapes.values()) == count
    assert len(shapes) == 9 * workload.definition.model.num_layers + 2


def leaves(tree):
    """Of the trees of both frameworks: PyTorch's has one level."""
    return flat(tree) if any(isinstance(x, dict) for x in tree.values()) else dict(tree)


def test_jax_has_the_heads_as_an_axis_of_their_own():
    shapes = leaves(bound(DEFINITION, load("jax")).param_shapes)
    attention = "layer_11/attention"
    assert {
        name: shapes[f"{attention}/{name}/kernel"].shape_tuple
        for name in ("query", "key", "value", "out")
    } == {
        "query": (1024, 8, 128),
        "key": (1024, 8, 128),
        "value": (1024, 8, 128),
        "out": (1024, 1024),
    }
    assert shapes[f"{attention}/scale"].shape_tuple == ()
    assert shapes["layer_0/mlp/hidden/kernel"].shape_tuple == (1024, 8192)
    assert shapes["layer_0/mlp/out/kernel"].shape_tuple == (4096, 1024)


@each_framework
def test_parameter_types(framework):
    workload = bound(DEFINITION, load(framework))
    types = leaves(workload.model_params_types)
    by_end = {
        ("embedding/embedding", "embedding.weight"): ParameterType.EMBEDDING,
        ("query/kernel", "query.weight"): ParameterType.ATTENTION_Q,
        ("key/kernel", "key.weight"): ParameterType.ATTENTION_K,
        ("value/kernel", "value.weight"): ParameterType.ATTENTION_V,
        ("attention/out/kernel", "attention.out.weight"): ParameterType.ATTENTION_OUT,
        ("attention/scale", "attention.scale"): ParameterType.WEIGHT,
        ("norm/scale", "norm.weight"): ParameterType.LAYER_NORM_SCALE,
        ("hidden/kernel", "hidden.weight"): ParameterType.WEIGHT,
        ("mlp/out/kernel", "mlp.out.weight"): ParameterType.WEIGHT,
    }
    for name, type in types.items():
        expected = [t for ends, t in by_end.items() if name.endswith(ends)]
        assert [type] == expected, name


@each_framework
def test_the_table_is_the_output_parameter(framework):
    workload = bound(DEFINITION, load(framework))
    names = leaves(workload.param_shapes)
    outputs = [name for name in names if workload.is_output_params(name)]
    assert outputs == [name for name in names if name.startswith("embedding")]


@each_framework
def test_initial_values(framework):
    workload, backend = workload_of(framework)
    params, _ = workload.init_model_fn(backend.keys(key_numbers(0, "init"))[0])
    if framework == "jax":
        values = {k.replace("/", "."): np.asarray(v) for k, v in flat(params).items()}
    else:
        values = {k: v.detach().numpy() for k, v in params.named_parameters()}
    for name, value in values.items():
        if name.endswith("attention.scale"):
            assert value == pytest.approx(7.9068906, abs=1e-6)
        elif "norm" in name:
            assert (value == 1).all()
        else:
            is_scaled = ".out." in name
            stddev = 0.02 / math.sqrt(4) if is_scaled else 0.02
            assert value.std() == pytest.approx(stddev, rel=0.05), name
            assert np.abs(value).max() > 2.5 * stddev  # not truncated at two


def test_the_full_model_starts_with_the_published_scale():
    assert rotary.initial_scale(1_024) == pytest.approx(19.99859, abs=1e-5)
    assert rotary.initial_scale(16) == pytest.approx(math.log2(240))


def test_rotations_turn_neighbours_by_the_position():
    cos, sin = rotary.rotations(1_024, 128, 500_000.0)
    assert cos.shape == sin.shape == (1_024, 64)
    assert (cos[0] == 1).all() and (sin[0] == 0).all()
    assert cos[3, 0] == pytest.approx(math.cos(3))
    assert sin[1_023, 63] == pytest.approx(math.sin(1_023 * 500_000 ** (-126 / 128)))


@each_framework
def test_a_query_of_zeros_has_a_finite_gradient(framework):
    weights = published_weights()
    weights["layer_0/attention/query/kernel"] = np.zeros((64, 2, 32), np.float32)
    grads = step(framework, weights)["grads"]
    assert all(np.isfinite(grad).all() for grad in grads.values())


@pytest.mark.slow
@each_framework
def test_the_full_model_starts_at_the_published_loss_on_random_tokens(framework):
    """ln 50257 + 0.64**2 / 2 = 11.03; the published models measured 11.05."""
    workload = bound(DEFINITION, load(framework))
    backend = backends.load(framework)
    params, state = workload.init_model_fn(backend.keys(key_numbers(0, "init"))[0])
    tokens = np.random.default_rng(0).integers(0, 50_257, (2, 1_025)).astype(np.int32)
    batch = {
        "inputs": tokens[:, :-1],
        "targets": tokens[:, 1:],
        "weights": np.ones((2, 1_024), np.float32),
    }
    outputs = workload.evaluate_batch(params, state, backend.place(batch))
    found = metrics.summarise([outputs])
    assert found["loss"] == pytest.approx(11.03, abs=0.03)
    assert found["num_examples"] == 2


@pytest.mark.slow
def test_pytorch_compiles_without_a_break():
    torch = pytest.importorskip("torch")
    workload, backend = workload_of("pytorch")
    module, _ = workload.init_model_fn(backend.keys(key_numbers(0, "init"))[0])
    tokens = torch.tensor(BATCH["inputs"])
    eager, _ = module(tokens)
    module.compile(fullgraph=True, dynamic=False)
    compiled, _ = module(tokens)
    torch.testing.assert_close(compiled, eager, rtol=1e-4, atol=1e-4)
    compiled.sum().backward()
    assert all(p.grad is not None for p in module.parameters() if p.ndim != 2)
