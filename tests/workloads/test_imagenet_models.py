"""Both ImageNet workloads: published facts, and each model twice."""

import dataclasses
import functools
import math
import subprocess
import sys

import numpy as np
import pytest

from algoperf import backend as backends
from algoperf import metrics, registry, rulesets, spec
from algoperf.workload import Workload
from algoperf.workloads.imagenet_resnet.definition import DEFINITION as RESNET
from algoperf.workloads.imagenet_resnet.definition import ModelConfig as ResNetConfig
from algoperf.workloads.imagenet_vit.definition import DEFINITION as VIT
from algoperf.workloads.imagenet_vit.definition import ModelConfig as ViTConfig
from tests.closeness import assert_close, assert_parts_close

NUM_PARAMETERS = {
    "imagenet_resnet": 25_557_032,
    "imagenet_resnet_silu": 25_557_032,
    "imagenet_resnet_gelu": 25_557_032,
    "imagenet_resnet_large_bn_init": 25_557_032,
    "imagenet_vit": 22_122_472,
    "imagenet_vit_glu": 50_452_456,
    "imagenet_vit_post_ln": 22_121_704,
    "imagenet_vit_map": 23_896_552,
}
FULL = list(NUM_PARAMETERS)
TINY_RESNET = ResNetConfig(
    image_size=32,
    num_classes=5,
    stage_sizes=(1, 1),
    num_channels=4,
    virtual_batch_size=4,
)
TINY_VIT = ViTConfig(
    image_size=16,
    patch_size=4,
    num_classes=5,
    embed_dim=16,
    num_layers=1,
    mlp_dim=24,
    num_heads=2,
)
# Compiling is most of the time of these tests.
FAST_COMPILATION = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
}
FRAMEWORK_PACKAGES = {"jax": "flax", "pytorch": "torch"}
each_framework = pytest.mark.parametrize("framework", FRAMEWORK_PACKAGES)


def load(framework):
    pytest.importorskip(FRAMEWORK_PACKAGES[framework])
    return backends.load(framework)


def model_of(definition, framework):
    return registry.workload_part(definition, f"model_{framework}")


def bound(definition, framework):
    return Workload(
        definition,
        load(framework),
        model_of(definition, framework),
        metrics,
        ruleset=rulesets.ruleset("paper"),
        tuning="external",
    )


def tiny(name):
    """The workload of that name with a tiny model that keeps the variant's fields."""
    definition = registry.definition(name)
    is_resnet = definition.folder == "imagenet_resnet"
    small, full = (
        (TINY_RESNET, ResNetConfig()) if is_resnet else (TINY_VIT, ViTConfig())
    )
    changed = {
        field.name: getattr(definition.model, field.name)
        for field in dataclasses.fields(full)
        if getattr(definition.model, field.name) != getattr(full, field.name)
    }
    model = dataclasses.replace(small, **changed)
    return dataclasses.replace(definition, model=model)


def batch_of(definition, size=8):
    rng = np.random.default_rng(1)
    side = definition.model.image_size
    return {
        "inputs": rng.normal(size=(size, side, side, 3)).astype(np.float32),
        "targets": rng.integers(0, 5, size).astype(np.int32),
    }


def flat(tree, prefix=""):
    if isinstance(tree, dict):
        return {
            k: v
            for key, sub in tree.items()
            for k, v in flat(sub, f"{prefix}/{key}").items()
        }
    return {prefix[1:]: tree}


def nested(arrays):
    tree: dict = {}
    for path, array in arrays.items():
        *groups, leaf = path.split("/")
        group = tree
        for key in groups:
            group = group.setdefault(key, {})
        group[leaf] = array
    return tree


def random_weights(workload):
    """JAX parameters by path, far from the initial ones (which are zero at the head)."""
    rng = np.random.default_rng(0)

    def draw(shape):
        fan_in = max(1, math.prod(shape[:-1]))
        offset = 0.5 if len(shape) == 1 else 0
        return (offset + rng.normal(size=shape) / math.sqrt(fan_in)).astype(np.float32)

    shapes = flat(workload.param_shapes)
    return {path: draw(shape.shape_tuple) for path, shape in shapes.items()}


def initial_statistics(definition, batch):
    """The model state without compiling the model's initialisation."""
    import jax

    module = model_of(definition, "jax").build(definition.model)
    call = functools.partial(module.init, train=False, dropout_rate=0.0)
    shapes = jax.eval_shape(call, jax.random.key(0), batch["inputs"])
    return {
        name: jax.tree_util.tree_map_with_path(
            lambda path, x: np.full(x.shape, float(path[-1].key == "var"), x.dtype),
            collection,
        )
        for name, collection in shapes.items()
        if name != "params"
    }


def jax_results(definition, weights, batch, train):
    import jax

    from algoperf.pytorch_backend.weights import from_jax

    workload = bound(definition, "jax")
    key = load("jax").keys(np.array([[0, 1]]))[0]
    state = initial_statistics(definition, batch)
    mode = spec.ForwardPassMode.TRAIN if train else spec.ForwardPassMode.EVAL

    @functools.partial(jax.jit, compiler_options=FAST_COMPILATION)
    def results(params):
        def objective(params):
            logits, new_state = workload.model_fn(params, batch, state, mode, key, True)
            loss = workload.loss_fn(batch["targets"], logits)
            return loss["summed"], (logits, new_state)

        return jax.grad(objective, has_aux=True)(params)

    grads, (logits, new_state) = jax.device_get(results(nested(weights)))
    statistics = flat(new_state.get("batch_stats", {}))
    return logits, from_jax(flat(grads)), statistics


def pytorch_module(definition, weights):
    import torch

    from algoperf.pytorch_backend.weights import from_jax

    module = model_of(definition, "pytorch").build(definition.model)
    state = {
        name: torch.tensor(np.ascontiguousarray(array))
        for name, array in from_jax(weights).items()
    }
    _, unexpected = module.load_state_dict(state, strict=False)
    assert not unexpected
    return module


def pytorch_results(definition, weights, batch, train):
    workload, backend = bound(definition, "pytorch"), load("pytorch")
    module = pytorch_module(definition, weights)
    key = backend.keys(np.array([[0, 1]]))[0]
    mode = spec.ForwardPassMode.TRAIN if train else spec.ForwardPassMode.EVAL
    placed = backend.place(batch)
    logits, _ = workload.model_fn(module, placed, None, mode, key, True)
    workload.loss_fn(placed["targets"], logits)["summed"].backward()
    grads = {name: p.grad.numpy() for name, p in module.named_parameters()}
    statistics = {
        name.replace(".running_", "/").replace(".", "/"): buffer.numpy()
        for name, buffer in module.named_buffers()
        if "running_" in name
    }
    return logits.detach().numpy(), grads, statistics


# The contract tests cover the base models, though from a head of zeros.
COMPARED_FIRST = [("imagenet_resnet_gelu", True), ("imagenet_vit_map", True)]
COMPARED_SLOWLY = [
    pytest.param(name, train, marks=pytest.mark.slow)
    for name in FULL
    for train in (True, False)
    if (name, train) not in COMPARED_FIRST
]


@pytest.mark.parametrize(("name", "train"), COMPARED_FIRST + COMPARED_SLOWLY)
def test_both_frameworks_compute_the_same_from_random_weights(name, train):
    load("jax"), load("pytorch")
    definition = tiny(name)
    batch = batch_of(definition)
    weights = random_weights(bound(definition, "jax"))
    logits, grads, statistics = jax_results(definition, weights, batch, train)
    theirs = pytorch_results(definition, weights, batch, train)
    assert float(np.std(logits)) > 0.05
    assert_close(theirs[0], logits, "logits")
    assert_parts_close(theirs[1], grads)
    assert_parts_close(theirs[2], statistics)


@each_framework
@pytest.mark.parametrize("name", FULL)
def test_models_have_the_published_number_of_parameters(name, framework):
    shapes = flat(bound(registry.definition(name), framework).param_shapes)
    total = sum(math.prod(shape.shape_tuple) for shape in shapes.values())
    assert total == NUM_PARAMETERS[name]


@pytest.mark.parametrize(
    ("name", "validation", "test"),
    [
        ("imagenet_resnet", 0.77431, 0.6560),
        ("imagenet_resnet_silu", 0.75445, 0.6323),
        ("imagenet_resnet_gelu", 0.76765, 0.6519),
        ("imagenet_resnet_large_bn_init", 0.76526, 0.6423),
        ("imagenet_vit", 0.77309, 0.6519),
        ("imagenet_vit_glu", 0.75738, 0.6359),
        ("imagenet_vit_post_ln", 0.75312, 0.6286),
        ("imagenet_vit_map", 0.77113, 0.6523),
    ],
)
def test_published_targets(name, validation, test):
    target = registry.definition(name).target
    assert target.validation == pytest.approx(validation, abs=1e-9)
    assert target.test == pytest.approx(test, abs=1e-9)
    assert (target.metric, target.better) == ("accuracy", "higher")


@pytest.mark.parametrize(
    ("definition", "budgets", "step_hints", "period", "eval_batch", "eval_train"),
    [
        (RESNET, (63_008, 66_159), (186_666, 195_999), 510, 1_024, 50_176),
        (VIT, (77_520, 69_768), (186_666, 167_999), 420, 2_048, 51_200),
    ],
    ids=["resnet", "vit"],
)
def test_published_limits_and_sizes(
    definition, budgets, step_hints, period, eval_batch, eval_train
):
    limits = [definition.limits[version] for version in ("v0.5", "v0.6")]
    assert tuple(limit.budget_seconds for limit in limits) == budgets
    assert tuple(limit.step_hint for limit in limits) == step_hints
    assert definition.eval_period_seconds == period
    assert definition.eval_batch_size == eval_batch
    splits = definition.splits
    sizes = (splits.train, splits.eval_train, splits.validation, splits.test)
    assert sizes == (1_281_167, eval_train, 50_000, 10_000)


def test_channel_statistics_are_on_the_scale_of_bytes():
    for definition in (RESNET, VIT):
        mean, stddev = definition.train_mean, definition.train_stddev
        np.testing.assert_allclose(mean, np.multiply((0.485, 0.456, 0.406), 255))
        np.testing.assert_allclose(stddev, np.multiply((0.229, 0.224, 0.225), 255))


def test_only_the_transformer_augments_and_mixes():
    assert (VIT.data.randaugment, VIT.data.mixup_alpha) == (True, 0.2)
    assert (RESNET.data.randaugment, RESNET.data.mixup_alpha) == (False, None)


@pytest.mark.parametrize("name", ["imagenet_resnet_mini", "imagenet_vit_mini"])
def test_model_and_data_agree_on_images_and_classes(name):
    for definition in (registry.definition(name), RESNET, VIT):
        model, data = definition.model, definition.data
        assert model.image_size == data.image_size
        assert model.num_classes == data.num_classes


@each_framework
@pytest.mark.parametrize("definition", [RESNET, VIT], ids=["resnet", "vit"])
def test_the_last_layer_is_the_output(definition, framework):
    workload = bound(definition, framework)
    separator = "." if framework == "pytorch" else "/"
    outputs = {
        path for path in flat(workload.param_shapes) if workload.is_output_params(path)
    }
    weight = "weight" if framework == "pytorch" else "kernel"
    assert outputs == {f"output{separator}{weight}", f"output{separator}bias"}


def test_definitions_need_no_numpy():
    names = [d.folder for d in (RESNET, VIT)]
    code = "".join(f"import algoperf.workloads.{name}.definition\n" for name in names)
    code += "import sys; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", FULL)
def test_the_pytorch_model_compiles_without_a_graph_break(name):
    torch = pytest.importorskip("torch")
    definition = tiny(name)
    module = pytorch_module(definition, random_weights(bound(definition, "jax")))
    inputs = torch.from_numpy(batch_of(definition)["inputs"])
    expected = module(inputs)
    module.compile(fullgraph=True, dynamic=False)
    assert_close(module(inputs), expected)


@pytest.mark.slow
@each_framework
@pytest.mark.parametrize("definition", [RESNET, VIT], ids=["resnet", "vit"])
def test_the_full_model_starts_near_the_loss_of_published_logs(definition, framework):
    """After one step published logs have 6.912 and 6.9078, on the real images."""
    workload, backend = bound(definition, framework), load(framework)
    keys = backend.keys(np.array([[0, 1], [2, 3]]))
    params, state = workload.init_model_fn(keys[0])
    batch = batch_of(definition, size=16)
    placed = backend.place({**batch, "weights": np.ones(16, np.float32)})
    mode = spec.ForwardPassMode.TRAIN
    logits, _ = workload.model_fn(params, placed, state, mode, keys[1], True)
    loss = workload.loss_fn(placed["targets"], logits)
    mean = loss["summed"].item() / 16
    tolerance = 1e-5 if definition is VIT else 0.25
    assert mean == pytest.approx(math.log(1_000), abs=tolerance)
