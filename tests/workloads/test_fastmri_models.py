"""The fastmri models: published parameters, and one function in two frameworks."""

import dataclasses
import math

import numpy as np
import pytest

from algoperf import registry
from algoperf.spec import ParameterType
from algoperf.workloads.fastmri.definition import ModelConfig
from tests.closeness import FLOAT64, assert_close

SMALL = ModelConfig(num_channels=2, num_poolings=1)
VARIANTS = {
    "plain": SMALL,
    "tanh": dataclasses.replace(SMALL, activation="tanh"),
    "layernorm": dataclasses.replace(SMALL, norm="layer"),
}
PARAMETERS = {
    "fastmri": 7_756_097,
    "fastmri_model_size": 7_692_929,
    "fastmri_tanh": 7_756_097,
    "fastmri_layernorm": 7_761_985,
}


def flat(tree, prefix=""):
    if not isinstance(tree, dict):
        return {prefix.removeprefix("/"): tree}
    return {
        path: leaf
        for key, part in tree.items()
        for path, leaf in flat(part, f"{prefix}/{key}").items()
    }


def jax_boxes(config):
    """Boxed parameters by path, drawn if the model is small, else shapes only."""
    jax = pytest.importorskip("jax")
    pytest.importorskip("flax")
    from algoperf.workloads.fastmri import model_jax

    module, batch = model_jax.build(config), model_jax.example_batch(config)

    def init(key):
        rngs = {"params": key, "dropout": key}
        return model_jax.init_variables(module, rngs, batch)["params"]

    is_small = config.num_channels < 32
    compute = jax.jit(init) if is_small else lambda key: jax.eval_shape(init, key)
    return flat(compute(jax.random.key(0)))


def jax_model(config):
    from algoperf.workloads.fastmri import model_jax

    return model_jax.build(config)


def pytorch_model(config, device="cpu"):
    torch = pytest.importorskip("torch")
    from algoperf.pytorch_backend.model import initialise
    from algoperf.workloads.fastmri import model_pytorch

    with torch.device(device):
        module = model_pytorch.build(config)
    if device == "cpu":
        initialise(module, np.array([0, 1], np.uint32))
    return module


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_jax_model_has_the_published_number_of_parameters(name):
    boxes = jax_boxes(registry.definition(name).model)
    assert sum(math.prod(b.value.shape) for b in boxes.values()) == PARAMETERS[name]


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_pytorch_model_has_the_published_number_of_parameters(name):
    model = pytorch_model(registry.definition(name).model, "meta")
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]


def test_the_jax_model_has_the_published_shapes_and_sensible_types():
    boxes = jax_boxes(ModelConfig())
    shapes = {path: box.value.shape for path, box in boxes.items()}
    assert shapes["down_0/conv_0/kernel"] == (3, 3, 1, 32)
    assert shapes["bottleneck/conv_1/kernel"] == (3, 3, 512, 512)
    assert shapes["upsampling_3/kernel"] == (2, 2, 512, 256)
    assert shapes["up_3/conv_0/kernel"] == (3, 3, 512, 256)
    assert shapes["output/kernel"] == (1, 1, 32, 1)
    assert len(shapes) == 2 * 9 + 4 + 2
    types = {path: box.type for path, box in boxes.items()}
    assert types.pop("output/bias") == ParameterType.BIAS
    assert set(types.values()) == {ParameterType.CONV_WEIGHT}


def test_layer_normalisation_has_its_own_types():
    boxes = jax_boxes(VARIANTS["layernorm"])
    assert boxes["down_0/norm_0/scale"].type == ParameterType.LAYER_NORM_SCALE
    assert boxes["up_0/norm_1/bias"].type == ParameterType.LAYER_NORM_BIAS
    assert not any("norm" in path for path in boxes if path.startswith("upsampling"))


def test_initial_values_are_lecun_normal_in_both_frameworks():
    config = ModelConfig(num_channels=16, num_poolings=2)
    boxes = jax_boxes(config)
    model = dict(pytorch_model(config).named_parameters())
    for name, fan_in in (("bottleneck.conv_1", 9 * 64), ("upsampling_1", 4 * 64)):
        bound = 2 / math.sqrt(fan_in) / 0.87962566103423978
        jax_values = np.asarray(boxes[f"{name.replace('.', '/')}/kernel"].value)
        for values in (jax_values, model[f"{name}.weight"].detach().numpy()):
            assert values.std() == pytest.approx(1 / math.sqrt(fan_in), rel=0.03)
            assert 0.9 * bound < np.abs(values).max() <= bound
    assert not np.any(boxes["output/bias"].value)


@pytest.fixture(scope="module", params=VARIANTS)
def twins(request):
    """Parameters of the JAX model, and the PyTorch model with the same ones."""
    config = VARIANTS[request.param]
    arrays = {path: np.asarray(box.value) for path, box in jax_boxes(config).items()}
    model = pytorch_model(config)
    import torch

    from algoperf.workloads.fastmri import model_pytorch

    weights = model_pytorch.weights_from_jax(config, arrays)
    model.load_state_dict({k: torch.tensor(v.copy()) for k, v in weights.items()})
    params: dict = {}
    for path, array in arrays.items():
        *groups, name = path.split("/")
        place = params
        for group in groups:
            place = place.setdefault(group, {})
        place[name] = array
    return config, params, model


@pytest.mark.parametrize("sides", [(16, 16), (15, 18)], ids=["even", "odd"])
def test_both_frameworks_compute_the_same_images(twins, sides):
    config, params, model = twins
    import torch

    inputs = np.random.default_rng(0).normal(size=(2, *sides)).astype(np.float32)
    theirs = jax_model(config).apply(
        {"params": params}, inputs, train=True, dropout_rate=0.0
    )
    ours = model(torch.tensor(inputs)).detach().numpy()
    assert ours.shape == inputs.shape
    assert_close(ours, theirs)


def test_both_frameworks_have_the_same_gradients(twins):
    """In float64: in float32 a value near 0 may get the other slope of LeakyReLU."""
    config, params, model = twins
    import jax
    import torch

    from algoperf.workloads.fastmri import model_pytorch

    inputs, targets = np.random.default_rng(0).normal(size=(2, 2, 16, 16))
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda x: jax.numpy.asarray(x, "float64"), params)

        def loss(params):
            call = {"train": True, "dropout_rate": 0.0}
            found = jax_model(config).apply({"params": params}, inputs, **call)
            return abs(found - targets).mean()

        grads = flat(jax.tree.map(np.asarray, jax.jit(jax.grad(loss))(wide)))
    expected = model_pytorch.weights_from_jax(config, grads)
    double = model.double()
    double.zero_grad()
    (double(torch.tensor(inputs)) - torch.tensor(targets)).abs().mean().backward()
    found = {name: p.grad.numpy() for name, p in double.named_parameters()}
    model.float()
    assert found.keys() == expected.keys()
    for name, grad in found.items():
        assert_close(grad, expected[name], name, tolerance=FLOAT64)


def test_dropout_drops_whole_channels_in_jax():
    jax = pytest.importorskip("jax")
    from algoperf.workloads.fastmri import model_jax

    block = model_jax.ConvBlock(64, SMALL, train=True)
    rng = np.random.default_rng(0)
    params = {
        f"conv_{i}": {"kernel": rng.normal(size=(3, 3, width, 64)).astype(np.float32)}
        for i, width in enumerate((3, 64))
    }
    x = rng.normal(size=(2, 8, 8, 3)).astype(np.float32)
    found = block.apply({"params": params}, x, 0.5, rngs={"dropout": jax.random.key(1)})
    assert_channels_are_dropped(np.asarray(found).transpose(0, 3, 1, 2))


def test_dropout_drops_whole_channels_in_pytorch():
    torch = pytest.importorskip("torch")
    from algoperf.pytorch_backend import dropout
    from algoperf.workloads.fastmri import model_pytorch

    block = model_pytorch.ConvBlock(3, 64, SMALL)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter)
    drops = [part for part in block.modules() if isinstance(part, dropout.Dropout)]
    key = np.array([1, 2], np.uint32)
    dropout.configure(drops, 0.5, key, rank=0, device=torch.device("cpu"))
    assert_channels_are_dropped(block(torch.randn(2, 3, 8, 8)).detach().numpy())


def assert_channels_are_dropped(found):
    """found: [batch, channels, h, w] after dropout at a rate of one half."""
    is_dropped = (found == 0).all(axis=(2, 3))
    assert 0.3 < is_dropped.mean() < 0.7
    assert (found[~is_dropped] != 0).all()
    assert not np.array_equal(is_dropped[0], is_dropped[1])


@pytest.mark.slow
@pytest.mark.parametrize("name", PARAMETERS)
def test_full_size_models_compute_the_same_images(name):
    jax = pytest.importorskip("jax")
    from flax.core import meta

    from algoperf.workloads.fastmri import model_jax, model_pytorch

    torch = pytest.importorskip("torch")
    config = registry.definition(name).model
    module = model_jax.build(config)
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(0)}
    batch = model_jax.example_batch(config)
    init = jax.jit(lambda: meta.unbox(model_jax.init_variables(module, keys, batch)))
    variables = init()
    model = pytorch_model(config)
    weights = model_pytorch.weights_from_jax(config, flat(variables["params"]))
    model.load_state_dict(
        {k: torch.tensor(np.array(value)) for k, value in weights.items()}
    )
    inputs = np.random.default_rng(0).normal(size=(1, 320, 320)).astype(np.float32)
    theirs = module.apply(variables, inputs, train=False, dropout_rate=0.0)
    ours = model(torch.tensor(inputs)).detach().numpy()
    assert_close(ours, theirs)


@pytest.mark.slow
def test_the_pytorch_model_compiles_in_one_graph():
    torch = pytest.importorskip("torch")
    model = pytorch_model(SMALL)
    inputs = torch.randn(2, 16, 16)
    expected = model(inputs)
    compiled = torch.compile(model, fullgraph=True, dynamic=False)
    assert_close(compiled(inputs), expected)
