"""The test problems of DeepOBS: the constants that were published or verified (sheet, §2, §7)."""

import math

import numpy as np
import pytest

from algoperf import backend as backends
from algoperf import registry, rulesets, spec
from algoperf.datasets._images import idx
from algoperf.procedures.rehearsal import count_elements
from algoperf.runner.randomness import key_numbers
from algoperf.workload import Workload

FRAMEWORK_PACKAGES = {"jax": "flax", "pytorch": "torch"}
SLOW = {  # to compile
    "mnist_vae",
    "cifar10_3c3d",
    "cifar100_allcnnc",
    "svhn_wrn164",
    "imagenet_inception_v3",
}
each_framework = pytest.mark.parametrize("framework", FRAMEWORK_PACKAGES)
PARAMETERS = {
    "quadratic_deep": 100,
    "two_d_beale": 2,
    "two_d_branin": 2,
    "two_d_rosenbrock": 2,
    "mnist_logreg": 7_850,
    "fmnist_logreg": 7_850,
    "mnist_mlp": 1_336_610,
    "fmnist_mlp": 1_336_610,
    "mnist_2c2d": 3_274_634,
    "fmnist_2c2d": 3_274_634,
    "mnist_vae": 10_151_489,
    "fmnist_vae": 10_151_489,
    "cifar10_3c3d": 895_210,
    "cifar100_3c3d": 918_340,
    "svhn_3c3d": 895_210,
    "cifar100_allcnnc": 1_387_108,
    "svhn_wrn164": 2_748_890,
    "cifar100_wrn404": 8_972_340,
    "cifar10_vgg16": 134_301_514,
    "cifar10_vgg19": 139_611_210,
    "cifar100_vgg16": 134_670_244,
    "cifar100_vgg19": 139_979_940,
    "tolstoi_char_rnn": 284_499,
    "imagenet_vgg16": 138_361_641,
    "imagenet_vgg19": 143_671_337,
    # The usual count for 1,000 classes, both heads, and a class more.
    "imagenet_inception_v3": 27_161_264 + (2_048 + 1) + (768 + 1),
}
STEPS_PER_EPOCH = {
    "quadratic_deep": 7,
    "mnist_vae": 937,
    "fmnist_2c2d": 468,
    "cifar10_3c3d": 390,
    "cifar100_allcnnc": 195,
    "svhn_wrn164": 500,
    "tolstoi_char_rnn": 1_045,
}
# Initial test losses, the term of the parameters included. Weights are drawn, and inputs here are
# noise instead of images, so within per cents.
INITIAL_LOSS = {
    "mnist_mlp": (math.log(10), 0.02),
    "fmnist_2c2d": (2.30, 0.15),
    "cifar10_3c3d": (3.59, 0.08),
    "cifar100_allcnnc": (4.93, 0.02),
    "svhn_wrn164": (2.77, 0.06),
    "tolstoi_char_rnn": (4.44, 0.01),
}


def each_of(names):
    slow = pytest.mark.slow
    return [pytest.param(n, marks=slow) if n in SLOW else n for n in names]


def problems():
    found = registry.base_definitions().values()
    return {d.name: d for d in found if d.folder == "deepobs"}


def load(framework):
    pytest.importorskip(FRAMEWORK_PACKAGES[framework])
    return backends.load(framework)


def bound(name, backend):
    definition = registry.definition(name)
    modules = registry.workload_modules(definition, backend.name)
    return Workload(
        definition,
        backend,
        modules.model,
        modules.metrics,
        ruleset=rulesets.ruleset("paper"),
        tuning="external",
    )


def test_the_family_has_the_published_problems():
    assert set(problems()) == set(PARAMETERS)
    assert {d.tier for d in problems().values()} == {"deepobs"}


SMALL_FORMS = {
    "mnist_logreg",
    "mnist_mlp",
    "mnist_2c2d",
    "mnist_vae",
    "fmnist_logreg",
    "fmnist_mlp",
    "fmnist_2c2d",
    "fmnist_vae",
    "cifar10_3c3d",
    "cifar100_3c3d",
    "svhn_3c3d",
    "tolstoi_char_rnn",
}


def test_small_forms_have_targets_of_their_own_and_end_with_their_epochs():
    minis = {name: d.mini for name, d in problems().items() if d.mini is not None}
    assert set(minis) == SMALL_FORMS
    for name in minis:
        definition = registry.definition(f"{name}_mini")
        target, chance = definition.target, 100 if name.startswith("cifar100") else 10
        if target.metric == "accuracy":
            assert 2 / chance < target.test < 1
        else:
            assert target.test < 100
        assert definition.model == registry.definition(name).model
        assert definition.splits.train * definition.epochs.number <= 40_000
        # Epochs end a run, not a budget: also where many processes share a core.
        budgets = {limits.budget_seconds for limits in definition.limits.values()}
        assert min(budgets) >= 3_600


def test_the_small_set_is_that_of_p1_to_p4():
    from algoperf.scoring.protocols.deepobs.runs import SETS

    bases = [registry.definition(name).base_name for name in SETS["mini"]]
    assert tuple(bases) == SETS["small"]


@pytest.mark.parametrize("name", STEPS_PER_EPOCH)
def test_epochs_have_the_published_number_of_steps(name):
    definition = registry.definition(name)
    steps = definition.splits.train // definition.default_batch_size
    assert steps == STEPS_PER_EPOCH[name]


@each_framework
@pytest.mark.parametrize("name", PARAMETERS)
def test_models_have_the_published_number_of_parameters(name, framework):
    workload = bound(name, load(framework))  # shapes only: nothing is allocated
    assert count_elements(workload.param_shapes) == PARAMETERS[name]


def test_the_quadratic_is_the_published_one():
    from algoperf.workloads.deepobs import data_points, landscape_values, landscapes

    hessian = landscapes.quadratic()
    eigenvalues = np.linalg.eigvalsh(hessian)
    assert np.trace(hessian) == pytest.approx(477.6123, abs=5e-5)
    assert eigenvalues[-1] == pytest.approx(53.1290, abs=5e-5)
    assert eigenvalues[0] == pytest.approx(0.005522, abs=5e-7)
    start = landscapes.start("quadratic_deep").astype(np.float64)
    for split, loss in (
        ("test", 353.4468),
        ("train", 352.577),
        ("validation", 353.813),
    ):
        noise = data_points.examples("quadratic_deep", split)[: 7 * 128].astype(float)
        losses = landscape_values.example_values(np, "quadratic_deep", start, noise)
        assert losses.mean() == pytest.approx(loss, abs=6e-4)


@pytest.mark.parametrize(
    ("name", "minimum", "value"),
    [
        ("beale", (3, 0.5), 0),
        ("branin", (-math.pi, 12.275), 0.397887),
        ("branin", (9.42478, 2.475), 0.397887),
        ("rosenbrock", (1, 1), 0),
    ],
)
def test_the_landscapes_of_two_dimensions_have_their_minima(name, minimum, value):
    from algoperf.workloads.deepobs import data_points, landscape_values

    noise = data_points.examples(name, "test")[:3].astype(float)
    found = landscape_values.example_values(np, name, np.array(minimum, float), noise)
    assert found == pytest.approx([value] * 3, abs=1e-6)


def batch_of(name, size, seed=0):
    """Inputs like the problem's, drawn."""
    definition = registry.definition(name)
    random = np.random.default_rng(seed)
    if name == "tolstoi_char_rnn":
        text = random.integers(0, 83, (size, 51)).astype(np.int32)
        starts = np.zeros(size, np.float32)
        return {"inputs": text[:, :-1], "targets": text[:, 1:], "starts": starts}
    shape = getattr(definition.model, "input_shape", None)
    if name.endswith("vae"):
        images = random.random((size, 28, 28, 1), np.float32)
        noise = random.standard_normal((size, 8), np.float32)
        return {"inputs": images, "targets": images, "noise": noise}
    if name == "imagenet_inception_v3":
        shape = (224, 224, 3)
    inputs = random.standard_normal((size, *(shape or (32, 32, 3))), np.float32)
    classes = {"cifar100": 100, "imagenet": 1001}.get(name.split("_")[0], 10)
    targets = random.integers(0, classes, size).astype(np.int32)
    return {"inputs": inputs, "targets": targets}


def number(loss):
    return float(getattr(loss, "detach", lambda: loss)())


def mean_loss(workload, backend, params, state, batch, train=False):
    mode = spec.ForwardPassMode.TRAIN if train else spec.ForwardPassMode.EVAL
    key = backend.keys(key_numbers(0, "step"))[0]
    logits, state = workload.model_fn(params, batch, state, mode, key, True, 0.0)
    loss = workload.loss_fn(batch.get("targets"), logits, batch.get("weights"))
    return loss["summed"] / loss["n_valid_examples"], state


@each_framework
@pytest.mark.parametrize("name", each_of(INITIAL_LOSS))
def test_training_begins_with_the_published_loss(name, framework):
    backend = load(framework)
    workload = bound(name, backend)
    params, state = workload.init_model_fn(backend.keys(key_numbers(1, "init"))[0])
    batch = backend.place(batch_of(name, 8))
    loss, _ = mean_loss(workload, backend, params, state, batch)
    expected, tolerance = INITIAL_LOSS[name]
    assert number(loss) == pytest.approx(expected, rel=tolerance)


@pytest.mark.slow
@each_framework
@pytest.mark.parametrize(
    ("name", "dataset", "expected"),
    [("mnist_vae", "mnist", 181.45), ("fmnist_vae", "fashion_mnist", 132.99)],
)
def test_autoencoders_begin_with_the_published_loss_on_real_images(
    name, dataset, expected, framework, tmp_path
):
    prepare = registry.prepare_module(dataset)
    prepare.expand_embedded(tmp_path)
    images = idx.read(tmp_path / "t10k-images-idx3-ubyte.gz", "images")[:, :, :, None]
    images = images.astype(np.float32) / 255
    backend = load(framework)
    workload = bound(name, backend)
    params, state = workload.init_model_fn(backend.keys(key_numbers(1, "init"))[0])
    noise = np.random.default_rng(0).standard_normal((len(images), 8), np.float32)
    batch = backend.place({"inputs": images, "targets": images, "noise": noise})
    loss, _ = mean_loss(workload, backend, params, state, batch)
    # The published test set has ten times as many images, and weights are drawn.
    assert number(loss) == pytest.approx(expected, rel=0.03)


@each_framework
def test_logistic_regression_begins_with_the_logarithm_of_ten(framework):
    backend = load(framework)
    workload = bound("mnist_logreg", backend)
    params, state = workload.init_model_fn(backend.keys(key_numbers(1, "init"))[0])
    batch = backend.place(batch_of("mnist_logreg", 4))
    loss, _ = mean_loss(workload, backend, params, state, batch)
    assert number(loss) == pytest.approx(math.log(10), rel=1e-6)


@pytest.mark.parametrize(
    "name",
    each_of(
        (
            "quadratic_deep",
            "two_d_branin",
            "mnist_vae",
            "cifar10_3c3d",
            "cifar100_allcnnc",
            "svhn_wrn164",
            "tolstoi_char_rnn",
            "imagenet_inception_v3",
        )
    ),
)
def test_both_frameworks_define_the_same_function(name):
    jax_backend, torch_backend = load("jax"), load("pytorch")
    import jax
    import torch

    from algoperf.pytorch_backend.weights import from_jax
    from tests.closeness import assert_close

    jaxs, torchs = bound(name, jax_backend), bound(name, torch_backend)
    key = jax_backend.keys(key_numbers(0, "init"))[0]
    params, state = jaxs.init_model_fn(key)
    module, torch_state = torchs.init_model_fn(np.array([1, 2]))
    leaves = jax.tree_util.tree_leaves_with_path(params)
    weights = from_jax({"/".join(k.key for k in p): np.asarray(x) for p, x in leaves})
    tensors = {k: torch.tensor(np.ascontiguousarray(w)) for k, w in weights.items()}
    missing, extra = module.load_state_dict(tensors, strict=False)
    assert not extra and not set(missing) & set(dict(module.named_parameters()))
    size = 4
    is_point = name.startswith(("quadratic", "two_d"))
    batch = _point_batch(name) if is_point else batch_of(name, size)

    def objective(params, state):
        return mean_loss(jaxs, jax_backend, params, state, batch, train=True)

    gradient = jax.value_and_grad(objective, has_aux=True)
    placed = torch_backend.place(batch)
    for _ in range(2):  # what is carried goes into the second
        (loss, state), grads = gradient(params, state)
        module.zero_grad()
        theirs, torch_state = mean_loss(
            torchs, torch_backend, module, torch_state, placed, train=True
        )
        theirs.backward()
        assert_close(float(theirs.detach()), float(loss), "loss", tolerance=2e-5)
    if name == "imagenet_inception_v3":
        return  # its gradients: block by block in `test_deepobs_imagenet`
    grads = from_jax(
        {
            "/".join(k.key for k in p): np.asarray(x)
            for p, x in jax.tree_util.tree_leaves_with_path(grads)
        }
    )
    for name, parameter in module.named_parameters():
        assert_close(parameter.grad.numpy(), grads[name], name, tolerance=2e-3)


def _point_batch(name):
    size = 100 if name == "quadratic_deep" else 2
    noise = np.random.default_rng(0).standard_normal((4, size)).astype(np.float32)
    return {"inputs": noise}
