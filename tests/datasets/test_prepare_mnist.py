"""Preparing MNIST: the shipped images, the official layout, bad raw files."""

import gzip
import os

import numpy as np
import pytest

from algoperf import downloads, registry
from algoperf.datasets._images import idx
from algoperf.datasets.mnist import make_embedded, prepare, reader
from algoperf.definition import Splits
from algoperf.errors import BadData
from algoperf.prepared import Preparation, PreparedData

MINI = registry.definition("mnist_mini").splits
SMALL = Splits(train=6, eval_train=2, validation=3, test=4)
TRAIN_IMAGES = "train-images-idx3-ubyte.gz"
TRAIN_LABELS = "train-labels-idx1-ubyte.gz"


@pytest.fixture
def raw(tmp_path):
    """A small data set in the official layout; pixel values count up."""
    folder = tmp_path / "raw"
    folder.mkdir()
    for file, number in (("train", 9), ("t10k", 4)):
        images = np.arange(number * 784).reshape(number, 28, 28) % 251
        labels = np.arange(number) % 10
        idx.write(folder / f"{file}-images-idx3-ubyte.gz", images.astype(np.uint8))
        idx.write(folder / f"{file}-labels-idx1-ubyte.gz", labels.astype(np.uint8))
    return folder


def run(raw, folder, splits=SMALL, subset=None):
    with Preparation(
        folder, dataset="mnist", format_version=reader.FORMAT_VERSION, subset=subset
    ) as preparation:
        prepare.prepare(raw, preparation, splits=splits, subset=subset)
    return PreparedData.open(folder, dataset="mnist", allow_partial=True, verify=True)


def test_the_shipped_images_are_prepared_by_the_same_code(tmp_path):
    prepare.expand_embedded(tmp_path / "raw")
    data = run(tmp_path / "raw", tmp_path / "out", MINI)
    assert data.counts == {"train": 3000, "validation": 1000, "test": 1000}
    for split, per_digit in (("train", 300), ("validation", 100), ("test", 100)):
        digits = reader.read_split(data, split)
        assert digits.images.dtype == np.uint8
        assert digits.images.shape == (10 * per_digit, 28, 28, 1)
        assert np.bincount(digits.labels).tolist() == [per_digit] * 10


def test_no_shipped_image_is_in_two_splits(tmp_path):
    prepare.expand_embedded(tmp_path)
    files = (TRAIN_IMAGES, "t10k-images-idx3-ubyte.gz")
    images = np.concatenate([idx.read(tmp_path / name, "images") for name in files])
    assert len(np.unique(images.reshape(5000, -1), axis=0)) == 5000


def test_shipped_splits_are_drawn_without_overlap():
    rows = make_embedded.split_rows(np.repeat(np.arange(10), 500))
    assert sorted(np.concatenate(list(rows.values()))) == list(range(5000))


def test_validation_is_what_follows_train(raw, tmp_path):
    data = run(raw, tmp_path / "out")
    images = idx.read(raw / TRAIN_IMAGES, "images")
    np.testing.assert_array_equal(
        reader.read_split(data, "train").images[..., 0], images[:6]
    )
    validation = reader.read_split(data, "validation")
    np.testing.assert_array_equal(validation.images[..., 0], images[6:])
    assert validation.labels.tolist() == [6, 7, 8]


def test_eval_train_reads_the_training_images(raw, tmp_path):
    data = run(raw, tmp_path / "out")
    assert reader.read_split(data, "eval_train").labels.tolist() == list(range(6))


def test_unpacked_raw_files_are_read_too(raw, tmp_path):
    packed = raw / TRAIN_IMAGES
    packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    assert run(raw, tmp_path / "out").counts["train"] == 6


def test_a_subset_keeps_at_most_so_many_of_each_split(raw, tmp_path):
    data = run(raw, tmp_path / "out", subset=4)
    assert data.is_partial
    assert data.counts == {"train": 4, "validation": 3, "test": 4}
    assert reader.read_split(data, "validation").labels.tolist() == [6, 7, 8]


def test_the_space_estimate_covers_what_is_written(raw, tmp_path):
    run(raw, tmp_path / "out")
    written = sum(path.stat().st_size for path in (tmp_path / "out").iterdir())
    assert written <= prepare.space_needed(raw) <= written + 4096
    assert prepare.space_needed(None) > 70_000 * 785


def test_a_killed_preparation_goes_on_with_the_next_part(raw, tmp_path, monkeypatch):
    save, saved = np.save, []

    def save_and_break(path, array):
        save(path, array)
        saved.append(path.name)
        if len(saved) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(np, "save", save_and_break)
    with pytest.raises(KeyboardInterrupt):
        run(raw, tmp_path / "out")
    broken = saved.pop()
    finished = {name: os.stat(tmp_path / "out" / name).st_mtime_ns for name in saved}
    assert not (tmp_path / "out" / broken).exists()

    monkeypatch.setattr(np, "save", save)
    resumed = run(raw, tmp_path / "out")
    for name, written in finished.items():
        assert resumed.path(name).stat().st_mtime_ns == written
    fresh = run(raw, tmp_path / "fresh")
    assert resumed.manifest == fresh.manifest


def test_preparing_twice_gives_the_same_bytes(raw, tmp_path):
    assert (
        run(raw, tmp_path / "a").manifest.files
        == run(raw, tmp_path / "b").manifest.files
    )


def test_a_resumed_preparation_with_other_raw_files_is_refused(raw, tmp_path):
    broken = raw / "t10k-labels-idx1-ubyte.gz"
    content = broken.read_bytes()
    broken.write_bytes(content[:-1])
    with pytest.raises(BadData, match="cut off"):
        run(raw, tmp_path / "out")
    broken.write_bytes(content)
    with pytest.raises(BadData, match=r"other input \(different: raw_bytes\)"):
        run(raw, tmp_path / "out")


def assert_refused(raw, tmp_path, message):
    """One clear error, and nothing that could be taken for prepared data."""
    with pytest.raises(BadData, match=message):
        run(raw, tmp_path / "out")
    with pytest.raises(BadData, match="not finished"):
        PreparedData.open(tmp_path / "out", dataset="mnist")


def test_a_missing_file_is_named_with_where_to_get_it(raw, tmp_path):
    (raw / TRAIN_LABELS).unlink()
    assert_refused(raw, tmp_path, rf"(?s)no file {TRAIN_LABELS}.*ossci-datasets")


def test_a_renamed_file_is_suggested(raw, tmp_path):
    (raw / TRAIN_LABELS).rename(raw / "train-labels.idx1-ubyte.gz")
    assert_refused(raw, tmp_path, "Did you mean 'train-labels.idx1-ubyte.gz'")


def test_a_missing_folder_is_named(raw, tmp_path):
    assert_refused(raw / "nothing", tmp_path, "no folder .*nothing with raw files")


def test_images_in_place_of_labels_are_recognised(raw, tmp_path):
    (raw / TRAIN_LABELS).write_bytes((raw / TRAIN_IMAGES).read_bytes())
    assert_refused(raw, tmp_path, f"{TRAIN_LABELS} is a file of images: .* renamed")


def test_a_wrong_magic_number_is_shown(raw, tmp_path):
    (raw / TRAIN_IMAGES).write_bytes(gzip.compress(b"not MNIST at all"))
    assert_refused(raw, tmp_path, "is no IDX file: it begins with 0x6e6f7420")


def test_a_truncated_gzip_file_is_named(raw, tmp_path):
    (raw / TRAIN_IMAGES).write_bytes((raw / TRAIN_IMAGES).read_bytes()[:-100])
    assert_refused(raw, tmp_path, f"{TRAIN_IMAGES} is cut off: its gzip data end early")


def test_a_corrupt_gzip_file_is_named(raw, tmp_path):
    content = bytearray((raw / TRAIN_IMAGES).read_bytes())
    content[-8] ^= 0xFF  # in the checksum
    (raw / TRAIN_IMAGES).write_bytes(content)
    assert_refused(raw, tmp_path, f"{TRAIN_IMAGES} is damaged")


def test_a_file_that_is_no_gzip_file_is_named(raw, tmp_path):
    (raw / TRAIN_IMAGES).write_text("<html>moved</html>")
    assert_refused(raw, tmp_path, f"{TRAIN_IMAGES} is damaged .*Not a gzipped file")


def test_an_empty_file_is_named(raw, tmp_path):
    (raw / TRAIN_IMAGES).write_bytes(b"")
    assert_refused(raw, tmp_path, f"{TRAIN_IMAGES} is cut off in its header")


@pytest.mark.parametrize(
    ("change", "message"),
    [(lambda body: body[:-1], "is cut off"), (lambda body: body + b"x", "is too long")],
)
def test_content_that_is_not_what_the_header_says_is_refused(
    raw, tmp_path, change, message
):
    content = gzip.decompress((raw / TRAIN_IMAGES).read_bytes())
    (raw / TRAIN_IMAGES).write_bytes(gzip.compress(change(content)))
    assert_refused(raw, tmp_path, message)


def test_images_of_another_size_are_refused(raw, tmp_path):
    idx.write(raw / TRAIN_IMAGES, np.zeros((9, 32, 32), np.uint8))
    assert_refused(raw, tmp_path, "images of 32x32 pixels")


def test_a_label_out_of_range_is_shown_with_its_row(raw, tmp_path):
    idx.write(raw / TRAIN_LABELS, np.array([0, 1, 2, 77, 4, 5, 6, 7, 8], np.uint8))
    assert_refused(raw, tmp_path, "label 3 is 77; labels are 0 to 9")


def test_more_images_than_labels_are_refused(raw, tmp_path):
    idx.write(raw / TRAIN_LABELS, np.zeros(8, np.uint8))
    assert_refused(raw, tmp_path, "has 9 images, but .* has 8 labels")


def test_too_few_examples_for_the_splits_are_refused(raw, tmp_path):
    idx.write(raw / TRAIN_LABELS, np.zeros(8, np.uint8))
    idx.write(raw / TRAIN_IMAGES, np.zeros((8, 28, 28), np.uint8))
    assert_refused(raw, tmp_path, "has 8 images; 9 are expected")


def test_the_shipped_images_are_not_taken_for_the_full_data_set(tmp_path):
    prepare.expand_embedded(tmp_path / "raw")
    full = registry.definition("mnist").splits
    with pytest.raises(BadData, match="has 4,000 images; 60,000 are expected"):
        run(tmp_path / "raw", tmp_path / "out", full)


def test_a_download_checks_what_it_fetched(tmp_path, monkeypatch):
    fetched = []
    monkeypatch.setattr(
        downloads, "fetch", lambda url, path, **how: fetched.append((url, path, how))
    )
    prepare.download(tmp_path)
    assert [path.name for _, path, _ in fetched] == [
        file.name for file in prepare.DOWNLOADS
    ]
    assert all(len(how["md5"]) == 32 for _, _, how in fetched)
    assert all(url.startswith("https://") for url, _, _ in fetched)


def test_prepared_files_that_do_not_hold_the_promised_examples_are_refused(
    raw, tmp_path
):
    run(raw, tmp_path / "out")
    with Preparation(tmp_path / "other", dataset="mnist", format_version=1) as other:
        for name in ("train-images.npy", "train-labels.npy"):
            with other.part(name) as path:
                np.save(path, np.zeros(5, np.uint8))
        other.finish({"train": 6}, facts={})
    data = PreparedData.open(tmp_path / "other", dataset="mnist")
    with pytest.raises(BadData, match="do not hold the 6 examples"):
        reader.read_split(data, "train")


def test_a_file_that_unpacks_without_end_does_not_fill_the_memory(raw, tmp_path):
    content = gzip.decompress((raw / TRAIN_IMAGES).read_bytes())
    (raw / TRAIN_IMAGES).write_bytes(gzip.compress(content + bytes(200_000_000), 1))
    read, size = gzip.GzipFile.read, []

    def count(self, number):
        size.append(number)
        return read(self, number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gzip.GzipFile, "read", count)
        assert_refused(raw, tmp_path, "is too long")
    assert 0 < max(size) < 10_000


def test_a_header_that_promises_more_than_any_memory_holds_is_refused(raw, tmp_path):
    content = bytearray(gzip.decompress((raw / TRAIN_IMAGES).read_bytes()))
    content[4:8] = b"\xff\xff\xff\xff"
    (raw / TRAIN_IMAGES).write_bytes(gzip.compress(content))
    assert_refused(raw, tmp_path, "promises 4,294,967,295 images")
