"""Preparing CIFAR-10 and CIFAR-100: all official forms, the shipped one, bad files."""

import collections
import os
import pickle
import shutil
import tarfile

import numpy as np
import pytest

from algoperf import downloads, registry
from algoperf.datasets._images import stored, tiles
from algoperf.definition import Splits
from algoperf.errors import BadData
from algoperf.prepared import Preparation, PreparedData

MINI = Splits(train=3_000, eval_train=1_000, validation=1_000, test=1_000)
SMALL = Splits(train=15, eval_train=4, validation=5, test=4)
NAMES = ("cifar10", "cifar100")
FOLDERS = {
    "cifar10": {"binary": "cifar-10-batches-bin", "pickled": "cifar-10-batches-py"},
    "cifar100": {"binary": "cifar-100-binary", "pickled": "cifar-100-python"},
}
ARCHIVES = {
    "cifar10": {
        "binary": "cifar-10-binary.tar.gz",
        "pickled": "cifar-10-python.tar.gz",
    },
    "cifar100": {
        "binary": "cifar-100-binary.tar.gz",
        "pickled": "cifar-100-python.tar.gz",
    },
}
FILES = {
    "cifar10": {
        "train": [f"data_batch_{n}" for n in range(1, 6)],
        "test": ["test_batch"],
    },
    "cifar100": {"train": ["train"], "test": ["test"]},
}


def random_part(count, seed):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 32, 32, 3), np.uint8)
    return stored.LabelledImages(images, rng.integers(0, 10, count).astype(np.uint8))


PARTS = {"train": random_part(20, 0), "test": random_part(4, 1)}


def binary(name, images, labels):
    """The bytes of a binary file, byte by byte as the official page describes them."""
    content = b""
    for image, label in zip(images, labels, strict=True):
        coarse = bytes([label // 5]) if name == "cifar100" else b""
        planes = b"".join(image[:, :, colour].tobytes() for colour in range(3))
        content += coarse + bytes([label]) + planes
    return content


def pickled(name, images, labels):
    """The bytes of a pickled file."""
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    batch = {b"batch_label": b"a batch", b"data": np.ascontiguousarray(planes)}
    listed = labels.tolist()
    if name == "cifar100":
        coarse = [label // 5 for label in listed]
        batch |= {b"fine_labels": listed, b"coarse_labels": coarse}
    else:
        batch[b"labels"] = listed
    return pickle.dumps(batch, protocol=2)


def write(name, raw, form="binary"):
    """20 + 4 random images in the official folder; its path."""
    folder = raw / FOLDERS[name][form]
    folder.mkdir(parents=True)
    for file, part in PARTS.items():
        names = FILES[name][file]
        rows = np.array_split(np.arange(len(part.labels)), len(names))
        for path, chosen in zip(names, rows, strict=True):
            make = binary if form == "binary" else pickled
            content = make(name, part.images[chosen], part.labels[chosen])
            suffix = ".bin" if form == "binary" else ""
            (folder / f"{path}{suffix}").write_bytes(content)
    return folder


def run(name, raw, folder, splits=SMALL, subset=None):
    prepare = registry.dataset_module(name, "prepare")
    with Preparation(
        folder, dataset=name, format_version=prepare.FORMAT_VERSION, subset=subset
    ) as preparation:
        preparation.check_space(prepare.space_needed(raw, subset))
        prepare.prepare(raw, preparation, splits=splits, subset=subset)
    return PreparedData.open(folder, dataset=name, allow_partial=True, verify=True)


def assert_holds_the_parts(data):
    train, test = PARTS["train"], PARTS["test"]
    expected = {
        "train": (train.images[:15], train.labels[:15]),
        "validation": (train.images[15:], train.labels[15:]),
        "test": (test.images, test.labels),
    }
    for split, (images, labels) in expected.items():
        found = stored.read_split(data, split)
        np.testing.assert_array_equal(found.images, images)
        np.testing.assert_array_equal(found.labels, labels)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", ["binary", "pickled"])
@pytest.mark.parametrize("place", ["packed", "unpacked", "loose"])
def test_all_official_forms_give_the_same_images(tmp_path, name, form, place):
    folder = write(name, tmp_path / "raw", form)
    if place == "packed":
        with tarfile.open(tmp_path / "raw" / ARCHIVES[name][form], "w:gz") as tar:
            tar.add(folder, folder.name)
        shutil.rmtree(folder)
    raw = folder if place == "loose" else tmp_path / "raw"
    assert_holds_the_parts(run(name, raw, tmp_path / "out"))


@pytest.mark.parametrize("name", NAMES)
def test_a_workload_may_train_on_all_images(tmp_path, name):
    write(name, tmp_path / "raw")
    splits = Splits(train=20, eval_train=4, validation=4, test=4)
    data = run(name, tmp_path / "raw", tmp_path / "out", splits)
    validation = stored.read_split(data, "validation")
    np.testing.assert_array_equal(validation.images, PARTS["test"].images)
    assert stored.read_split(data, "train").images.shape == (20, 32, 32, 3)


@pytest.mark.parametrize("name", NAMES)
def test_a_subset_keeps_so_many_of_each_split(tmp_path, name):
    write(name, tmp_path / "raw")
    data = run(name, tmp_path / "raw", tmp_path / "out", subset=3)
    assert data.counts == {"train": 3, "validation": 3, "test": 3}


@pytest.mark.parametrize(("name", "num_classes"), [("cifar10", 10), ("cifar100", 100)])
def test_the_shipped_form_has_as_many_of_each_class(tmp_path, name, num_classes):
    registry.dataset_module(name, "prepare").expand_embedded(tmp_path / "raw")
    data = run(name, tmp_path / "raw", tmp_path / "out", MINI)
    for split in ("train", "validation", "test"):
        found = stored.read_split(data, split)
        per_class = len(found.labels) // num_classes
        assert np.bincount(found.labels).tolist() == [per_class] * num_classes
    again = registry.dataset_module(name, "prepare")
    again.expand_embedded(tmp_path / "again")
    for path in (tmp_path / "raw").rglob("*.bin"):
        other = tmp_path / "again" / path.relative_to(tmp_path / "raw")
        assert path.read_bytes() == other.read_bytes()


def test_the_coarse_labels_of_the_shipped_form_are_those_of_20_groups(tmp_path):
    prepare = registry.dataset_module("cifar100", "prepare")
    prepare.expand_embedded(tmp_path)
    content = (tmp_path / "cifar-100-binary" / "test.bin").read_bytes()
    records = np.frombuffer(content, np.uint8).reshape(-1, 3074)
    groups = collections.defaultdict(set)
    for coarse, fine in records[:, :2].tolist():
        groups[coarse].add(fine)
    assert sorted(map(len, groups.values())) == [5] * 20


def test_colourings_are_different_and_keep_the_pixels():
    image = np.arange(32 * 32 * 3).reshape(1, 32, 32, 3).astype(np.uint8)
    found = [tiles.coloured(image, number) for number in range(10)]
    assert len({array.tobytes() for array in found}) == 10
    assert all(array.shape == image.shape for array in found)
    np.testing.assert_array_equal(found[0], image)


def test_the_official_counts_are_those_of_the_data_sets():
    for name in NAMES:
        official = registry.dataset_module(name, "prepare")._OFFICIAL
        assert (official.count("train"), official.count("test")) == (50_000, 10_000)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_folder_or_file_is_named_with_where_to_get_it(tmp_path, name):
    (tmp_path / "raw").mkdir()
    wanted = rf"(?s)no file {ARCHIVES[name]['binary']}.*cs.toronto.edu"
    with pytest.raises(BadData, match=wanted):
        run(name, tmp_path / "raw", tmp_path / "out")
    with pytest.raises(BadData, match=r"no folder .*nothing with raw files"):
        run(name, tmp_path / "nothing", tmp_path / "out")


def test_a_missing_batch_is_named(tmp_path):
    for form, file in (("binary", "data_batch_3.bin"), ("pickled", "data_batch_3")):
        folder = write("cifar10", tmp_path / form, form)
        (folder / file).unlink()
        with pytest.raises(BadData, match=f"no file {file}"):
            run("cifar10", tmp_path / form, tmp_path / "out")


def test_a_file_of_nearly_the_right_name_is_suggested(tmp_path):
    folder = write("cifar10", tmp_path)
    (folder / "test_batch.bin").rename(folder / "Test_batch.bin")
    with pytest.raises(
        BadData, match=r"no file test_batch\.bin\. Did you mean 'Test_b"
    ):
        run("cifar10", tmp_path, tmp_path / "out")


def test_an_archive_without_a_batch_is_named(tmp_path):
    folder = write("cifar10", tmp_path)
    (folder / "data_batch_2.bin").unlink()
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz") as tar:
        tar.add(folder, folder.name)
    shutil.rmtree(folder)
    with pytest.raises(BadData, match=r"has no file data_batch_2\.bin"):
        run("cifar10", tmp_path, tmp_path / "out")


def test_a_damaged_archive_is_named(tmp_path):
    folder = write("cifar10", tmp_path)
    archive = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, folder.name)
    shutil.rmtree(folder)
    content = archive.read_bytes()
    for damaged in (content[:-5000], b"", b"<html>moved</html>"):
        archive.write_bytes(damaged)
        with pytest.raises(BadData, match=r"cifar-10-binary\.tar\.gz is cut off or"):
            run("cifar10", tmp_path, tmp_path / "out")


def test_an_archive_with_an_empty_batch_is_refused(tmp_path):
    folder = write("cifar10", tmp_path)
    (folder / "data_batch_2.bin").write_bytes(b"")
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz") as tar:
        tar.add(folder, folder.name)
    shutil.rmtree(folder)
    with pytest.raises(BadData, match="has 16 images; 20 are expected"):
        run("cifar10", tmp_path, tmp_path / "out")


def test_a_cut_off_binary_file_is_named(tmp_path):
    path = write("cifar10", tmp_path) / "data_batch_4.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BadData, match=r"data_batch_4\.bin is cut off: .* multiple"):
        run("cifar10", tmp_path, tmp_path / "out")


@pytest.mark.parametrize(("name", "wrong"), [("cifar10", 10), ("cifar100", 100)])
@pytest.mark.parametrize("form", ["binary", "pickled"])
def test_a_label_out_of_range_is_shown_with_its_row(tmp_path, name, wrong, form):
    folder = write(name, tmp_path, form)
    part = PARTS["test"]
    labels = np.array([0, 1, wrong, 3], np.uint8)
    make = binary if form == "binary" else pickled
    path = folder / (FILES[name]["test"][0] + (".bin" if form == "binary" else ""))
    path.write_bytes(make(name, part.images, labels))
    with pytest.raises(BadData, match=f"label 2 is {wrong}; labels are 0 to"):
        run(name, tmp_path, tmp_path / "out")


class Malice:
    def __reduce__(self):
        return os.mkdir, ("/tmp/a_pickle_has_run_code",)


def test_a_pickle_runs_no_code(tmp_path):
    folder = write("cifar10", tmp_path, "pickled")
    (folder / "test_batch").write_bytes(pickle.dumps({b"data": Malice()}, protocol=2))
    with pytest.raises(BadData, match=r"it would run posix\.mkdir"):
        run("cifar10", tmp_path, tmp_path / "out")
    assert not os.path.exists("/tmp/a_pickle_has_run_code")


@pytest.mark.parametrize(
    "batch",
    [
        {},
        [],
        {b"data": np.zeros((4, 3072), np.uint8)},
        {b"data": np.zeros((3, 3072), np.uint8), b"labels": [0] * 4},
        {b"data": np.zeros((4, 3072)), b"labels": [0] * 4},
        {b"data": np.zeros((4, 3072), np.uint8), b"labels": ["a"] * 4},
        {b"data": np.zeros((4, 3072), np.uint8), b"labels": None},
    ],
)
def test_a_pickle_of_something_else_is_refused(tmp_path, batch):
    folder = write("cifar10", tmp_path, "pickled")
    (folder / "test_batch").write_bytes(pickle.dumps(batch, protocol=2))
    with pytest.raises(BadData, match="test_batch"):
        run("cifar10", tmp_path, tmp_path / "out")


def test_the_pickles_of_python_2_are_read(tmp_path):
    """Their arrays are rebuilt from a text, in the module that numpy had then."""
    folder = write("cifar10", tmp_path, "pickled")
    path = folder / "test_batch"
    planes = PARTS["test"].images.transpose(0, 3, 1, 2).reshape(4, 3072)
    array = pickle.dumps(np.ascontiguousarray(planes), protocol=2)
    old = array.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    labels = pickle.dumps(PARTS["test"].labels.tolist(), protocol=2)[2:-1]
    # Proto 2, an empty dictionary, a mark; keys as the strings of Python 2; the end.
    keys = [b"U" + bytes([len(key)]) + key for key in (b"data", b"labels")]
    parts = (b"\x80\x02}(", keys[0], old[2:-1], keys[1], labels, b"u.")
    path.write_bytes(b"".join(parts))
    assert_holds_the_parts(run("cifar10", tmp_path, tmp_path / "out"))


@pytest.mark.parametrize("name", NAMES)
def test_a_download_checks_what_it_fetched(tmp_path, monkeypatch, name):
    prepare, fetched = registry.dataset_module(name, "prepare"), []
    monkeypatch.setattr(
        downloads, "fetch", lambda url, path, **how: fetched.append((url, path, how))
    )
    prepare.download(tmp_path)
    ((url, path, how),) = fetched
    assert path.name == ARCHIVES[name]["binary"] and url.endswith(path.name)
    assert len(how["md5"]) == 32
