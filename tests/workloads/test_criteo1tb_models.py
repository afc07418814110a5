"""The model of the criteo1tb workload in both frameworks, and its variants."""

import dataclasses
import math

import numpy as np
import pytest

from algoperf import registry
from algoperf.workloads.criteo1tb import metrics
from algoperf.workloads.criteo1tb.definition import DEFINITION, ModelConfig
from tests.closeness import assert_close

# Published sizes of the models.
NUM_PARAMETERS = {
    "criteo1tb": 539_267_457,
    "criteo1tb_layernorm": 539_275_137,
    "criteo1tb_resnet": 538_121_473,
    "criteo1tb_embed_init": 539_267_457,
}
SMALL = ModelConfig(vocab_size=64, embed_dim=8, bottom_dims=(16, 8), top_dims=(16, 8))


def jax_variables(config, seed=0):
    """Boxed parameters by path, with the initial values."""
    jax = pytest.importorskip("jax")
    pytest.importorskip("flax")
    from algoperf.workloads.criteo1tb import model_jax

    module = model_jax.build(config)
    inputs = model_jax.example_batch(config)["inputs"]

    def init(key):
        return module.init(key, inputs, train=False, dropout_rate=0.0)["params"]

    return jax, init, jax.random.key(seed)


def jax_params(config, seed=0):
    jax, init, key = jax_variables(config, seed)
    from flax.core import meta

    params = meta.unbox(jax.jit(init)(key))
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {"/".join(k.key for k in path): np.asarray(x) for path, x in leaves}


def pytorch_params(config, seed=0):
    torch = pytest.importorskip("torch")
    from algoperf.pytorch_backend.model import initialise
    from algoperf.workloads.criteo1tb import model_pytorch

    module = model_pytorch.build(config)
    initialise(module, np.array([seed, 1]))
    named = {n: p.detach().numpy() for n, p in module.named_parameters()}
    assert torch.float32 in {p.dtype for p in module.parameters()}
    return {
        n.replace(".", "/"): p.T if n.endswith("weight") else p
        for n, p in named.items()
    }


@pytest.mark.parametrize(("name", "number"), NUM_PARAMETERS.items())
def test_the_jax_models_have_the_published_number_of_parameters(name, number):
    jax, init, key = jax_variables(registry.definition(name).model)
    shapes = jax.tree.leaves(jax.eval_shape(init, key))
    assert sum(math.prod(shape.shape) for shape in shapes) == number


@pytest.mark.parametrize(("name", "number"), NUM_PARAMETERS.items())
def test_the_pytorch_models_have_the_published_number_of_parameters(name, number):
    torch = pytest.importorskip("torch")
    from algoperf.workloads.criteo1tb import model_pytorch

    with torch.device("meta"):
        module = model_pytorch.build(registry.definition(name).model)
    assert sum(p.numel() for p in module.parameters()) == number


def test_the_layers_have_the_published_shapes():
    torch = pytest.importorskip("torch")
    from algoperf.workloads.criteo1tb import model_pytorch

    with torch.device("meta"):
        module = model_pytorch.build(DEFINITION.model)
    shapes = {
        n: tuple(p.shape) for n, p in module.named_parameters() if "bias" not in n
    }
    assert shapes == {
        "bottom.layer_0.weight": (512, 13),
        "bottom.layer_1.weight": (256, 512),
        "bottom.layer_2.weight": (128, 256),
        "embedding.weight": (4_194_304, 128),
        "top.layer_0.weight": (1_024, 506),
        "top.layer_1.weight": (1_024, 1_024),
        "top.layer_2.weight": (512, 1_024),
        "top.layer_3.weight": (256, 512),
        "output.weight": (1, 256),
    }


INIT = ModelConfig(
    vocab_size=2_500, embed_dim=40, bottom_dims=(300, 40), top_dims=(200,)
)


@pytest.mark.parametrize("make", [jax_params, pytorch_params])
def test_initial_values_have_the_published_distributions(make):
    params = make(INIT)
    weight = "kernel" if make is jax_params else "weight"
    bottom = params[f"bottom/layer_1/{weight}"]
    limit = math.sqrt(6 / 340)
    assert 0.98 * limit < np.abs(bottom).max() <= limit
    assert bottom.std() == pytest.approx(limit / math.sqrt(3), rel=0.05)
    top = params[f"top/layer_0/{weight}"]
    deviation = math.sqrt(2 / (40 + 378 + 200))
    assert top.std() == pytest.approx(deviation, rel=0.02)
    assert np.abs(top).max() > 3 * deviation  # not truncated
    bias = params["bottom/layer_0/bias"]
    assert bias.std() == pytest.approx(math.sqrt(1 / 300), rel=0.2)
    table = params["embedding/embedding" if make is jax_params else "embedding/weight"]
    assert table.min() >= 0
    assert 0.999 / 50 < table.max() < 1 / 50
    assert table.mean() == pytest.approx(0.5 / 50, rel=0.02)


def test_the_output_bias_starts_standard_normal_in_jax():
    jax, init, key = jax_variables(SMALL)
    from flax.core import meta

    def bias(key):
        return meta.unbox(init(key))["output"]["bias"]

    biases = jax.jit(jax.vmap(bias))(jax.random.split(key, 200))
    assert np.std(biases) == pytest.approx(1, rel=0.2)


def test_the_output_bias_starts_standard_normal_in_pytorch():
    biases = [pytorch_params(SMALL, seed)["output/bias"].item() for seed in range(100)]
    assert np.std(biases) == pytest.approx(1, rel=0.2)


@pytest.mark.parametrize("make", [jax_params, pytorch_params])
def test_embed_init_starts_the_table_uniform_up_to_1(make):
    changes = DEFINITION.variants["embed_init"].model
    params = make(dataclasses.replace(SMALL, **changes))
    name = "embedding/embedding" if make is jax_params else "embedding/weight"
    assert params[name].min() >= 0
    assert 0.95 < params[name].max() < 1


def numpy_dlrm(params, inputs, config):
    """DLRM without variants, written from the published description."""

    def dense(x, name):
        kernel = params[f"{name}/kernel"].astype(np.float64)
        return x @ kernel + params[f"{name}/bias"]

    x = inputs[:, :13].astype(np.float64)
    for number in range(len(config.bottom_dims)):
        x = np.maximum(dense(x, f"bottom/layer_{number}"), 0)
    rows = inputs[:, 13:].astype(np.int32) % config.vocab_size
    table = params["embedding/embedding"].astype(np.float64)
    vectors = [x, *(table[rows[:, column]] for column in range(26))]
    dots = [
        (vectors[i] * vectors[j]).sum(axis=1) for i in range(27) for j in range(i, 27)
    ]
    y = np.concatenate([x, np.stack(dots, axis=1)], axis=1)
    for number in range(len(config.top_dims)):
        y = np.maximum(dense(y, f"top/layer_{number}"), 0)
    return dense(y, "output")[:, 0]


def test_the_model_is_the_published_one():
    jax, _, _ = jax_variables(SMALL)
    from algoperf.workloads.criteo1tb import model_jax

    params = jax_params(SMALL)
    rng = np.random.default_rng(0)
    inputs = rng.integers(0, 2**25, (6, 39)).astype(np.float32)
    inputs[:, :13] = rng.random((6, 13))
    tree = {}
    for path, array in params.items():
        *groups, leaf = path.split("/")
        node = tree
        for group in groups:
            node = node.setdefault(group, {})
        node[leaf] = array
    logits = jax.jit(
        lambda tree: model_jax.build(SMALL).apply(
            {"params": tree}, inputs, train=False, dropout_rate=0.0
        )
    )(tree)
    expected = numpy_dlrm(params, inputs, SMALL)
    assert_close(logits, expected)


VARIANTS = {
    "layernorm": dataclasses.replace(SMALL, has_layer_norm=True),
    "resnet": dataclasses.replace(
        SMALL,
        bottom_dims=(8, 8, 8),
        top_dims=(8, 8, 8),
        interaction="concatenate",
        is_residual=True,
    ),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_compute_the_same_in_both_frameworks(variant):
    config = VARIANTS[variant]
    jax, init, key = jax_variables(config)
    torch = pytest.importorskip("torch")
    from flax.core import meta

    from algoperf.workloads.criteo1tb import model_jax, model_pytorch

    params = meta.unbox(jax.jit(init)(key))
    module = model_pytorch.build(config)
    state = {}
    for path, value in jax.tree_util.tree_leaves_with_path(params):
        *groups, leaf = (entry.key for entry in path)
        array = np.asarray(value)
        array = array.T if leaf == "kernel" else array
        name = "bias" if leaf == "bias" else "weight"
        state[".".join([*groups, name])] = torch.tensor(array)
    module.load_state_dict(state)
    rng = np.random.default_rng(1)
    inputs = rng.integers(0, 2**25, (6, 39)).astype(np.float32)
    inputs[:, :13] = rng.random((6, 13))
    model = model_jax.build(config)
    theirs = jax.jit(
        lambda params: model.apply(
            {"params": params}, inputs, train=False, dropout_rate=0.0
        )
    )(params)
    ours = module(torch.tensor(inputs)).detach().numpy()
    assert ours.shape == (6,)
    assert_close(ours, theirs)


def test_residual_layers_begin_with_the_second():
    torch = pytest.importorskip("torch")
    from algoperf.workloads.criteo1tb import model_pytorch

    config = VARIANTS["resnet"]
    mlp = model_pytorch.MLP(4, (8, 8), model_pytorch._xavier_normal(), config)
    with torch.no_grad():
        for parameter in mlp.parameters():
            parameter.zero_()
        mlp.layer_0.bias.fill_(3.0)
        mlp.layer_1.bias.fill_(2.0)
        assert (mlp(torch.zeros(1, 4)) == 5.0).all()


def test_the_model_compiles_without_graph_breaks():
    torch = pytest.importorskip("torch")
    from algoperf.workloads.criteo1tb import model_pytorch

    module = model_pytorch.build(VARIANTS["layernorm"])
    explained = torch._dynamo.explain(module)(torch.zeros(4, 39))
    assert (explained.graph_count, explained.graph_break_count) == (1, 0)


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["jax", "pytorch"])
def test_the_full_size_model_starts_with_the_loss_of_its_bias(framework):
    """With 2 GiB of table; the output bias is N(0, 1), the other logits are small."""
    pytest.importorskip("flax" if framework == "jax" else "torch")
    from algoperf import backend as backends
    from algoperf import rulesets
    from algoperf.runner.randomness import key_numbers
    from algoperf.workload import Workload

    backend = backends.load(framework)
    model = registry.module("workloads", "criteo1tb", f"model_{framework}")
    workload = Workload(
        DEFINITION,
        backend,
        model,
        metrics,
        ruleset=rulesets.ruleset("paper"),
        tuning="external",
    )
    keys = backend.keys(key_numbers(0, "init"))
    params, state = workload.init_model_fn(keys[0])
    rng = np.random.default_rng(0)
    inputs = rng.integers(0, 2**25, (64, 39)).astype(np.float32)
    inputs[:, :13] = np.log1p(rng.geometric(0.1, (64, 13)))
    ones = np.ones(64, np.float32)
    batch = {"inputs": inputs, "targets": 0 * ones, "weights": ones}
    outputs = workload.evaluate_batch(params, state, backend.place(batch))
    assert 0 < metrics.summarise([outputs])["loss"] < 5
