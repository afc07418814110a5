"""Preparing SVHN: the official MATLAB files, the composed small form, bad files."""

import numpy as np
import pytest
import scipy.io

from algoperf import downloads
from algoperf.datasets._images import stored, writing
from algoperf.datasets.svhn import composed, matlab, prepare, reader
from algoperf.definition import Splits
from algoperf.errors import BadData
from algoperf.prepared import Preparation, PreparedData

MINI = Splits(train=3_000, eval_train=1_000, validation=1_000, test=1_000)
SMALL = Splits(train=15, eval_train=4, validation=5, test=4)
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (24, 32, 32, 3), np.uint8)
DIGITS = np.array([0, 1, 9, 5] * 6, np.uint8)


@pytest.fixture
def raw(tmp_path):
    """20 + 4 random images in the official layout, where the label of a 0 is 10."""
    folder = tmp_path / "raw"
    folder.mkdir()
    for name, rows in (("train", slice(0, 20)), ("test", slice(20, 24))):
        labels = np.where(DIGITS[rows] == 0, 10, DIGITS[rows])
        write(folder / f"{name}_32x32.mat", IMAGES[rows], labels[:, np.newaxis])
    return folder


def write(path, images, labels, **options):
    tables = {"X": np.stack(list(images), axis=3), "y": labels}
    scipy.io.savemat(path, tables, **options)


def run(raw, folder, splits=SMALL, subset=None):
    with Preparation(
        folder, dataset="svhn", format_version=reader.FORMAT_VERSION, subset=subset
    ) as preparation:
        preparation.check_space(prepare.space_needed(raw, subset))
        prepare.prepare(raw, preparation, splits=splits, subset=subset)
    return PreparedData.open(folder, dataset="svhn", allow_partial=True, verify=True)


def test_images_are_in_rows_and_columns_and_10_is_0(raw, tmp_path):
    data = run(raw, tmp_path / "out")
    for split, rows in (
        ("train", slice(0, 15)),
        ("validation", slice(15, 20)),
        ("test", slice(20, 24)),
    ):
        found = reader.read_split(data, split)
        np.testing.assert_array_equal(found.images, IMAGES[rows])
        np.testing.assert_array_equal(found.labels, DIGITS[rows])


def test_packed_files_and_labels_of_floats_are_read(raw, tmp_path):
    labels = np.array([10.0, 1, 9, 5])[:, np.newaxis]
    write(raw / "test_32x32.mat", IMAGES[20:], labels, do_compression=True)
    data = run(raw, tmp_path / "out")
    assert reader.read_split(data, "test").labels.tolist() == [0, 1, 9, 5]
    assert reader.read_split(data, "test").labels.dtype == np.uint8


def test_a_workload_may_leave_official_images_out(raw, tmp_path, monkeypatch):
    splits = Splits(train=12, eval_train=4, validation=4, test=4)
    with pytest.raises(BadData, match="has 20 images; 16 are expected"):
        run(raw, tmp_path / "out", splits)
    official = writing.Official(3072, (5, 5, 0, 0, 0, 5, 0, 0, 0, 5), (1,))
    monkeypatch.setattr(prepare, "_OFFICIAL", official)
    data = run(raw, tmp_path / "out", splits)
    np.testing.assert_array_equal(
        reader.read_split(data, "validation").images, IMAGES[12:16]
    )


def test_the_published_64000_images_have_the_test_images_as_validation(
    raw, tmp_path, monkeypatch
):
    official = writing.Official(3072, (5, 5, 0, 0, 0, 5, 0, 0, 0, 5), (1,))
    monkeypatch.setattr(prepare, "_OFFICIAL", official)
    splits = Splits(train=18, eval_train=4, validation=4, test=4)
    data = run(raw, tmp_path / "out", splits)
    assert data.counts == {"train": 18, "validation": 4, "test": 4}
    np.testing.assert_array_equal(
        reader.read_split(data, "validation").images, IMAGES[20:]
    )


def test_the_official_counts_are_those_of_the_data_set():
    assert prepare._OFFICIAL.count("train") == 73_257
    assert prepare._OFFICIAL.count("test") == 26_032


def test_the_small_form_is_prepared_by_the_same_code(tmp_path):
    prepare.expand_embedded(tmp_path / "raw")
    data = run(tmp_path / "raw", tmp_path / "out", MINI)
    for split, per_digit in (("train", 300), ("validation", 100), ("test", 100)):
        found = stored.read_split(data, split)
        assert found.images.shape == (10 * per_digit, 32, 32, 3)
        assert np.bincount(found.labels).tolist() == [per_digit] * 10


def test_a_blended_digit_contrasts_with_its_background():
    digit = np.zeros((28, 28), np.uint8)
    digit[10:20, 12:16] = 255
    rng = np.random.default_rng(0)
    for value, is_lighter in ((20, True), (230, False)):
        background = np.full((32, 32, 3), value, np.uint8)
        found = composed.blended(digit, background, rng).astype(int)
        changed = np.any(found != value, axis=2)
        assert changed.sum() == 40
        assert ((found[changed] > value) == is_lighter).all()
        assert abs(found[changed] - value).min() >= 70


def test_a_missing_file_is_named_with_where_to_get_it(raw, tmp_path):
    (raw / "test_32x32.mat").unlink()
    with pytest.raises(BadData, match=r"(?s)no file test_32x32\.mat.*ufldl"):
        run(raw, tmp_path / "out")


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: b"<html>moved</html>",
        lambda content: bytes(len(content)),
    ],
)
def test_a_damaged_file_is_named(raw, tmp_path, damage):
    path = raw / "test_32x32.mat"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(BadData, match=r"test_32x32\.mat"):
        run(raw, tmp_path / "out")


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (IMAGES[20:, :28], [[1]] * 4),  # another size
        (IMAGES[20:, ..., :1], [[1]] * 4),  # grey
        (IMAGES[20:], [[1]] * 3),
        (IMAGES[20:], [[1, 2]] * 4),
    ],
)
def test_tables_of_other_shapes_are_refused(raw, tmp_path, images, labels):
    write(raw / "test_32x32.mat", images, np.array(labels))
    with pytest.raises(BadData, match=r"are expected: cropped digits, format 2"):
        run(raw, tmp_path / "out")


def test_a_file_without_labels_is_refused(raw, tmp_path):
    scipy.io.savemat(raw / "test_32x32.mat", {"X": np.zeros((32, 32, 3, 4), np.uint8)})
    with pytest.raises(BadData, match="cropped digits, format 2"):
        run(raw, tmp_path / "out")


@pytest.mark.parametrize("wrong", [0, 11, 1.5])
def test_a_label_out_of_range_is_shown_with_its_row(raw, tmp_path, wrong):
    write(raw / "test_32x32.mat", IMAGES[20:], np.array([[1], [2], [wrong], [3]]))
    with pytest.raises(BadData, match=f"label 2 is {wrong}; labels are 1 to 10"):
        run(raw, tmp_path / "out")


def test_images_that_are_no_bytes_are_refused(raw, tmp_path):
    write(raw / "test_32x32.mat", IMAGES[20:] / 255, np.array([[1]] * 4))
    with pytest.raises(BadData, match="the values of X are float64, not bytes"):
        run(raw, tmp_path / "out")


def test_a_written_file_reads_back(tmp_path):
    for file, rows in (("train", slice(0, 20)), ("test", slice(20, 24))):
        part = stored.LabelledImages(IMAGES[rows], DIGITS[rows])
        matlab.write(tmp_path / matlab.NAMES[file], part)
    data = run(tmp_path, tmp_path / "out")
    np.testing.assert_array_equal(reader.read_split(data, "test").labels, DIGITS[20:])


def test_a_download_checks_what_it_fetched(tmp_path, monkeypatch):
    fetched = []
    monkeypatch.setattr(
        downloads, "fetch", lambda url, path, **how: fetched.append((url, path, how))
    )
    prepare.download(tmp_path)
    assert [path.name for _, path, _ in fetched] == list(matlab.NAMES.values())
    assert all(len(how["md5"]) == 32 for _, _, how in fetched)
