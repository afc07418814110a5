"""Preparing what tensorflow-datasets has stored: the same folder as from raw files."""

import dataclasses
import hashlib
import importlib
import json
import shutil
import sys

import pytest

from algoperf import cli, registry
from algoperf.definition import Splits
from algoperf.errors import BadData
from algoperf.prepared import Preparation, PreparedData
from algoperf.tfds import TfdsFolder, default_root, stored_order

pytest.importorskip("google.protobuf")
pytest.importorskip("google_crc32c")

IMAGES = Splits(train=8, eval_train=2, validation=2, test=3)
SPLITS = {
    "mnist": IMAGES,
    "fashion_mnist": IMAGES,
    "cifar10": IMAGES,
    "cifar100": IMAGES,
    "svhn": IMAGES,
    "imagenet": Splits(train=9, eval_train=4, validation=4, test=6),
    "ogbg": Splits(train=16, eval_train=4, validation=4, test=4),
    "wmt": Splits(train=60, eval_train=4, validation=7, test=6),
}
# What `prepare` must be told about so little text.
OPTIONS = {"wmt": {"vocab_size": 40}}
FORMATS = ("tfrecord", "array_record")


def need(file_format):
    if file_format == "array_record":
        pytest.importorskip("array_record.python.array_record_module")


def run(name, raw, folder, splits=None, subset=None):
    if name == "wmt":
        pytest.importorskip("sentencepiece")
    module = registry.dataset_module(name, "prepare")
    with Preparation(
        folder, dataset=name, format_version=module.FORMAT_VERSION, subset=subset
    ) as preparation:
        preparation.check_space(module.space_needed(raw, subset))
        chosen = {"splits": splits or SPLITS[name], **OPTIONS.get(name, {})}
        module.prepare(raw, preparation, subset=subset, **chosen)
    return PreparedData.open(folder, dataset=name, allow_partial=True, verify=True)


@pytest.fixture
def copied(tfds_folders, tmp_path):
    """A copy of the tfrecord folders that a test may damage."""
    return shutil.copytree(tfds_folders / "tfrecord", tmp_path / "tfds")


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("name", SPLITS)
def test_the_prepared_files_are_those_of_the_raw_files(
    tfds_folders, tmp_path, name, file_format
):
    need(file_format)
    raw = run(name, tfds_folders / "raw" / name, tmp_path / "raw")
    stored = run(name, tfds_folders / file_format, tmp_path / "tfds")
    assert stored.manifest.files == raw.manifest.files
    fields = {"source": {}}
    assert dataclasses.replace(stored.manifest, **fields) == dataclasses.replace(
        raw.manifest, **fields
    )


def test_a_subset_is_the_same_too(tfds_folders, tmp_path):
    for name, raw in (("raw", "raw/mnist"), ("tfds", "tfrecord")):
        run("mnist", tfds_folders / raw, tmp_path / name, subset=1)
    for part in (tmp_path / "raw").glob("*.npy"):
        assert part.read_bytes() == (tmp_path / "tfds" / part.name).read_bytes()


def test_examples_are_stored_by_a_hash_of_their_keys():
    # The numbers of the CIFAR examples that tensorflow-datasets 4.9.10 stored, as it says.
    assert stored_order(range(10), "train").tolist() == [6, 5, 4, 0, 8, 3, 1, 9, 7, 2]
    assert stored_order(["3", "1"], "train").tolist() == [0, 1]
    assert len(stored_order([], "train")) == 0


def test_the_newest_version_is_read(copied):
    folder = copied / "mnist"
    newer = shutil.copytree(folder / "3.0.1", folder / "3.0.10")
    for number in ("3.0.9", "4.0.0"):  # what was not finished is passed over
        (folder / number).mkdir()
    (folder / "incomplete.ABC_3.0.1").mkdir()
    found = TfdsFolder.find(copied, "mnist")
    assert found is not None and found.path == newer


def test_a_folder_without_the_data_set_holds_none(copied):
    assert TfdsFolder.find(copied, "kmnist") is None
    assert TfdsFolder.find(copied / "nothing", "mnist") is None


def shard(copied, name="mnist", split="train"):
    return next(copied.rglob(f"{name}-{split}.tfrecord-00000-of-00002"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda c: c[:-3], "it ends within a record"),
        (lambda c: c[:40] + b"?" + c[41:], "a checksum does not agree"),
        (lambda c: b"?" + c[1:], "a checksum does not agree"),
        (lambda c: c + b"1234", "it ends within a record"),
        (lambda c: b"", "has 0 records; 5 are expected"),
        (lambda c: c + c, "has 10 records; 5 are expected"),
        (lambda c: b"<html>moved to another place</html>", "a checksum does not agree"),
    ],
)
def test_a_damaged_file_is_named(copied, tmp_path, damage, message):
    path = shard(copied)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(BadData, match=message) as raised:
        run("mnist", copied, tmp_path / "out")
    assert str(path) in str(raised.value)


def test_a_damaged_array_record_file_is_named(tfds_folders, tmp_path):
    need("array_record")
    root = shutil.copytree(tfds_folders / "array_record", tmp_path / "tfds")
    path = next(root.rglob("mnist-train.array_record-00001-of-00002"))
    content = path.read_bytes()
    for number, damaged in enumerate((b"", content[:1000], b"<html>moved</html>")):
        other = shutil.copytree(root, tmp_path / f"{number}")
        (other / path.relative_to(root)).write_bytes(damaged)
        with pytest.raises(BadData, match=r"mnist-train\.array_record-00001"):
            run("mnist", other, tmp_path / f"out{number}")


def test_a_missing_file_is_named(copied, tmp_path):
    shard(copied).unlink()
    with pytest.raises(BadData, match=r"no file mnist-train\.tfrecord-00000-of-00002"):
        run("mnist", copied, tmp_path / "out")


def edit(path, change):
    info = json.loads(path.read_text())
    change(info)
    path.write_text(json.dumps(info))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda info: info.pop("splits"), r"dataset_info\.json is damaged"),
        (lambda info: info.update(fileFormat="riegeli"), "the format 'riegeli'"),
        (lambda info: info["splits"][0].update(name="all"), "has no split 'train'"),
        (
            lambda info: info["splits"][0].update(filepathTemplate="{SPLIT}"),
            "tfrecord and array_record are read",
        ),
        (lambda info: info["splits"][0].update(shardLengths=["a"]), "is damaged"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(copied, tmp_path, change, message):
    edit(copied / "mnist" / "3.0.1" / "dataset_info.json", change)
    with pytest.raises(BadData, match=message):
        run("mnist", copied, tmp_path / "out")


@pytest.mark.parametrize("content", ["", "{", "[]", "7", "\0"])
def test_a_damaged_description_is_named(copied, tmp_path, content):
    (copied / "mnist" / "3.0.1" / "dataset_info.json").write_text(content)
    with pytest.raises(BadData, match=r"dataset_info\.json is damaged"):
        run("mnist", copied, tmp_path / "out")


def test_another_data_set_in_the_folder_is_refused(copied, tmp_path):
    for path in (copied / "mnist" / "3.0.1").glob("*tfrecord*"):
        other = path.name.replace("mnist", "svhn_cropped")
        found = copied / "svhn_cropped" / "3.1.0" / other
        path.write_bytes(found.read_bytes())
    with pytest.raises(BadData, match=r"'image' has the shape \(32, 32, 3\), not"):
        run("mnist", copied, tmp_path / "out")


def test_examples_in_another_order_than_the_builder_s_are_refused(copied, tmp_path):
    folder = copied / "cifar10" / "3.0.2"
    files = [folder / f"cifar10-train.tfrecord-{n:05d}-of-00002" for n in (0, 1)]
    contents = [path.read_bytes() for path in files]
    for path, content in zip(files, reversed(contents), strict=True):
        path.write_bytes(content)
    with pytest.raises(BadData, match=r"is image 00003 of the raw files; number 6 is"):
        run("cifar10", copied, tmp_path / "out")


def test_too_few_examples_for_the_splits_are_refused(tfds_folders, tmp_path):
    full = registry.definition("mnist").splits
    with pytest.raises(BadData, match="has 10 images; 60,000 are expected"):
        run("mnist", tfds_folders / "tfrecord", tmp_path / "out", full)


@pytest.fixture
def prepare(capsys):
    """Runs `algoperf prepare` in this process: status, stdout, stderr."""

    def run_command(*arguments):
        status = cli.main(["prepare", *map(str, arguments)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run_command


@pytest.fixture
def small_mnist(monkeypatch):
    """`mnist_mini` with as many examples as the folders here have."""
    definitions = dict(registry.definitions())
    mini = dataclasses.replace(definitions["mnist_mini"], splits=IMAGES)
    definitions["mnist_mini"] = mini
    monkeypatch.setattr(registry, "definitions", lambda: definitions)


def test_the_command_reads_a_folder_of_tensorflow_datasets(
    prepare, tfds_folders, tmp_path, small_mnist
):
    source = f"tfds:{tfds_folders / 'tfrecord'}"
    arguments = ("mnist_mini", "--from", source, "--data-dir", tmp_path)
    status, out, err = prepare(*arguments)
    assert status == 0, err
    assert "train 8, validation 2, test 3" in out
    (tmp_path / "mnist_mini" / "test-labels.npy").unlink()
    _, _, err = prepare("mnist_mini", "--data-dir", tmp_path, "--verify")
    assert f"algoperf prepare mnist_mini --from {source} --data-dir {tmp_path}" in err
    assert prepare(*arguments)[0] == 0


def test_the_folder_is_found_where_tensorflow_datasets_keeps_it(
    prepare, tfds_folders, tmp_path, small_mnist, monkeypatch
):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tfds_folders / "tfrecord"))
    assert default_root() == tfds_folders / "tfrecord"
    assert prepare("mnist_mini", "--from", "tfds", "--data-dir", tmp_path)[0] == 0
    monkeypatch.delenv("TFDS_DATA_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_root() == tmp_path / "tensorflow_datasets"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--from", "tfds:/nowhere"),
            "/nowhere has no mnist with a folder of a version",
        ),
        (("--from", "tdfs"), "Did you mean 'tfds'? It is one of tfds[:DIR]"),
        (("--from", "tfds", "--raw", "."), "--raw and --from name two sources"),
        (
            ("--from", "published"),
            "mnist_mini is not in the published benchmark's data",
        ),
        (("--from", ""), "--from  is unknown. It is one of"),
    ],
)
def test_a_source_that_is_not_there_is_named_before_any_work(
    prepare, tmp_path, arguments, message
):
    status, _, err = prepare("mnist_mini", *arguments, "--data-dir", tmp_path / "d")
    assert status == 2 and message in err
    assert not (tmp_path / "d").exists()


def test_what_tensorflow_datasets_does_not_have_is_said(prepare, tmp_path):
    status, _, err = prepare("fastmri", "--from", "tfds", "--data-dir", tmp_path)
    assert status == 2 and "cannot be prepared from tensorflow-datasets" in err


def test_an_image_of_an_unknown_class_is_refused(copied, tmp_path):
    names = copied / "imagenet2012" / "5.1.0" / "label.labels.txt"
    names.write_text("n01440764\nn01443537\n")
    with pytest.raises(BadData, match="its label is 2, not 0 to 1"):
        run("imagenet", copied, tmp_path / "out")
    names.write_text("n01443537\nn01440764\nn01484850\n")
    with pytest.raises(BadData, match="does not have the name of such an image"):
        run("imagenet", copied, tmp_path / "out")


def test_imagenet_v2_may_be_the_official_file(tfds_folders, copied, tmp_path):
    top = "imagenetv2-matched-frequency-format-val"
    shutil.rmtree(copied / "imagenet_v2")
    shutil.copytree(tfds_folders / "raw" / "imagenet" / top, copied / top)
    mixed = run("imagenet", copied, tmp_path / "mixed")
    raw = run("imagenet", tfds_folders / "raw" / "imagenet", tmp_path / "raw")
    assert mixed.manifest.files == raw.manifest.files


def test_one_of_the_two_data_sets_of_wmt_alone_is_refused(copied, tmp_path):
    shutil.rmtree(copied / "wmt14_translate")
    with pytest.raises(BadData, match=r"has wmt17_translate/de-en but no wmt14_transl"):
        run("wmt", copied, tmp_path / "out")


def test_the_published_tokenizer_is_used_and_recorded(tfds_folders, copied, tmp_path):
    sizes = importlib.import_module("algoperf.datasets.wmt.tokenizer")
    own = run("wmt", copied, tmp_path / "own")
    model = (tmp_path / "own" / "tokenizer.model").read_bytes()
    other = run("wmt", copied, tmp_path / "shorter", subset=5)
    (copied / "wmt_sentencepiece_model").write_bytes(model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sizes, "VOCAB_SIZE", 40)
        given = run("wmt", copied, tmp_path / "given")
        assert given.facts["tokenizer"] == hashlib.sha256(model).hexdigest()
        assert given.manifest.files == own.manifest.files
    assert "tokenizer" not in other.facts
    with pytest.raises(BadData, match="has 40 tokens; the published one has 32,000"):
        run("wmt", copied, tmp_path / "small")
    (copied / "wmt_sentencepiece_model").write_bytes(b"moved")
    with pytest.raises(BadData, match="is no SentencePiece model"):
        run("wmt", copied, tmp_path / "damaged")


class FakeLibrary:
    """What is called of tensorflow-datasets. It "downloads" the folders of the tests."""

    def __init__(self, folders, error=None):
        self.folders, self.error, self.asked = folders, error, []

    def builder(self, name, *, data_dir, file_format):
        self.asked.append((name, file_format))
        self._name, self._root = name, data_dir
        return self

    def download_and_prepare(self):
        if self.error is not None:
            raise self.error
        source = self.folders / "tfrecord" / self._name
        shutil.copytree(source, f"{self._root}/{self._name}")


def test_tensorflow_datasets_downloads_what_is_not_there_yet(
    prepare, tfds_folders, tmp_path, small_mnist, monkeypatch
):
    library = FakeLibrary(tfds_folders)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", library)
    source = f"tfds-download:{tmp_path / 'tfds'}"
    arguments = ("mnist_mini", "--from", source, "--data-dir", tmp_path)
    assert prepare(*arguments)[0] == 0
    assert library.asked == [("mnist", "array_record")]
    (tmp_path / "mnist_mini" / "test-labels.npy").unlink()
    _, _, err = prepare("mnist_mini", "--data-dir", tmp_path, "--verify")
    assert f"--from tfds:{tmp_path / 'tfds'} " in err  # it is there now
    assert prepare(*arguments)[0] == 0
    assert len(library.asked) == 1


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ImportError("No module named 'tensorflow'"), "needs TensorFlow to prepare"),
        (ConnectionError("Failed to resolve"), "ConnectionError: Failed to resolve"),
        (AssertionError("Manual download"), "AssertionError: Manual download"),
    ],
)
def test_what_tensorflow_datasets_cannot_do_is_one_sentence(
    prepare, tfds_folders, tmp_path, monkeypatch, error, message
):
    library = FakeLibrary(tfds_folders, error)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", library)
    source = f"tfds-download:{tmp_path / 'tfds'}"
    status, _, err = prepare("mnist_mini", "--from", source, "--data-dir", tmp_path)
    assert status == 2 and message in err and "Traceback" not in err


def test_a_missing_package_is_named_before_any_work(
    prepare, tfds_folders, tmp_path, small_mnist, monkeypatch
):
    monkeypatch.setitem(sys.modules, "google_crc32c", None)
    source = f"tfds:{tfds_folders / 'tfrecord'}"
    arguments = ("mnist_mini", "--from", source, "--data-dir", tmp_path / "out")
    status, _, err = prepare(*arguments)
    assert status == 2 and "extra 'tfds'" in err and "google_crc32c" in err
    assert not (tmp_path / "out").exists()
