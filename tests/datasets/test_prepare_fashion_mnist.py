"""Preparing Fashion-MNIST: the shipped images, and splits with and without validation."""

from pathlib import Path

import numpy as np
import pytest

from algoperf.datasets._images import idx, stored, writing
from algoperf.datasets.fashion_mnist import make_embedded, prepare, reader
from algoperf.definition import Splits
from algoperf.errors import BadData
from algoperf.prepared import Preparation, PreparedData

MINI = Splits(train=3_000, eval_train=1_000, validation=1_000, test=1_000)
DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def run(raw, folder, splits, subset=None):
    with Preparation(
        folder,
        dataset=reader.DATASET,
        format_version=reader.FORMAT_VERSION,
        subset=subset,
    ) as preparation:
        prepare.prepare(raw, preparation, splits=splits, subset=subset)
    return PreparedData.open(
        folder, dataset=reader.DATASET, allow_partial=True, verify=True
    )


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


def test_the_shipped_images_are_balanced_in_every_split(tmp_path):
    prepare.expand_embedded(tmp_path / "raw")
    data = run(tmp_path / "raw", tmp_path / "out", MINI)
    for split, per_class in (("train", 300), ("validation", 100), ("test", 100)):
        part = reader.read_split(data, split)
        assert part.images.shape == (10 * per_class, 28, 28, 1)
        assert part.images.dtype == part.labels.dtype == np.uint8
        assert np.bincount(part.labels).tolist() == [per_class] * 10


def test_no_shipped_image_is_in_two_splits(tmp_path):
    prepare.expand_embedded(tmp_path)
    names = ("train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz")
    images = np.concatenate([idx.read(tmp_path / name, "images") for name in names])
    assert len(np.unique(images.reshape(5000, -1), axis=0)) == 5000


def test_embedded_rows_keep_the_order_of_the_source():
    labels = np.tile(np.arange(10), 5)
    rows = make_embedded.chosen_rows(labels, ((0, 2), (2, 3)))
    assert rows.tolist() == list(range(30))


def test_a_workload_that_trains_on_all_has_the_test_images_as_validation(raw, tmp_path):
    splits = Splits(train=9, eval_train=4, validation=4, test=4)
    data = run(raw, tmp_path / "out", splits)
    assert data.counts == {"train": 9, "validation": 4, "test": 4}
    assert not (tmp_path / "out" / "validation-images.npy").exists()
    validation, test = (reader.read_split(data, s) for s in ("validation", "test"))
    np.testing.assert_array_equal(validation.images, test.images)
    assert reader.read_split(data, "train").labels.tolist() == list(range(9))


@pytest.mark.parametrize(
    "splits",
    [
        Splits(train=9, eval_train=4, validation=3, test=4),  # neither rest nor test
        Splits(train=10, eval_train=4, validation=4, test=4),
        Splits(train=5, eval_train=4, validation=3, test=4),
        Splits(train=6, eval_train=4, validation=3, test=3),
    ],
)
def test_splits_that_the_raw_files_do_not_have_are_refused(raw, tmp_path, splits):
    with pytest.raises(BadData, match=r"images; .* are expected"):
        run(raw, tmp_path / "out", splits)


def test_official_counts_with_other_classes_are_refused(tmp_path, monkeypatch, raw):
    official = writing.Official(784, (1, 2, 1, 1, 1, 1, 1, 1, 0, 0), (1,) * 4)
    monkeypatch.setattr(prepare, "_OFFICIAL", official)
    splits = Splits(train=6, eval_train=2, validation=3, test=4)
    with pytest.raises(BadData, match="has 1 images of class 1; 2 are expected"):
        run(raw, tmp_path / "out", splits)


def test_the_official_counts_are_those_of_the_data_set():
    assert prepare._OFFICIAL.count("train") == 60_000
    assert prepare._OFFICIAL.count("test") == 10_000


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="dataset-fashion-mnist is missing")
def test_the_whole_data_set_is_prepared(tmp_path):
    splits = Splits(train=50_000, eval_train=10_000, validation=10_000, test=10_000)
    data = run(DEBIAN, tmp_path / "out", splits)
    assert stored.read_split(data, "train").images.shape == (50_000, 28, 28, 1)


def test_making_the_embedded_files_again_gives_the_same_bytes(tmp_path):
    if not DEBIAN.is_dir():
        pytest.skip("dataset-fashion-mnist is missing")
    make_embedded.make_embedded(DEBIAN, tmp_path)
    folder = Path(prepare.__file__).parent / "embedded"
    for path in folder.glob("*.gz"):
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()
