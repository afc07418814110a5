"""The mnist workload: batches, metrics, and one model in two frameworks."""

import dataclasses
import math

import numpy as np
import pytest

from algoperf import pipeline, registry
from algoperf.datasets.mnist import prepare, reader
from algoperf.definition import Split
from algoperf.errors import BadData
from algoperf.prepared import Preparation, PreparedData
from algoperf.workloads.mnist import data, metrics
from algoperf.workloads.mnist.definition import DEFINITION, ModelConfig
from tests.closeness import assert_close

MINI = registry.definition("mnist_mini")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The shipped images, prepared."""
    path = tmp_path_factory.mktemp("mnist")
    prepare.expand_embedded(path / "raw")
    with Preparation(
        path / "mnist_mini", dataset="mnist", format_version=reader.FORMAT_VERSION
    ) as preparation:
        prepare.prepare(path / "raw", preparation, splits=MINI.splits)
    return path / "mnist_mini"


def open_batches(folder, split: Split = "train", **changes) -> pipeline.Batches:
    request = pipeline.DataRequest(folder, split, MINI.splits, batch_size=128, seed=5)
    return data.open_batches(dataclasses.replace(request, **changes))


def test_published_numbers():
    limits = DEFINITION.limits["v0.6"]
    assert (limits.budget_seconds, limits.step_hint) == (60, 7_813)
    assert DEFINITION.eval_period_seconds == 10
    assert DEFINITION.target.validation == DEFINITION.target.test == 0.97
    assert DEFINITION.eval_batch_size == 10_000


def test_the_mini_form_reads_its_own_prepared_folder():
    assert (MINI.tier, MINI.dataset, MINI.prepared_name) == (
        "mini",
        "mnist",
        "mnist_mini",
    )


def test_a_training_batch_has_the_documented_arrays(folder):
    batch = open_batches(folder).batch(0)
    assert set(batch) == {"inputs", "targets"}
    assert batch["inputs"].shape == (128, 28, 28, 1)
    assert batch["inputs"].dtype == np.float32
    assert batch["targets"].shape == (128,)
    assert batch["targets"].dtype == np.int32


def test_pixels_are_normalised_without_dividing_by_255():
    values = data.normalise(np.array([0, 1, 255], np.uint8))
    expected = (np.array([0, 1, 255]) - 0.1307) / 0.3081
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    assert math.isclose(values[-1], 827.229, rel_tol=1e-6)


def test_an_epoch_visits_every_training_image_once(folder):
    batches = open_batches(folder, batch_size=500)
    labels = np.concatenate([batches.batch(index)["targets"] for index in range(6)])
    assert np.bincount(labels).tolist() == [300] * 10


def test_epochs_and_seeds_differ_in_order(folder):
    batches = open_batches(folder, batch_size=3000)
    first = batches.batch(0)["targets"]
    assert not np.array_equal(first, batches.batch(1)["targets"])
    other = open_batches(folder, batch_size=3000, seed=6).batch(0)["targets"]
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("split", ["eval_train", "validation", "test"])
def test_evaluation_sees_every_example_once_and_pads_with_weight_0(folder, split):
    batches = open_batches(folder, split)
    assert batches.num_batches == 8  # 1,000 examples in batches of 128
    all_batches = [batches.batch(index) for index in range(8)]
    assert {batch["inputs"].shape for batch in all_batches} == {(128, 28, 28, 1)}
    weights = np.concatenate([batch["weights"] for batch in all_batches])
    assert weights.dtype == np.float32
    assert weights.sum() == 1000
    assert not weights[1000:].any()


def test_evaluation_labels_are_those_of_the_split_in_order(folder):
    stored = reader.read_split(PreparedData.open(folder, dataset="mnist"), "test")
    batch = open_batches(folder, "test", batch_size=1000).batch(0)
    np.testing.assert_array_equal(batch["targets"], stored.labels)


def test_eval_train_is_the_same_choice_of_training_images_for_every_seed(folder):
    batches = [
        open_batches(folder, "eval_train", seed=seed, batch_size=1000).batch(0)
        for seed in (0, 1)
    ]
    np.testing.assert_equal(batches[0], batches[1])
    examples = pipeline.epoch_order(3000, data._EVAL_TRAIN_SEED, 0)[:1000]
    assert len(np.unique(examples)) == 1000
    train = reader.read_split(PreparedData.open(folder, dataset="mnist"), "train")
    np.testing.assert_array_equal(batches[0]["targets"], train.labels[examples])


def test_data_of_other_splits_are_refused(folder):
    with pytest.raises(BadData, match="the workload needs train 50000"):
        open_batches(folder, splits=DEFINITION.splits)


def outputs(logits, targets, weights, loss):
    batch = {"targets": np.array(targets), "weights": np.array(weights, np.float32)}
    return metrics.outputs(np, np.array(logits), batch, np.array(loss))


def test_metrics_are_means_over_the_examples_of_all_batches():
    batches = [
        outputs([[1.0, 2.0], [3.0, 0.0]], [1, 1], [1, 1], [0.5, 1.5]),
        outputs([[0.0, 9.0], [0.0, 9.0]], [1, 1], [1, 0], [4.0, 0.0]),
    ]
    assert metrics.summarise(batches) == {
        "accuracy": 2 / 3,
        "loss": 2.0,
        "num_examples": 3.0,
    }


def test_padding_changes_no_metric_whatever_it_holds():
    real = outputs([[1.0, 2.0]], [1], [1], [0.5])
    padded = outputs([[1.0, 2.0], [math.nan, 0.0]], [1, 0], [1, 0], [0.5, math.nan])
    assert metrics.summarise([real]) == metrics.summarise([padded])


def test_a_loss_that_is_not_finite_stays_so():
    result = metrics.summarise([outputs([[1.0, 2.0]], [1], [1], [math.nan])])
    assert math.isnan(result["loss"])


def jax_params():
    jax = pytest.importorskip("jax")
    pytest.importorskip("flax")
    from flax.core import meta

    from algoperf.workloads.mnist import model_jax

    module = model_jax.build(ModelConfig())
    inputs = model_jax.example_batch(ModelConfig())["inputs"]
    call = {"train": False, "dropout_rate": 0.0}
    init = jax.jit(lambda key: module.init(key, inputs, **call))
    params = meta.unbox(init(jax.random.key(0)))["params"]
    return jax.tree.map(np.asarray, params)


def pytorch_model():
    pytest.importorskip("torch")
    from algoperf.workloads.mnist import model_pytorch

    return model_pytorch.build(ModelConfig())


def test_the_jax_model_has_the_published_parameters():
    params = jax_params()
    shapes = {
        f"{layer}/{name}": array.shape
        for layer, arrays in params.items()
        for name, array in arrays.items()
    }
    assert shapes == {
        "hidden/kernel": (784, 128),
        "hidden/bias": (128,),
        "output/kernel": (128, 10),
        "output/bias": (10,),
    }
    assert sum(math.prod(shape) for shape in shapes.values()) == 101_770


def test_the_pytorch_model_has_the_published_parameters():
    model = pytorch_model()
    assert {name: tuple(p.shape) for name, p in model.named_parameters()} == {
        "hidden.weight": (128, 784),
        "hidden.bias": (128,),
        "output.weight": (10, 128),
        "output.bias": (10,),
    }
    assert sum(p.numel() for p in model.parameters()) == 101_770


def test_both_frameworks_compute_the_same_logits(folder):
    params = jax_params()
    torch = pytest.importorskip("torch")
    from algoperf.workloads.mnist import model_jax

    model = pytorch_model()
    model.load_state_dict(
        {
            f"{layer}.{new}": torch.tensor(params[layer][old].T)
            for layer in ("hidden", "output")
            for old, new in (("kernel", "weight"), ("bias", "bias"))
        }
    )
    inputs = open_batches(folder).batch(0)["inputs"]
    ours = model(torch.tensor(inputs)).detach().numpy()
    theirs = model_jax.build(ModelConfig()).apply(
        {"params": params}, inputs, train=True, dropout_rate=0.0
    )
    assert_close(ours, theirs)


def test_the_output_layer_is_marked_in_pytorch():
    model = pytorch_model()
    from algoperf.pytorch_backend import layers

    marked = {n for n, p in model.named_parameters() if layers.is_output(p)}
    assert marked == {"output.weight", "output.bias"}
