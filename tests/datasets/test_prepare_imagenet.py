"""Preparing ImageNet: the shipped photographs, the official layouts, bad raw files."""

import errno
import gzip
import hashlib
import io
import os
import sys
import tarfile

import numpy as np
import pytest

pytest.importorskip("PIL")

from PIL import Image

from algoperf import registry
from algoperf.datasets.imagenet import archives, jpeg, photographs, prepare, reader
from algoperf.definition import Splits
from algoperf.errors import BadData, MissingDependency
from algoperf.prepared import Preparation, PreparedData

MINI = registry.definition("imagenet_resnet_mini").splits
SMALL = Splits(train=9, eval_train=2, validation=6, test=3)
WNIDS = ("n00000003", "n00000011", "n00000020")
PER_CLASS = (2, 3, 4)
VALIDATION_CLASSES = (2, 0, 1, 1, 0, 2)  # of the images 1 to 6


def picture(value, form="JPEG", mode="RGB"):
    content = io.BytesIO()
    image = Image.new("RGB", (16, 12), (value, 255 - value, 9)).convert(mode)
    image.save(content, form)
    return content.getvalue()


def tar(files):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as packed:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            packed.addfile(member, io.BytesIO(data))
    return content.getvalue()


def train_files():
    """Names and contents by class; the values of pixels count up."""
    files, value = {}, 0
    for wnid, number in zip(WNIDS, PER_CLASS, strict=True):
        # Out of order, as in the official files.
        for i in reversed(range(number)):
            files.setdefault(wnid, []).append((f"{wnid}_{i}.JPEG", picture(value + i)))
        value += number
    return files


def validation_files():
    return [(f"ILSVRC2012_val_{i:08d}.JPEG", picture(100 + i)) for i in range(1, 7)]


def v2_files():
    folder = archives.TEST_FOLDER
    return [(f"{folder}/{i}/a{i}.jpeg", picture(200 + i)) for i in (2, 0, 1)]


def write_train(raw, classes):
    inner = [(f"{wnid}.tar", tar(files)) for wnid, files in classes.items()]
    (raw / archives.TRAIN).write_bytes(tar(inner))


def write_test(raw, files):
    (raw / archives.TEST).write_bytes(gzip.compress(tar(files)))


@pytest.fixture
def raw(tmp_path):
    """A small data set in the official layout."""
    folder = tmp_path / "raw"
    folder.mkdir()
    write_train(folder, train_files())
    (folder / archives.VALIDATION).write_bytes(tar(validation_files()))
    lines = [WNIDS[label] for label in VALIDATION_CLASSES]
    (folder / archives.SYNSETS).write_text("\n".join(lines) + "\n")
    write_test(folder, v2_files())
    return folder


def run(raw, folder, splits=SMALL, subset=None, **options):
    with Preparation(
        folder, dataset="imagenet", format_version=1, subset=subset
    ) as preparation:
        prepare.prepare(raw, preparation, splits=splits, subset=subset, **options)
    return PreparedData.open(
        folder, dataset="imagenet", allow_partial=True, verify=True
    )


def contents(data, split):
    """The images of a split as (label, bytes)."""
    images = reader.read_split(data, split)
    return [(int(images.labels[i]), images.read(i)) for i in range(len(images))]


@pytest.fixture(scope="module")
def expanded(tmp_path_factory):
    """The shipped photographs in the official layout."""
    folder = tmp_path_factory.mktemp("expanded")
    prepare.expand_embedded(folder)
    return folder


def test_the_shipped_photographs_are_prepared_by_the_same_code(expanded, tmp_path):
    data = run(expanded, tmp_path / "out", MINI)
    assert data.counts == {"train": 3040, "validation": 1216, "test": 1216}
    for split, per_class in (("train", 160), ("validation", 64), ("test", 64)):
        images = reader.read_split(data, split)
        assert np.bincount(images.labels).tolist() == [per_class] * 19
        header = jpeg.read_header(images.read(0))
        assert 48 <= min(header.height, header.width) <= 72


def test_the_shipped_pieces_of_different_splits_share_no_pixel():
    rng = np.random.default_rng(0)
    for path in photographs.sources():
        with Image.open(path) as photograph:
            width, height = photograph.size
        painted = {}
        for split, fields in photographs.fields(width, height).items():
            painted[split] = np.zeros((height, width), bool)
            for field in (field for field in fields for _ in range(10)):
                left, top, right, bottom = photographs.piece_box(field, rng)
                assert 0 <= left < right <= width
                assert 0 <= top < bottom <= height
                painted[split][top:bottom, left:right] = True
        assert max(sum(p.astype(int) for p in painted.values()).ravel()) == 1


def test_every_shipped_photograph_is_named_in_the_notice():
    notice = (photographs._EMBEDDED / "NOTICE").read_text()
    assert len(photographs.sources()) == 19
    for path in photographs.sources():
        assert path.name in notice


def test_expanding_again_gives_the_same_bytes(expanded, tmp_path):
    prepare.expand_embedded(tmp_path)
    for path in expanded.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()


def test_classes_are_numbered_by_their_sorted_names(raw, tmp_path):
    data = run(raw, tmp_path / "out")
    assert data.facts["classes"] == list(WNIDS)
    expected = [
        (label, content)
        for label, files in enumerate(train_files().values())
        for _, content in sorted(files)
    ]
    assert contents(data, "train") == expected


def test_validation_images_get_the_classes_of_the_label_file(raw, tmp_path):
    data = run(raw, tmp_path / "out")
    names = [content for _, content in validation_files()]
    expected = list(zip(VALIDATION_CLASSES, names, strict=True))
    assert contents(data, "validation") == expected


def test_test_images_get_the_classes_of_their_folders_numbers(raw, tmp_path):
    data = run(raw, tmp_path / "out")
    assert contents(data, "test") == [(i, picture(200 + i)) for i in range(3)]


def test_eval_train_reads_the_training_images(raw, tmp_path):
    data = run(raw, tmp_path / "out")
    assert contents(data, "eval_train") == contents(data, "train")


def write_devkit(raw, ids=(3, 1, 2, 2, 1, 3)):
    """The kit's numbers are not those of the sorted names; it has inner nodes too."""
    io_ = pytest.importorskip("scipy.io")
    kind = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("num_children", "O")]
    rows = [(1, WNIDS[0], 0), (2, WNIDS[1], 0), (3, WNIDS[2], 0), (4, "n00001740", 3)]
    table = io.BytesIO()
    io_.savemat(table, {"synsets": np.array(rows, kind).reshape(-1, 1)})
    lines = "".join(f"{i}\n" for i in ids).encode()
    folder = "ILSVRC2012_devkit_t12/data"
    files = [
        (f"{folder}/meta.mat", table.getvalue()),
        (f"{folder}/ILSVRC2012_validation_ground_truth.txt", lines),
    ]
    (raw / archives.DEVKIT).write_bytes(gzip.compress(tar(files)))


def test_the_official_devkit_serves_as_labels_too(raw, tmp_path):
    expected = run(raw, tmp_path / "a").manifest
    (raw / archives.SYNSETS).unlink()
    write_devkit(raw)
    assert run(raw, tmp_path / "b").manifest.files == expected.files


def unpack(raw):
    """The same images as plain folders."""
    for wnid, files in train_files().items():
        for name, content in files:
            path = raw / "train" / wnid / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    for label, (name, content) in zip(
        VALIDATION_CLASSES, validation_files(), strict=True
    ):
        path = raw / "val" / WNIDS[label] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for name, content in v2_files():
        (raw / name).parent.mkdir(parents=True)
        (raw / name).write_bytes(content)
    for name in (archives.TRAIN, archives.VALIDATION, archives.SYNSETS, archives.TEST):
        (raw / name).unlink()


def test_unpacked_folders_give_the_same_prepared_data(raw, tmp_path):
    expected = run(raw, tmp_path / "a").manifest
    unpack(raw)
    assert run(raw, tmp_path / "b").manifest == expected


def test_a_folder_of_class_tar_files_gives_the_same_prepared_data(raw, tmp_path):
    expected = run(raw, tmp_path / "a").manifest
    (raw / "train").mkdir()
    for wnid, files in train_files().items():
        (raw / "train" / f"{wnid}.tar").write_bytes(tar(files))
    (raw / archives.TRAIN).unlink()
    assert run(raw, tmp_path / "b").manifest == expected


def test_an_unpacked_test_tar_gives_the_same_prepared_data(raw, tmp_path):
    expected = run(raw, tmp_path / "a").manifest
    packed = raw / archives.TEST
    packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    assert run(raw, tmp_path / "b").manifest == expected


@pytest.mark.parametrize(("form", "mode"), [("PNG", "RGB"), ("JPEG", "CMYK")])
def test_png_and_cmyk_files_are_written_as_rgb_jpeg_files(raw, tmp_path, form, mode):
    classes = train_files()
    name, original = classes[WNIDS[0]][0]
    classes[WNIDS[0]][0] = (name, picture(1, form, mode))
    write_train(raw, classes)
    stored = contents(run(raw, tmp_path / "out"), "train")[1][1]
    assert jpeg.read_header(stored).num_components == 3
    difference = jpeg.decode(stored).astype(int) - jpeg.decode(original)
    assert np.abs(difference).max() < 6


def test_shards_are_bounded_and_hold_the_same_images(raw, tmp_path):
    whole = run(raw, tmp_path / "a")
    cut = run(raw, tmp_path / "b", shard_bytes=1500)
    assert len(whole.facts["shards"]["train"]) == 1
    assert len(cut.facts["shards"]["train"]) > 2
    for name in cut.manifest.files:
        assert cut.path(name).stat().st_size < 1500 + 1000
    for split in reader.SPLITS:
        assert contents(whole, split) == contents(cut, split)


def test_a_subset_is_spread_over_the_classes(raw, tmp_path):
    data = run(raw, tmp_path / "out", subset=3)
    assert data.is_partial
    assert data.counts == {"train": 3, "validation": 3, "test": 3}
    assert reader.read_split(data, "train").labels.tolist() == [0, 1, 2]


def test_the_space_estimate_covers_what_is_written(raw, tmp_path):
    run(raw, tmp_path / "out")
    written = sum(path.stat().st_size for path in (tmp_path / "out").iterdir())
    needed = prepare.space_needed(raw)
    assert written < needed < written + 11_000_000
    unpack(raw)
    assert written < prepare.space_needed(raw) < written + 11_000_000
    assert prepare.space_needed(None) > 145e9


def test_a_subset_needs_little_space_beside_the_unpacked_test_images(raw, monkeypatch):
    whole = prepare.space_needed(raw)
    assert prepare.space_needed(raw, 1_000) == whole
    monkeypatch.setattr(prepare, "_IMAGE_BYTES", 10)
    unpacked = (raw / archives.TEST).stat().st_size
    part = prepare.space_needed(raw, 2) - prepare._SPARE_BYTES
    assert part == (3 * 2 * 10 + unpacked) * 105 // 100


def test_a_killed_preparation_goes_on_with_the_next_shard(raw, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    close, closed = reader.ShardWriter.close, []

    def close_and_break(self):
        close(self)
        closed.append(self)
        if len(closed) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(reader.ShardWriter, "close", close_and_break)
    with pytest.raises(KeyboardInterrupt):
        run(raw, tmp_path / "out", shard_bytes=1500)
    finished = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").glob("*.shard")}

    monkeypatch.setattr(reader.ShardWriter, "close", close)
    resumed = run(raw, tmp_path / "out", shard_bytes=1500)
    for path, written in finished.items():
        assert path.stat().st_mtime_ns == written
    assert resumed.manifest == run(raw, tmp_path / "fresh", shard_bytes=1500).manifest
    # The worker may be through with more of them before it hears of the end.
    num_shards = len(list((tmp_path / "fresh").glob("*.shard")))
    assert 2 <= len(finished) < num_shards


def test_nothing_is_left_of_the_unpacked_test_images(raw, tmp_path):
    run(raw, tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    shards = {f"{split}-00000.shard" for split in reader.SPLITS}
    assert names == shards | {"manifest.json"}


def test_a_resumed_preparation_with_other_raw_files_is_refused(
    raw, tmp_path, monkeypatch
):
    with monkeypatch.context() as patched:
        patched.setattr(reader.ShardWriter, "close", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(raw, tmp_path / "out")
    classes = train_files()
    classes[WNIDS[0]][0] = (classes[WNIDS[0]][0][0], picture(1) + b"more")
    write_train(raw, classes)
    with pytest.raises(BadData, match=r"other input \(different: images\)"):
        run(raw, tmp_path / "out")


def test_a_full_disk_is_one_clear_error(raw, tmp_path, monkeypatch):
    def fail(self, content, label):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(reader.ShardWriter, "append", fail)
    assert_refused(raw, tmp_path, "No space left on the disk")


def assert_refused(raw, tmp_path, message, splits=SMALL):
    """One clear error, and nothing that could be taken for prepared data."""
    with pytest.raises(BadData, match=message):
        run(raw, tmp_path / "out", splits)
    assert not (tmp_path / "out" / "train-00000.shard").exists()
    with pytest.raises(BadData, match="not finished"):
        PreparedData.open(tmp_path / "out", dataset="imagenet")


def test_a_missing_file_is_named_with_where_to_get_it(raw, tmp_path):
    (raw / archives.TRAIN).unlink()
    assert_refused(raw, tmp_path, rf"(?s)no {archives.TRAIN} or train\..*image-net.org")


def test_a_renamed_file_is_suggested(raw, tmp_path):
    (raw / archives.TEST).rename(raw / "imagenetv2-matched-frequency.tgz")
    assert_refused(raw, tmp_path, "Did you mean 'imagenetv2-matched-frequency.tgz'")


def test_a_missing_folder_is_named(raw, tmp_path):
    assert_refused(raw / "nothing", tmp_path, "no folder .*nothing with raw files")


def test_labels_are_asked_for(raw, tmp_path):
    (raw / archives.SYNSETS).unlink()
    assert_refused(raw, tmp_path, f"no {archives.DEVKIT} or {archives.SYNSETS}")


@pytest.mark.parametrize("name", [archives.TRAIN, archives.VALIDATION])
def test_a_tar_file_that_is_cut_off_is_named(raw, tmp_path, name):
    content = (raw / name).read_bytes().rstrip(b"\0")
    (raw / name).write_bytes(content[:-300])
    assert_refused(raw, tmp_path, f"{name} is damaged or cut off")


@pytest.mark.parametrize("name", [archives.TRAIN, archives.VALIDATION])
@pytest.mark.parametrize("content", [b"", b"<html>moved</html>" * 100])
def test_what_is_no_tar_file_is_named(raw, tmp_path, name, content):
    (raw / name).write_bytes(content)
    assert_refused(raw, tmp_path, f"{name} is damaged or cut off")


@pytest.mark.parametrize("cut", [slice(0, -50), slice(0, 0)])
def test_a_packed_test_file_that_is_cut_off_is_named(raw, tmp_path, cut):
    path = raw / archives.TEST
    path.write_bytes(path.read_bytes()[cut])
    assert_refused(raw, tmp_path, f"{archives.TEST} is (damaged or )?cut off")


def test_a_class_without_training_images_is_an_error(raw, tmp_path):
    classes = train_files()
    del classes[WNIDS[1]]
    write_train(raw, classes)
    assert_refused(
        raw, tmp_path, f"Class {WNIDS[1]} has validation images but no training images"
    )


def test_an_empty_class_tar_is_an_error(raw, tmp_path):
    write_train(raw, {**train_files(), WNIDS[1]: []})
    assert_refused(raw, tmp_path, f"class {WNIDS[1]} has no images")


def test_an_empty_class_folder_is_an_error(raw, tmp_path):
    unpack(raw)
    for path in (raw / "train" / WNIDS[1]).iterdir():
        path.unlink()
    assert_refused(raw, tmp_path, f"{WNIDS[1]} has no images: every class must have")


def test_a_class_without_validation_images_is_an_error(raw, tmp_path):
    labels = [WNIDS[0]] * 3 + [WNIDS[1]] * 3
    (raw / archives.SYNSETS).write_text("\n".join(labels))
    assert_refused(raw, tmp_path, f"Class {WNIDS[2]} has training images but no valid")


def test_a_class_without_test_images_is_an_error(raw, tmp_path):
    write_test(raw, v2_files()[1:])
    assert_refused(raw, tmp_path, f"{archives.TEST} has no images of class 2")


def test_a_test_class_too_many_is_an_error(raw, tmp_path):
    extra = (f"{archives.TEST_FOLDER}/3/x.jpeg", picture(1))
    write_test(raw, [*v2_files(), extra])
    assert_refused(raw, tmp_path, "has images of an unknown class 3")


def test_images_under_the_name_of_another_class_are_an_error(raw, tmp_path):
    classes = train_files()
    first, second = WNIDS[:2]
    classes[first], classes[second] = classes[second], classes[first]
    write_train(raw, classes)
    assert_refused(raw, tmp_path, f"{first}_.*Was its class renamed")


def test_an_image_that_is_there_twice_is_an_error(raw, tmp_path):
    classes = train_files()
    classes[WNIDS[0]].append(classes[WNIDS[0]][0])
    write_train(raw, classes)
    assert_refused(raw, tmp_path, f"image {WNIDS[0]}_1.JPEG of class .* twice")


def test_a_foreign_file_in_a_tar_file_is_an_error(raw, tmp_path):
    inner = [(f"{w}.tar", tar(files)) for w, files in train_files().items()]
    (raw / archives.TRAIN).write_bytes(tar([*inner, ("notes.txt", b"x")]))
    assert_refused(raw, tmp_path, "holds notes.txt; only tar files of classes")


def test_a_foreign_folder_beside_the_classes_is_an_error(raw, tmp_path):
    unpack(raw)
    (raw / "train" / "old").mkdir()
    assert_refused(raw, tmp_path, "train/old is no folder of a class")


def test_a_missing_validation_image_is_named(raw, tmp_path):
    files = validation_files()
    del files[3]
    (raw / archives.VALIDATION).write_bytes(tar(files))
    assert_refused(raw, tmp_path, "has no image number 4, but .* has 6 labels")


def test_a_validation_image_without_a_label_is_named(raw, tmp_path):
    lines = (raw / archives.SYNSETS).read_text().split()
    (raw / archives.SYNSETS).write_text("\n".join(lines[:-1]))
    assert_refused(raw, tmp_path, "has image number 6, but .* has 5 labels")


def test_a_foreign_name_among_the_validation_images_is_shown(raw, tmp_path):
    files = [*validation_files(), ("readme.JPEG", picture(0))]
    (raw / archives.VALIDATION).write_bytes(tar(files))
    assert_refused(raw, tmp_path, "holds readme.JPEG; names such as ILSVRC2012_val")


def test_a_line_that_is_no_class_name_is_shown(raw, tmp_path):
    lines = (raw / archives.SYNSETS).read_text().split()
    lines[2] = "cat"
    (raw / archives.SYNSETS).write_text("\n".join(lines))
    assert_refused(raw, tmp_path, "line 3 is 'cat'; a class name")


def test_a_line_of_the_devkit_that_is_no_class_is_shown(raw, tmp_path):
    (raw / archives.SYNSETS).unlink()
    write_devkit(raw, ids=(3, 1, 9, 2, 1, 3))
    assert_refused(raw, tmp_path, "line 3 of the ground truth is '9'")


def test_a_devkit_without_its_files_is_named(raw, tmp_path):
    (raw / archives.SYNSETS).unlink()
    (raw / archives.DEVKIT).write_bytes(gzip.compress(tar([("readme", b"")])))
    assert_refused(raw, tmp_path, f"{archives.DEVKIT} has no file meta.mat")


def test_a_devkit_with_a_damaged_table_is_named(raw, tmp_path):
    pytest.importorskip("scipy")
    (raw / archives.SYNSETS).unlink()
    files = [("meta.mat", b"x" * 200), ("ILSVRC2012_validation_ground_truth.txt", b"1")]
    (raw / archives.DEVKIT).write_bytes(gzip.compress(tar(files)))
    assert_refused(raw, tmp_path, "its meta.mat is damaged")


@pytest.mark.parametrize("bad", [b"<html>", b"", picture(3)[:-100]])
def test_a_damaged_image_is_named_with_its_class(raw, tmp_path, bad):
    classes = train_files()
    classes[WNIDS[1]][0] = (f"{WNIDS[1]}_2.JPEG", bad)
    write_train(raw, classes)
    assert_refused(
        raw, tmp_path, f"image {WNIDS[1]}_2.JPEG of class {WNIDS[1]} is damaged"
    )


def test_too_few_images_for_the_splits_are_refused(raw, tmp_path):
    splits = Splits(train=1_281_167, eval_train=50_000, validation=50_000, test=10_000)
    assert_refused(raw, tmp_path, "has train 9, validation 6, test 3 images;", splits)


def test_a_prepared_shard_with_a_damaged_end_is_refused(raw, tmp_path):
    data = run(raw, tmp_path / "out")
    path = data.path("train-00000.shard")
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(BadData, match="does not end like a shard"):
        reader.read_split(data, "train")


def test_shards_that_do_not_hold_the_promised_images_are_refused(raw, tmp_path):
    with Preparation(tmp_path / "out", dataset="imagenet", format_version=1) as made:
        with made.part("train-00000.shard") as path:
            writer = reader.ShardWriter(path)
            writer.append(picture(1), 5)
            writer.close()
        facts = {"classes": list(WNIDS), "shards": {"train": ["train-00000.shard"]}}
        made.finish({"train": 1}, facts)
    data = PreparedData.open(tmp_path / "out", dataset="imagenet")
    with pytest.raises(BadData, match="do not hold the 1 images of 3 classes"):
        reader.read_split(data, "train")


def test_the_help_says_where_the_files_come_from_and_their_terms():
    assert "https://image-net.org" in prepare.RAW_HELP
    assert "research" in prepare.RAW_HELP
    assert not hasattr(prepare, "download")


def as_official(raw, monkeypatch, **changes):
    """The small tar files pass for the official ones; changes: other md5 sums."""
    names = {"train": archives.TRAIN, "validation": archives.VALIDATION}
    sums = {
        name: changes.get(split, hashlib.md5((raw / name).read_bytes()).hexdigest())
        for split, name in names.items()
    }
    counts = {"train": SMALL.train, "validation": SMALL.validation}
    monkeypatch.setattr(archives, "MD5", sums)
    monkeypatch.setattr(archives, "OFFICIAL_COUNTS", counts)


def test_tar_files_with_the_official_sums_are_prepared(raw, tmp_path, monkeypatch):
    as_official(raw, monkeypatch)
    assert run(raw, tmp_path / "out").counts["train"] == 9


@pytest.mark.parametrize("split", ["train", "validation"])
def test_the_md5_sums_that_are_printed_are_compared(raw, tmp_path, monkeypatch, split):
    assert archives.MD5[archives.TRAIN] in prepare.RAW_HELP
    assert archives.MD5[archives.VALIDATION] in prepare.RAW_HELP
    as_official(raw, monkeypatch, **{split: "0" * 32})
    name = archives.TRAIN if split == "train" else archives.VALIDATION
    message = f"{name} has the md5 checksum .*; {'0' * 32} is expected"
    assert_refused(raw, tmp_path, message)
    assert not list((tmp_path / "out").glob("*.shard"))


def test_sums_are_compared_once_and_not_for_partial_copies(raw, tmp_path, monkeypatch):
    run(raw, tmp_path / "out")
    (tmp_path / "out" / "test-00000.shard").unlink()
    as_official(raw, monkeypatch, train="0" * 32, validation="0" * 32)
    run(raw, tmp_path / "out")
    run(raw, tmp_path / "partial", subset=2)


def test_the_package_for_the_devkit_is_asked_for_before_any_work(
    raw, tmp_path, monkeypatch
):
    (raw / archives.SYNSETS).unlink()
    (raw / archives.DEVKIT).write_bytes(b"not looked into")
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    for work in (prepare.space_needed, lambda raw: run(raw, tmp_path / "out")):
        with pytest.raises(MissingDependency, match=r"scipy.*algoperf\[data\]"):
            work(raw)


def test_litter_in_tar_files_is_passed_over(raw, tmp_path):
    direct = run(raw, tmp_path / "direct").manifest.files
    litter = [(".DS_Store", b""), ("._x.JPEG", b"Mac OS X")]
    write_train(raw, {wnid: f + litter for wnid, f in train_files().items()})
    (raw / archives.VALIDATION).write_bytes(tar(validation_files() + litter))
    write_test(raw, [*v2_files(), (f"__MACOSX/{archives.TEST_FOLDER}/0/x", b"")])
    assert run(raw, tmp_path / "out").manifest.files == direct


def test_a_folder_among_the_images_of_a_class_is_refused(raw, tmp_path):
    unpack(raw)
    (raw / archives.TRAIN_FOLDER / WNIDS[0] / "more").mkdir()
    assert_refused(raw, tmp_path, "more is a folder; only images are expected")


def test_classes_that_are_links_are_followed(raw, tmp_path):
    direct = run(raw, tmp_path / "direct").manifest.files
    unpack(raw)
    folder = raw / archives.TRAIN_FOLDER / WNIDS[1]
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    assert run(raw, tmp_path / "out").manifest.files == direct


@pytest.mark.parametrize("text", ["\ufeff{0}", "{0}\n\n"])
def test_labels_from_editors_are_read(raw, tmp_path, text):
    direct = run(raw, tmp_path / "direct").manifest.files
    path = raw / archives.SYNSETS
    path.write_text(text.format(path.read_text().replace("\n", "\r\n")))
    assert run(raw, tmp_path / "out").manifest.files == direct


def stray_bytes(content):
    """The file with bytes before its first table, as some official ones have."""
    at = content.index(b"\xff\xdb")
    return content[:at] + b"\x00\x15" + content[at:]


def test_an_image_with_stray_bytes_in_its_header_is_kept(raw, tmp_path):
    files = train_files()
    name, content = files[WNIDS[0]][0]
    files[WNIDS[0]][0] = (name, stray_bytes(content))
    write_train(raw, files)
    data = run(raw, tmp_path / "out")
    assert stray_bytes(content) in [image for _, image in contents(data, "train")]


@pytest.mark.parametrize("mode", ["CMYK", "L"])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "BMP", "GIF"])
def test_images_of_any_kind_can_be_decoded(raw, tmp_path, form, mode):
    if mode == "CMYK" and form != "JPEG":
        mode = "P" if form != "BMP" else "RGB"
    files = train_files()
    name, _ = files[WNIDS[0]][0]
    files[WNIDS[0]][0] = (name, picture(7, form, mode))
    write_train(raw, files)
    data = run(raw, tmp_path / "out")
    for _, image in contents(data, "train"):
        assert jpeg.decode(image).shape == (12, 16, 3)


@pytest.mark.parametrize("seed", range(5))
def test_any_damage_of_an_image_is_bad_data_or_decodes(raw, tmp_path, seed):
    rng = np.random.default_rng(seed)
    files = train_files()
    name, content = files[WNIDS[0]][0]
    broken = bytearray(content)
    for at in rng.integers(0, len(content), 5):
        broken[at] = rng.integers(256)
    files[WNIDS[0]][0] = (name, bytes(broken))
    write_train(raw, files)
    try:
        run(raw, tmp_path / "out")
    except BadData as error:
        assert name in str(error)
