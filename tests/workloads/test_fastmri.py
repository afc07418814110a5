"""The fastmri workload: masks, batches, their cache, metrics."""

import dataclasses
import math
import multiprocessing
import os

import numpy as np
import pytest

from algoperf import pipeline, registry
from algoperf.datasets.fastmri import prepare, reader
from algoperf.definition import Split
from algoperf.errors import BadData
from algoperf.prepared import Preparation, PreparedData
from algoperf.workloads.fastmri import cache as caches
from algoperf.workloads.fastmri import data, masks, metrics, processing
from algoperf.workloads.fastmri.definition import DEFINITION, METRIC

MINI = registry.definition("fastmri_mini")
NUM_TRAIN = MINI.splits.train
UNCACHED = dataclasses.replace(MINI.data, cache=False)

# The published evaluation mask, checked against TensorFlow 2.19: columns that are
# measured whatever the number of columns, …
ALWAYS = """
10 11 19 20 25 28 30 32 38 49 53 55 63 66 69 76 82 86 105 113 122 125 135 140 153 156
162 164 172 179 188 190 197 202 203 208 219 228 232 233 237 245 249 250 253 266 274 283
286 294 296 301 302 305 309 312 321 322 326 330 333 346 351 352 358 361 363 366 372 380
385 386 387 390 392 393 394 400 408 409 410 418 421 452 455 470 471 482 496 497 509 510
513 514 515 519 525 535 539 554 555 556 568 569 574 580 587 597 599 607 627 629 630 633
635
"""
# … and columns whose random number is near the probability.
NEAR = {
    7: 0.1969409,
    13: 0.1973658,
    27: 0.1916455,
    89: 0.1976082,
    91: 0.1732959,
    115: 0.1929679,
    118: 0.1708597,
    134: 0.1950639,
    189: 0.193733,
    226: 0.1818712,
    242: 0.1842787,
    273: 0.1870614,
    289: 0.1944357,
    320: 0.1709256,
    357: 0.1891879,
    360: 0.1962303,
    431: 0.1718857,
    523: 0.1810369,
    538: 0.1823195,
    544: 0.184454,
    615: 0.1925585,
}
# Columns: low ones, first of them, probability, random ones, all ones.
MASKS = {
    320: (25, 148, 0.18644, 60, 80),
    356: (28, 164, 0.18598, 69, None),
    368: (29, 170, 0.18584, 73, 97),
    370: (29, 171, 0.18622, 73, None),
    372: (29, 172, 0.18659, 73, 97),
    388: (31, 179, 0.18487, 78, None),
    396: (31, 183, 0.18630, 82, None),
    400: (32, 184, 0.18478, 82, 108),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The simulated scans, prepared."""
    pytest.importorskip("h5py")
    path = tmp_path_factory.mktemp("fastmri")
    prepare.expand_embedded(path / "raw")
    with Preparation(
        path / "fastmri_mini", dataset="fastmri", format_version=reader.FORMAT_VERSION
    ) as preparation:
        prepare.prepare(path / "raw", preparation, splits=MINI.splits)
    return path / "fastmri_mini"


@pytest.fixture
def fresh(folder):
    """The same folder without any cache."""
    for path in (folder / "cache").glob("*"):
        path.unlink()
    return folder


def request_for(folder, split: Split = "train", **changes) -> pipeline.DataRequest:
    request = pipeline.DataRequest(
        folder, split, MINI.splits, batch_size=8, seed=5, config=MINI.data
    )
    return dataclasses.replace(request, **changes)


def open_batches(folder, split: Split = "train", **changes) -> pipeline.Batches:
    return data.open_batches(request_for(folder, split, **changes))


def test_published_numbers():
    assert DEFINITION.limits["v0.5"].budget_seconds == 8_859
    assert DEFINITION.limits["v0.5"].step_hint == 36_189
    assert DEFINITION.limits["v0.6"].budget_seconds == 4_430
    assert DEFINITION.limits["v0.6"].step_hint == 18_094
    assert DEFINITION.eval_period_seconds == 80
    assert DEFINITION.eval_batch_size == 256
    splits = DEFINITION.splits
    assert (splits.train, splits.validation, splits.test) == (34_742, 3_554, 3_581)
    assert splits.eval_train == 14 * 256


@pytest.mark.parametrize(
    ("name", "validation", "test"),
    [
        ("fastmri", 0.723653, 0.740633),
        ("fastmri_model_size", 0.723559, 0.740726),
        ("fastmri_tanh", 0.717840, 0.734505),
        ("fastmri_layernorm", 0.723284, 0.739996),
    ],
)
def test_published_targets(name, validation, test):
    target = registry.definition(name).target
    assert (target.metric, target.better) == (METRIC, "higher")
    assert (target.validation, target.test) == (validation, test)


# Masks


def test_philox_derives_the_published_key():
    words = masks.philox(np.zeros((4, 1), np.uint64), (0x3EC8F720, 0x02461E29))
    expected = [0xDD5B9083, 0xDF7A3EF6, 0x33DA8054, 0xFF2F51A8]
    assert words[:, 0].tolist() == expected


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [  # known answers of Random123, the authors' library
        (
            [0] * 4,
            (0, 0),
            [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8],
        ),
        (
            [0xFFFFFFFF] * 4,
            (0xFFFFFFFF, 0xFFFFFFFF),
            [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD],
        ),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            (0xA4093822, 0x299F31D0),
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox_gives_the_known_answers(counter, key, expected):
    words = masks.philox(np.array([counter], np.uint64).T, key)
    assert words[:, 0].tolist() == expected


def test_uniforms_are_those_of_the_published_generator():
    expected = [0.21101546, 0.70601, 0.8000634, 0.77079225, 0.38858867, 0.8703594]
    np.testing.assert_allclose(masks.evaluation_uniforms(6), expected, rtol=1e-6)


def test_uniforms_do_not_depend_on_how_many_are_drawn():
    whole = masks.evaluation_uniforms(640)
    for number in (1, 319, 370, 401):
        np.testing.assert_array_equal(masks.evaluation_uniforms(number), whole[:number])


def test_all_published_columns_are_measured():
    uniforms = masks.evaluation_uniforms(640)
    columns = np.array(ALWAYS.split(), int)
    np.testing.assert_array_equal(np.flatnonzero(uniforms < 0.17), columns)
    near = np.flatnonzero((uniforms >= 0.17) & (uniforms < 0.20))
    assert near.tolist() == list(NEAR)
    np.testing.assert_allclose(uniforms[near], list(NEAR.values()), atol=5e-8)


@pytest.mark.parametrize("num_columns", MASKS)
def test_evaluation_masks_have_the_published_sizes(num_columns):
    number, first, probability, num_random, total = MASKS[num_columns]
    assert masks.centre(num_columns) == (first, number)
    assert masks.probability(num_columns) == pytest.approx(probability, abs=5e-6)
    uniforms = masks.evaluation_uniforms(num_columns)
    assert (uniforms < masks.probability(num_columns)).sum() == num_random
    mask = masks.evaluation_mask(num_columns)
    assert mask[first : first + number].all()
    if total is not None:
        assert mask.sum() == total


def test_masks_of_examples_measure_a_quarter_of_the_columns():
    counts = [masks.example_mask(372, 7, example).sum() for example in range(200)]
    assert np.mean(counts) == pytest.approx(372 / 4, rel=0.02)
    assert all(masks.example_mask(372, 7, example)[172:201].all() for example in (0, 9))


def test_the_mask_of_an_example_depends_on_seed_and_example_alone():
    first = masks.example_mask(372, 7, 3)
    np.testing.assert_array_equal(first, masks.example_mask(372, 7, 3))
    assert not np.array_equal(first, masks.example_mask(372, 8, 3))
    assert not np.array_equal(first, masks.example_mask(372, 7, 4))


# Processing


def reference_image(kspace, mask, side):
    """The published steps, one by one, in float64: magnitude [side, side]."""
    rows, columns = kspace.shape
    shifted = np.fft.ifftshift(kspace.astype(np.complex128) * mask)
    image = np.fft.fftshift(np.fft.ifft2(shifted)) * math.sqrt(rows * columns)
    top, left = (rows - side) // 2, (columns - side) // 2
    return np.abs(image[top : top + side, left : left + side])


@pytest.mark.parametrize("width", [320, 356, 371, 372, 400])
def test_processing_follows_the_published_steps(width):
    rng = np.random.default_rng(width)
    kspace = rng.normal(size=(640, width)) + 1j * rng.normal(size=(640, width))
    kspace = kspace.astype(np.complex64)
    target = rng.normal(3, 9, (320, 320)).astype(np.float32)
    mask = masks.evaluation_mask(width)
    found = processing.process(prepare.to_columns(kspace, 320), mask, target)
    magnitude = reference_image(kspace, mask, 320)
    mean, std = magnitude.mean(), magnitude.std()
    assert found.mean == pytest.approx(mean, rel=1e-5)
    assert found.std == pytest.approx(std, rel=1e-5)
    expected = np.clip((magnitude - mean) / std, -6, 6)
    np.testing.assert_allclose(found.inputs, expected, atol=2e-5)
    np.testing.assert_allclose(
        found.targets, np.clip((target - mean) / std, -6, 6), atol=2e-5
    )
    assert found.targets.max() == 6
    assert found.inputs.dtype == found.targets.dtype == found.std.dtype == np.float32


def test_a_slice_that_cannot_be_normalised_is_an_error():
    zeros = np.zeros((64, 64), np.complex64)
    with pytest.raises(BadData, match=r"standard deviation 0\.0"):
        processing.process(zeros, np.ones(64, bool), np.zeros((64, 64), np.float32))


# Batches


def test_a_training_batch_has_the_documented_arrays(folder):
    batch = open_batches(folder).batch(0)
    shapes = {key: (array.shape, array.dtype) for key, array in batch.items()}
    image, scalar = ((8, 64, 64), np.float32), ((8,), np.float32)
    assert shapes == {
        "inputs": image,
        "targets": image,
        "mean": scalar,
        "std": scalar,
        "volume_max": scalar,
    }


def test_an_example_is_the_same_in_every_epoch(folder):
    batches = open_batches(folder, batch_size=NUM_TRAIN)
    first, second = batches.batch(0), batches.batch(1)
    assert not np.array_equal(first["inputs"], second["inputs"])
    for key in first:
        flat = [b[key].reshape(NUM_TRAIN, -1) for b in (first, second)]
        ordered = [
            x[np.argsort(b["mean"])] for x, b in zip(flat, (first, second), strict=True)
        ]
        np.testing.assert_array_equal(*ordered)


def test_evaluation_slices_have_the_published_mask_whatever_the_seed(folder):
    batches = [open_batches(folder, "test", seed=s, config=UNCACHED) for s in (0, 1)]
    np.testing.assert_equal(batches[0].batch(1), batches[1].batch(1))
    slices = reader.read_split(PreparedData.open(folder, dataset="fastmri"), "test")
    columns = slices.columns(8)
    mask = masks.evaluation_mask(len(columns))
    expected = processing.process(columns, mask, slices.target(8))
    np.testing.assert_array_equal(batches[0].batch(1)["inputs"][0], expected.inputs)


def test_eval_train_is_the_same_choice_of_slices_and_masks_for_every_seed(folder):
    batches = [open_batches(folder, "eval_train", seed=s).batch(0) for s in (0, 1)]
    np.testing.assert_equal(batches[0], batches[1])
    largest = np.unique(batches[0]["inputs"], axis=0)
    assert len(largest) == len(batches[0]["inputs"])


def test_training_masks_change_with_the_seed(folder):
    batches = [
        open_batches(folder, seed=seed, batch_size=NUM_TRAIN, config=UNCACHED).batch(0)
        for seed in (0, 1)
    ]
    means = [np.sort(batch["mean"]) for batch in batches]
    assert not np.array_equal(*means)


def test_padding_is_zero_everywhere(folder):
    batch = open_batches(folder, "validation", batch_size=50).batch(2)
    assert batch["weights"].tolist() == [1.0] * 20 + [0.0] * 30
    assert all(not array[20:].any() for array in batch.values())


def test_data_with_images_of_another_size_are_refused(folder):
    config = dataclasses.replace(MINI.data, side=320)
    with pytest.raises(BadData, match="64x64 pixels; the workload's have 320x320"):
        open_batches(folder, config=config)


def test_a_queue_continues_exactly_at_a_saved_position(folder):
    def draw(start, number):
        queue = pipeline.InputQueue(open_batches(folder), dict, start=start)
        drawn = [next(queue)["inputs"] for _ in range(number)]
        queue.close()
        return drawn, queue.position

    (whole, _), (_, position) = draw(60, 8), draw(60, 5)
    np.testing.assert_equal(draw(position, 3)[0], whole[5:])


# The cache


@pytest.mark.parametrize("split", ["train", "eval_train", "validation", "test"])
def test_cached_slices_are_bit_equal_to_computed_ones(fresh, split):
    computed = open_batches(fresh, split, config=UNCACHED).batch(1)
    batches = open_batches(fresh, split)
    np.testing.assert_equal(batches.batch(1), computed)  # made now
    np.testing.assert_equal(batches.batch(1), computed)  # read
    np.testing.assert_equal(open_batches(fresh, split).batch(1), computed)


def test_a_cached_slice_is_not_computed_again(fresh, monkeypatch):
    open_batches(fresh).batch(0)
    monkeypatch.delattr(data, "process")
    open_batches(fresh).batch(0)
    with pytest.raises(NameError):
        open_batches(fresh).batch(1)


def test_without_cache_nothing_is_written(fresh):
    open_batches(fresh, config=UNCACHED).batch(0)
    assert not list((fresh / "cache").glob("*"))


def cache_files(folder):
    return sorted(path.name for path in (folder / "cache").iterdir())


def test_a_damaged_slice_is_computed_again(fresh):
    expected = open_batches(fresh, "test").batch(0)
    path = fresh / "cache" / cache_files(fresh)[0]
    content = bytearray(path.read_bytes())
    content[16 + 4000] ^= 1
    path.write_bytes(content)
    np.testing.assert_equal(open_batches(fresh, "test").batch(0), expected)
    assert path.read_bytes() != content


def test_a_slice_that_was_half_written_is_computed_again(fresh):
    expected = open_batches(fresh, "test").batch(0)
    path = fresh / "cache" / cache_files(fresh)[0]
    os.truncate(path, path.stat().st_size - 20_000)
    np.testing.assert_equal(open_batches(fresh, "test").batch(0), expected)


def read_in_process(folder, results):
    batches = open_batches(folder, batch_size=252)
    results.put([float(batches.batch(index)["inputs"].sum()) for index in (0, 1)])


def test_processes_may_fill_a_cache_at_the_same_time(fresh):
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    workers = [
        context.Process(target=read_in_process, args=(fresh, results)) for _ in range(3)
    ]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    batches = open_batches(fresh, batch_size=252, config=UNCACHED)
    expected = [float(batches.batch(index)["inputs"].sum()) for index in (0, 1)]
    assert found == [expected] * 3


def test_a_new_seed_takes_the_place_of_an_unused_cache(fresh):
    old = open_batches(fresh, seed=1)
    old.batch(0)
    current = open_batches(fresh, seed=2)
    assert len(cache_files(fresh)) == 2  # both are in use
    del old
    again = open_batches(fresh, seed=3)
    assert len(cache_files(fresh)) == 2
    del current, again


def test_the_cache_of_other_data_or_another_version_is_not_used(fresh, monkeypatch):
    prepared = PreparedData.open(fresh, dataset="fastmri")
    request = request_for(fresh, "test")
    key = data.cache_key(prepared, request)
    assert key == data.cache_key(prepared, dataclasses.replace(request, seed=77))
    monkeypatch.setattr(data, "_CACHE_VERSION", 99)
    assert key != data.cache_key(prepared, request)


def test_a_folder_that_cannot_be_written_to_only_costs_the_cache(fresh, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.warns(RuntimeWarning, match="not cached: .* cannot be written to"):
        batch = open_batches(fresh).batch(0)
    monkeypatch.undo()
    np.testing.assert_equal(batch, open_batches(fresh).batch(0))


def test_too_little_space_only_costs_the_cache(fresh, monkeypatch):
    monkeypatch.setattr(caches, "free_bytes", lambda folder: 1000)
    with pytest.warns(RuntimeWarning, match=r"more, 1,000 bytes are free"):
        open_batches(fresh).batch(0)


def test_a_disk_that_fills_up_only_costs_the_cache(fresh, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    batches = open_batches(fresh)
    monkeypatch.setattr(os, "pwritev", full)
    with pytest.warns(RuntimeWarning, match="No space left on device"):
        first = batches.batch(0)
    np.testing.assert_equal(batches.batch(0), first)


# Metrics


def waves():
    i, j = np.indices((16, 16))
    x = np.sin(0.1 * i * j)
    return x, x + 0.1 * np.cos(0.3 * i + 0.2 * j)


def similarity(x, y, value_range):
    return float(metrics.ssim(np, x[None], y[None], np.array([value_range]))[0])


def test_ssim_gives_the_published_values():
    x, y = waves()
    assert similarity(x, y, 2.0) == pytest.approx(0.6808112266692894, rel=1e-12)
    assert similarity(x, 0.5 * x, 1.0) == pytest.approx(0.6558657184253295, rel=1e-12)
    cut = similarity(x[:12, :9], y[:12, :9], 1.5)
    assert cut == pytest.approx(0.8818864206772878, rel=1e-12)


def test_ssim_equals_scikit_images_on_real_slices(folder):
    skimage = pytest.importorskip("skimage.metrics")
    batch = open_batches(folder, "validation", batch_size=20).batch(0)
    ones = np.ones(20, np.float32)
    ours = metrics.outputs(np, batch["inputs"], batch, ones)["ssim"]
    mean, std = batch["mean"][:, None, None], batch["std"][:, None, None]
    pairs = zip(
        (batch["inputs"] * std + mean).astype(np.float64),
        (batch["targets"] * std + mean).astype(np.float64),
        batch["volume_max"],
        strict=True,
    )
    theirs = [
        skimage.structural_similarity(x, y, data_range=value_range)
        for x, y, value_range in pairs
    ]
    np.testing.assert_allclose(ours, theirs, atol=2e-6)


@pytest.mark.parametrize("framework", ["jax", "torch"])
def test_ssim_is_the_same_in_every_framework(framework):
    rng = np.random.default_rng(0)
    x, y = rng.random((2, 3, 20, 17)).astype(np.float32)
    value_range = np.array([1, 2, 0], np.float32)
    expected = metrics.ssim(np, x, y, value_range)
    if framework == "jax":
        xp = convert = pytest.importorskip("jax.numpy")
        arrays = [convert.asarray(a) for a in (x, y, value_range)]
    else:
        torch = pytest.importorskip("torch")
        xp = pytest.importorskip("array_api_compat.torch")
        arrays = [torch.tensor(a) for a in (x, y, value_range)]
    np.testing.assert_allclose(
        np.asarray(metrics.ssim(xp, *arrays)), expected, rtol=1e-5
    )


def test_ssim_does_not_depend_on_the_scale_of_the_images():
    x, y = (array.astype(np.float32) for array in waves())
    scale = np.float32(1e-18)  # squares of such numbers are too small for float32
    assert similarity(scale * x, scale * y, 2 * scale) == pytest.approx(
        similarity(x, y, np.float32(2)), rel=1e-5
    )


def test_equal_images_are_as_similar_as_can_be():
    x, _ = waves()
    assert similarity(x, x, 2.0) == 1
    noise = np.random.default_rng(0).normal(size=(16, 16))
    assert -1 <= similarity(9 + noise, 9 - noise, 2.0) < 0


def made_up_batch(number):
    rng = np.random.default_rng(1)
    return {
        "targets": rng.normal(size=(number, 9, 9)).astype(np.float32),
        "mean": np.ones(number, np.float32),
        "std": np.full(number, 2, np.float32),
        "volume_max": np.full(number, 5, np.float32),
        "weights": np.ones(number, np.float32),
    }


def test_padding_changes_no_metric_whatever_it_holds():
    batch = made_up_batch(3)
    logits = np.zeros((3, 9, 9), np.float32)
    loss = np.array([1, 2, 6], np.float32)
    real = metrics.summarise([metrics.outputs(np, logits, batch, loss)])
    padded = {
        key: np.concatenate([array, np.zeros_like(array[:1])])
        for key, array in batch.items()
    }
    logits = np.concatenate([logits, np.full((1, 9, 9), np.nan, np.float32)])
    outputs = metrics.outputs(np, logits, padded, np.append(loss, np.nan))
    assert metrics.summarise([outputs]) == real
    assert (real["loss"], real["num_examples"]) == (3.0, 3.0)


def test_a_model_that_gives_nan_has_a_nan_metric():
    batch = made_up_batch(2)
    logits = np.full((2, 9, 9), np.nan, np.float32)
    outputs = metrics.outputs(np, logits, batch, np.full(2, np.nan))
    result = metrics.summarise([outputs])
    assert math.isnan(result["ssim"])
    assert math.isnan(result["loss"])
