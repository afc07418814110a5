"""Batches of ImageNet: reproducible, the same for any threads and processes, mixed."""

import dataclasses

import numpy as np
import pytest

pytest.importorskip("PIL")

from algoperf import pipeline, registry
from algoperf.datasets.imagenet import jpeg, photographs, prepare, reader
from algoperf.errors import BadData
from algoperf.pipeline import DataRequest, InputQueue
from algoperf.prepared import Preparation, PreparedData
from algoperf.workloads._imagenet import data as batches
from algoperf.workloads._imagenet.config import MEAN, STDDEV, DataConfig
from algoperf.workloads._imagenet.crop import centre_box, training_box

MINI = registry.definition("imagenet_resnet_mini").splits
PLAIN = DataConfig(image_size=32, resize_size=36, num_classes=19)
MIXED = dataclasses.replace(PLAIN, randaugment=True, mixup_alpha=0.2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The shipped photographs, prepared."""
    base = tmp_path_factory.mktemp("imagenet")
    prepare.expand_embedded(base / "raw")
    with Preparation(base / "mini", dataset="imagenet", format_version=1) as made:
        prepare.prepare(base / "raw", made, splits=MINI)
    return base / "mini"


def opened(folder, split="train", config=PLAIN, size=40, **request):
    return batches.open_batches(
        DataRequest(folder, split, MINI, size, **{"seed": 7, **request}, config=config)
    )


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for key in one:
        np.testing.assert_array_equal(one[key], other[key])


def test_the_defaults_are_those_of_resnet_at_full_size():
    config = DataConfig()
    assert (config.image_size, config.resize_size, config.num_classes) == (
        224,
        256,
        1000,
    )
    assert not config.randaugment
    assert config.mixup_alpha is None


def test_training_batches_have_the_promised_arrays(folder):
    batch = opened(folder).batch(3)
    assert batch.keys() == {"inputs", "targets"}
    assert batch["inputs"].shape == (40, 32, 32, 3)
    assert batch["inputs"].dtype == np.float32
    assert batch["targets"].shape == (40,)
    assert batch["targets"].dtype == np.int32
    assert 0 <= batch["targets"].min() <= batch["targets"].max() < 19


@pytest.mark.parametrize("config", [PLAIN, MIXED])
def test_a_batch_depends_on_its_number_and_the_seed_alone(folder, config):
    one, other = opened(folder, config=config), opened(folder, config=config)
    expected = one.batch(5)
    other.batch(0)
    assert_equal(other.batch(5), expected)
    assert_equal(one.batch(5), expected)
    assert (one.batch(6)["inputs"] != expected["inputs"]).any()
    another = opened(folder, config=config, seed=8).batch(5)
    assert (another["inputs"] != expected["inputs"]).any()


@pytest.mark.parametrize("config", [PLAIN, MIXED])
def test_processes_read_their_parts_of_the_global_batch(folder, config):
    whole = opened(folder, config=config).batch(2)
    parts = [
        opened(folder, config=config, shard=shard, num_shards=4).batch(2)
        for shard in range(4)
    ]
    joined = {key: np.concatenate([p[key] for p in parts]) for key in whole}
    assert_equal(joined, whole)


@pytest.mark.parametrize("config", [PLAIN, MIXED])
def test_a_pool_of_threads_makes_the_same_batches(folder, config):
    alone = opened(folder, config=dataclasses.replace(config, num_threads=1))
    together = opened(folder, config=dataclasses.replace(config, num_threads=3))
    assert_equal(together.batch(1), alone.batch(1))
    assert not alone.threads
    assert together.threads


def test_threads_and_files_end_with_the_batches(folder):
    together = opened(folder, config=dataclasses.replace(PLAIN, num_threads=3))
    together.batch(0)
    threads = together.threads
    together.close()
    assert threads
    assert not any(thread.is_alive() for thread in threads)
    assert not together._images._files


def test_batches_that_nobody_holds_end_without_being_closed(folder):
    together = opened(folder, config=dataclasses.replace(PLAIN, num_threads=3))
    together.batch(0)
    threads = together.threads
    del together
    for thread in threads:
        thread.join(5)
    assert not any(thread.is_alive() for thread in threads)


def test_the_harness_queue_draws_them_in_order(folder):
    queue = InputQueue(opened(folder), lambda batch: batch, start=3)
    try:
        assert_equal(next(queue), opened(folder).batch(3))
        assert_equal(next(queue), opened(folder).batch(4))
    finally:
        queue.close()


def test_an_epoch_has_every_image_once_and_the_next_one_another_order(folder):
    images = opened(folder, size=MINI.train)
    first, second = (images.batch(i)["targets"] for i in (0, 1))
    assert np.bincount(first).tolist() == np.bincount(second).tolist() == [160] * 19
    assert (first != second).any()


def test_an_image_is_cropped_anew_in_each_epoch():
    maker = batches.ExampleMaker(PLAIN, seed=1)
    content = photographs.sources()[0].read_bytes()
    outs = np.empty((3, 32, 32, 3), np.float32)
    for out, epoch in zip(outs, (0, 0, 1), strict=True):
        maker.training(content, 4, epoch, out)
    np.testing.assert_array_equal(outs[0], outs[1])
    assert (outs[0] != outs[2]).any()


def test_half_of_the_training_images_are_mirrored(folder):
    """A crop and its mirror image are told apart by drawing the same one again."""
    maker = batches.ExampleMaker(PLAIN, seed=1)
    content = photographs.sources()[0].read_bytes()
    out = np.empty((32, 32, 3), np.float32)
    header = jpeg.read_header(content)
    mirrored = 0
    for example in range(100):
        maker.training(content, example, 0, out)
        rng = batches._generator(1, 0, example, batches._EXAMPLE_STREAM)
        box = training_box(header.height, header.width, 32, 36, rng)
        plain = np.empty_like(out)
        maker._resize(content, header, box, plain, scale=batches._SCALE)
        maker._shift(plain)
        is_mirrored = np.allclose(out, plain[:, ::-1], atol=1e-5)
        assert is_mirrored or np.array_equal(out, plain)
        mirrored += is_mirrored
    assert 35 < mirrored < 65


def test_evaluation_takes_the_centre_and_normalises(folder):
    data = PreparedData.open(folder, dataset="imagenet")
    images = reader.read_split(data, "validation")
    batch = opened(folder, "validation", size=MINI.validation).batch(0)
    pixels = jpeg.decode(images.read(9))
    height, width = pixels.shape[:2]
    box = centre_box(height, width, 32, 36)
    part = pixels[box.top : box.top + box.height, box.left : box.left + box.width]
    expected = (np.mean(part, (0, 1)) - MEAN) / STDDEV
    np.testing.assert_allclose(batch["inputs"][9].mean((0, 1)), expected, atol=0.06)
    np.testing.assert_array_equal(batch["targets"], images.labels)


def test_evaluation_at_full_size_equals_jax_on_the_centre():
    jax = pytest.importorskip("jax")
    content = next(
        path for path in photographs.sources() if path.stem == "coffee"
    ).read_bytes()
    found = np.empty((224, 224, 3), np.float32)
    batches.ExampleMaker(DataConfig(), 0).evaluation(content, found)
    pixels = jpeg.decode(content)
    assert pixels.shape == (341, 512, 3)
    # int(0.875 * 341) = 298; (341 - 298 + 1) // 2 = 22; (512 - 298 + 1) // 2 = 107
    part = pixels[22 : 22 + 298, 107 : 107 + 298].astype(np.float32)
    resized = jax.image.resize(part, (224, 224, 3), "cubic", antialias=False)
    mean, deviation = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    expected = (np.asarray(resized) - np.array(mean)) / np.array(deviation)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_evaluation_pads_the_last_batch_with_weight_0(folder):
    images = opened(folder, "test", size=100)
    number, rest = divmod(MINI.test, 100)
    assert images.num_batches == number + 1
    last = images.batch(number)
    assert last["inputs"].shape == (100, 32, 32, 3)
    assert last["weights"].tolist() == [1.0] * rest + [0.0] * (100 - rest)
    assert not last["inputs"][rest:].any()


def test_evaluation_neither_mixes_nor_augments(folder):
    plain = opened(folder, "validation").batch(0)
    assert_equal(opened(folder, "validation", MIXED).batch(0), plain)


def test_evaluated_training_images_are_fixed_and_seen_as_in_evaluation(folder):
    size = MINI.eval_train
    one = opened(folder, "eval_train", size=size, seed=1).batch(0)
    assert_equal(opened(folder, "eval_train", size=size, seed=2).batch(0), one)
    data = PreparedData.open(folder, dataset="imagenet")
    images = reader.read_split(data, "train")
    chosen = pipeline.epoch_order(MINI.train, batches._EVAL_TRAIN_SEED, 0)[:size]
    assert len(set(chosen.tolist())) == size
    np.testing.assert_array_equal(one["targets"], images.labels[chosen])
    expected = np.empty((32, 32, 3), np.float32)
    batches.ExampleMaker(PLAIN, 0).evaluation(images.read(int(chosen[3])), expected)
    np.testing.assert_array_equal(one["inputs"][3], expected)


def test_mixup_blends_each_row_with_the_one_before_it(folder):
    mixed_config = dataclasses.replace(PLAIN, mixup_alpha=0.2)
    plain = opened(folder, size=37).batch(4)
    mixed = opened(folder, config=mixed_config, size=37).batch(4)
    share = batches.mixup_share(0.2, 7, 4)
    inputs, one_hot = plain["inputs"], np.eye(19)[plain["targets"]]
    np.testing.assert_allclose(
        mixed["inputs"],
        share * inputs + (1 - share) * np.roll(inputs, 1, axis=0),
        atol=1e-5,
    )
    np.testing.assert_allclose(
        mixed["targets"],
        share * one_hot + (1 - share) * np.roll(one_hot, 1, axis=0),
        atol=1e-6,
    )
    assert mixed["targets"].dtype == np.float32
    np.testing.assert_allclose(mixed["targets"].sum(1), 1, atol=1e-6)


def test_the_mixing_share_is_drawn_from_its_beta_distribution_without_folding():
    shares = np.array([batches.mixup_share(0.2, 3, i) for i in range(2000)])
    assert shares.dtype == np.float32
    assert abs(shares.mean() - 0.5) < 0.03
    # Variance of Beta(a, a): 1 / (4 (2 a + 1)).
    assert abs(shares.var() - 1 / 5.6) < 0.01
    assert (shares < 0.5).mean() > 0.45


def test_vit_batches_hold_whole_numbers_before_mixing(folder):
    config = dataclasses.replace(PLAIN, randaugment=True)
    inputs = opened(folder, config=config).batch(0)["inputs"]
    values = inputs * np.array(STDDEV) + np.array(MEAN)
    np.testing.assert_allclose(values, values.round(), atol=1e-3)
    assert values.min() > -0.01
    assert values.max() < 255.01


def test_another_number_of_classes_is_refused(folder):
    config = dataclasses.replace(PLAIN, num_classes=1000)
    with pytest.raises(BadData, match=r"images of 19 classes; .* needs 1,000"):
        opened(folder, config=config)


def test_an_image_that_cannot_be_decoded_is_named(folder, monkeypatch):
    images = opened(folder, "validation")
    monkeypatch.setattr(reader.Images, "read", lambda self, index: b"\xff\xd8\xff")
    with pytest.raises(BadData, match=r"Image 0 in .*validation-00000.shard cannot be"):
        images.batch(0)


def test_open_files_are_closed_with_the_images(folder):
    import os

    def count():
        return len(os.listdir("/proc/self/fd"))

    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("needs /proc")
    before = count()
    for _ in range(20):
        opened(folder, "validation").batch(0)
    assert count() <= before + 1
