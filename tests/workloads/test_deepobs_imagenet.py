"""DeepOBS's problems on ImageNet: batches of our prepared data, Inception's two heads."""

import dataclasses
import math

import numpy as np
import pytest

pytest.importorskip("PIL")

from algoperf import registry
from algoperf.datasets.imagenet import prepare, reader
from algoperf.errors import BadData
from algoperf.pipeline import DataRequest, EpochOrder
from algoperf.prepared import Preparation
from algoperf.workloads.deepobs import data_imagenet, inception, metrics_inception
from algoperf.workloads.deepobs.inputs import ImagenetConfig
from tests.closeness import assert_close

MINI = registry.definition("imagenet_resnet_mini").splits
SMALL = ImagenetConfig(image_size=28, resize_size=32)
NAMES = ("imagenet_vgg16", "imagenet_vgg19", "imagenet_inception_v3")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The shipped photographs, prepared."""
    base = tmp_path_factory.mktemp("imagenet")
    prepare.expand_embedded(base / "raw")
    with Preparation(base / "mini", dataset="imagenet", format_version=1) as made:
        prepare.prepare(base / "raw", made, splits=MINI)
    return base / "mini"


def opened(folder, split="train", **more):
    request = {"seed": 7, "config": SMALL, "drop_last": True, **more}
    return data_imagenet.open_batches(DataRequest(folder, split, MINI, 38, **request))


def test_inputs_are_standardised_and_the_background_is_no_class(folder):
    for split in ("train", "eval_train", "validation"):
        batch = opened(folder, split).batch(0)
        assert batch["inputs"].shape == (38, 28, 28, 3)
        assert batch["inputs"].dtype == np.float32
        means, stds = (f(batch["inputs"], axis=(1, 2, 3)) for f in (np.mean, np.std))
        np.testing.assert_allclose(means, 0, atol=1e-4)
        np.testing.assert_allclose(stds, 1, atol=1e-3)
        assert batch["targets"].dtype == np.int32
        assert batch["targets"].min() >= 1
        assert batch["targets"].max() <= 19


def test_training_images_are_cut_out_anew_in_every_epoch(folder):
    batches, of_epoch = opened(folder), MINI.train // 38
    order = EpochOrder(MINI.train, 7, multiple_of=38)
    first = order.at(np.arange(38))[0][0]
    second_epoch = order.at(np.arange(MINI.train, 2 * MINI.train))[0].tolist()
    place = second_epoch.index(first)
    before = batches.batch(0)
    after = batches.batch(of_epoch + place // 38)
    assert before["targets"][0] == after["targets"][place % 38]
    assert not np.array_equal(before["inputs"][0], after["inputs"][place % 38])
    again = opened(folder).batch(0)
    np.testing.assert_array_equal(again["inputs"], before["inputs"])


def test_random_parts_lie_inside_and_are_mirrored_by_half():
    image = np.arange(6 * 6 * 3, dtype=np.float32).reshape(1, 6, 6, 3)
    last = np.nextafter(np.float32(1), np.float32(0))
    draws = np.array([[0, 0, 0.9], [last, last, 0.9], [0, last, 0.1]], np.float32)
    parts = data_imagenet._random_parts(np.repeat(image, 3, 0), draws, 4)
    np.testing.assert_array_equal(parts[0], image[0, :4, :4])
    np.testing.assert_array_equal(parts[1], image[0, 2:, 2:])
    np.testing.assert_array_equal(parts[2], image[0, :4, 2:][:, ::-1])


def test_an_image_that_cannot_be_decoded_is_named(folder, monkeypatch):
    monkeypatch.setattr(reader.Images, "read", lambda self, index: b"\xff\xd8 nothing")
    with pytest.raises(BadData, match=r"Image \d+ in .*cannot be decoded"):
        opened(folder, "validation").batch(0)


@pytest.mark.parametrize("name", NAMES)
def test_what_the_original_calls_test_is_the_validation_split(name):
    definition = registry.definition(name)
    assert definition.evaluated_splits == ("eval_train", "validation")
    # The prepared data must fit, which have ImageNet-v2 as test split.
    resnet = registry.definition("imagenet_resnet").splits
    assert definition.splits == dataclasses.replace(resnet, eval_train=50_000)
    assert definition.data.resize_size == 256


def smoothed_cross_entropy(labels, logits):
    logits = logits.astype(np.float64)
    log_shares = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    classes = logits.shape[-1]
    targets = np.full(logits.shape, 0.1 / classes)
    targets[np.arange(len(labels)), labels] += 0.9
    return -(targets * log_shares).sum(-1)


@pytest.mark.parametrize("framework", ["numpy", "jax", "pytorch"])
def test_the_second_head_counts_in_training_only(framework):
    name, convert = {
        "numpy": ("array_api_compat.numpy", lambda xp: xp.asarray),
        "jax": ("jax.numpy", lambda xp: xp.asarray),
        "pytorch": ("array_api_compat.torch", lambda xp: xp.from_numpy),
    }[framework]
    xp = pytest.importorskip(name)
    convert = convert(xp)
    random = np.random.default_rng(0)
    first, second = random.normal(scale=3, size=(2, 4, 11)).astype(np.float32)
    labels = np.array([0, 10, 3, 3], np.int32)
    alone = smoothed_cross_entropy(labels, first)
    both = alone + 0.4 * smoothed_cross_entropy(labels, second)
    given = convert(labels), convert(first), convert(second)
    found = metrics_inception.example_losses(xp, given[0], given[1])
    np.testing.assert_allclose(np.asarray(found), alone, rtol=1e-5)
    found = metrics_inception.example_losses(xp, given[0], given[1:])
    np.testing.assert_allclose(np.asarray(found), both, rtol=1e-5)


def test_the_loss_stays_finite_for_large_logits():
    import array_api_compat.numpy as xp

    logits = np.array([[1e4, -1e4, 0.0]], np.float32)
    (loss,) = metrics_inception.example_losses(xp, np.array([0]), logits)
    assert math.isfinite(loss)


@pytest.mark.parametrize("name", ["imagenet_vgg16", "imagenet_inception_v3"])
def test_both_frameworks_have_the_same_parameters(name):
    from tests.workloads.test_deepobs import bound, load

    ours = bound(name, load("jax")).param_shapes
    theirs = bound(name, load("pytorch")).param_shapes
    import jax

    from algoperf.pytorch_backend.weights import from_jax

    leaves = jax.tree_util.tree_leaves_with_path(ours)
    zero = np.zeros((), np.float32)
    arrays = {
        "/".join(key.key for key in path): np.broadcast_to(zero, leaf.shape_tuple)
        for path, leaf in leaves
    }
    expected = {name: a.shape for name, a in from_jax(arrays).items()}
    assert {name: shape.shape_tuple for name, shape in theirs.items()} == expected


def test_images_are_enlarged_the_same_in_both_frameworks():
    jax, torch = pytest.importorskip("jax"), pytest.importorskip("torch")
    from algoperf.workloads.deepobs import planes_pytorch

    images = np.random.default_rng(0).random((2, 9, 9, 3), np.float32)
    for side in (9, 14, 31):
        shape = (2, side, side, 3)
        expected = jax.image.resize(images, shape, "bilinear", antialias=False)
        tensor = torch.from_numpy(images).permute(0, 3, 1, 2)
        found = planes_pytorch.resize(tensor, side).permute(0, 2, 3, 1)
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_means_over_windows_leave_padding_out():
    jnp, torch = pytest.importorskip("jax.numpy"), pytest.importorskip("torch")
    from algoperf.workloads.deepobs import inception_jax, inception_pytorch
    from algoperf.workloads.deepobs.inception import Window

    images = np.random.default_rng(0).random((1, 11, 11, 2), np.float32)
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2)
    for window in (
        Window("mean"),
        Window("mean", 5, 3, "VALID"),
        Window("max", 3, 2, "VALID"),
    ):
        expected = inception_jax._window(jnp.asarray(images), window)
        found = inception_pytorch.Pool(window)(tensor).permute(0, 2, 3, 1)
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
    corner = inception_jax._window(jnp.asarray(images), Window("mean"))[0, 0, 0]
    np.testing.assert_allclose(corner, images[0, :2, :2].mean((0, 1)), rtol=1e-5)


BLOCKS = {
    "35": inception._block_35(8),
    "to 17": inception._to_17(),
    "17": inception._block_17(8),
    "to 8": inception._to_8(),
    "8": inception._block_8(),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_are_the_same_function_in_both_frameworks(name):
    """In float64: in float32, rounding that turns a ReLU off and on is seen in gradients."""
    jax, torch = pytest.importorskip("jax"), pytest.importorskip("torch")
    from flax.core import meta

    from algoperf.pytorch_backend.weights import from_jax
    from algoperf.workloads.deepobs import inception_jax, inception_pytorch

    random = np.random.default_rng(0)
    images = random.standard_normal((2, 9, 9, 6))
    ours = inception_jax.Steps((BLOCKS[name],))

    def objective(params, images, stats, weights):
        given = {"params": params, "batch_stats": stats}
        output, _ = ours.apply(given, images, train=True, mutable=["batch_stats"])
        return (output * weights).mean()

    def converted(tree):
        leaves = jax.tree_util.tree_leaves_with_path(tree)
        return from_jax({"/".join(k.key for k in p): np.asarray(x) for p, x in leaves})

    with jax.enable_x64(True):
        variables = meta.unbox(ours.init(jax.random.key(0), images, train=False))
        variables = jax.tree.map(lambda x: np.asarray(x, np.float64), variables)
        params, stats = variables["params"], variables["batch_stats"]
        shape = jax.eval_shape(lambda: ours.apply(variables, images, train=False)).shape
        weights = random.standard_normal(shape)
        gradient = jax.jit(jax.value_and_grad(objective, argnums=(0, 1)))
        value, grads = gradient(params, images, stats, weights)
        expected, of_inputs = converted(grads[0]), np.asarray(grads[1])

    theirs = inception_pytorch.Steps(6, (BLOCKS[name],)).double().train()
    for module in theirs.modules():
        if hasattr(module, "update_running_statistics"):
            module.update_running_statistics = False
    given = {
        key: torch.tensor(np.ascontiguousarray(x))
        for key, x in converted(params).items()
    }
    theirs.load_state_dict(given, strict=False)
    inputs = torch.from_numpy(images).permute(0, 3, 1, 2).requires_grad_()
    found = (theirs(inputs).permute(0, 2, 3, 1) * torch.from_numpy(weights)).mean()
    found.backward()
    assert float(found.detach()) == pytest.approx(float(value), rel=1e-5)
    for key, parameter in theirs.named_parameters():
        assert_close(parameter.grad.numpy(), expected[key], key, tolerance=1e-5)
    own = inputs.grad.permute(0, 2, 3, 1).numpy()
    assert_close(own, of_inputs, "inputs", tolerance=1e-5)
