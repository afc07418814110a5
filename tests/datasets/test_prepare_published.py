"""Preparing from the published benchmark's data folder: found, checked, converted."""

import dataclasses
import hashlib
import io
import shutil
import tarfile

import numpy as np
import pytest
from criteo1tb_lines import line

from algoperf import cli, registry
from algoperf.datasets.criteo1tb import prepare as criteo1tb
from algoperf.datasets.criteo1tb import reader as criteo1tb_reader
from algoperf.datasets.librispeech import published, reader
from algoperf.datasets.librispeech.tokenizer import Tokenizer
from algoperf.definition import Splits
from algoperf.errors import BadData
from algoperf.prepared import Preparation, PreparedData

# criteo1tb: days cut into pieces.

CLICKS = Splits(train=115, eval_train=10, validation=5, test=8)
ROWS_PER_PIECE = 3


def day_lines(day):
    count = 13 if day == 23 else 5
    return [line("1", [str(1000 * day + row)], []) for row in range(count)]


@pytest.fixture
def days(tmp_path):
    """The official days in `raw`, and the same lines cut into pieces in `criteo1tb`."""
    (tmp_path / "raw").mkdir()
    (tmp_path / "criteo1tb").mkdir()
    for day in range(24):
        lines = day_lines(day)
        (tmp_path / "raw" / f"day_{day}").write_text("".join(lines))
        pieces = (
            lines[i : i + ROWS_PER_PIECE] for i in range(0, len(lines), ROWS_PER_PIECE)
        )
        for number, piece in enumerate(pieces):
            path = tmp_path / "criteo1tb" / f"day_{day}_{number:02d}"
            path.write_text("".join(piece))
    return tmp_path


def prepare_clicks(raw, folder, subset=None):
    with Preparation(
        folder,
        dataset="criteo1tb",
        format_version=criteo1tb_reader.FORMAT_VERSION,
        subset=subset,
    ) as preparation:
        preparation.check_space(criteo1tb.space_needed(raw, subset))
        criteo1tb.prepare(
            raw, preparation, splits=CLICKS, subset=subset, rows_per_file=4
        )
    return PreparedData.open(
        folder, dataset="criteo1tb", allow_partial=True, verify=True
    )


@pytest.mark.parametrize("subset", [None, 4])
def test_pieces_of_days_give_the_files_that_the_days_give(days, subset):
    raw = prepare_clicks(days / "raw", days / "a", subset)
    pieces = prepare_clicks(days / "criteo1tb", days / "b", subset)
    assert pieces.manifest.files == raw.manifest.files
    assert pieces.counts == raw.counts


def test_a_missing_piece_is_named(days):
    (days / "criteo1tb" / "day_7_00").unlink()
    with pytest.raises(
        BadData, match="has day_7_01 but no day_7_00: it was not copied"
    ):
        prepare_clicks(days / "criteo1tb", days / "out")


def test_a_missing_last_piece_is_found_by_the_counts(days):
    (days / "criteo1tb" / "day_7_01").unlink()
    with pytest.raises(
        BadData, match="train 113, validation 5, test 8 rows; train 115"
    ):
        prepare_clicks(days / "criteo1tb", days / "out")


def test_a_bad_row_is_named_with_its_piece_and_its_place_there(days):
    path = days / "criteo1tb" / "day_7_01"
    rows = path.read_text().splitlines(keepends=True)
    path.write_text(rows[0] + "2" + rows[1][1:])
    with pytest.raises(BadData, match=r"day_7_01, row 2\b"):
        prepare_clicks(days / "criteo1tb", days / "out")


def test_a_piece_that_is_cut_off_is_named(days):
    path = days / "criteo1tb" / "day_7_00"
    path.write_text(path.read_text()[:-5])
    with pytest.raises(BadData, match=r"day_7_00 is cut off: row 3 has no line end"):
        prepare_clicks(days / "criteo1tb", days / "out")


# librispeech: arrays of samples and tokens.


@pytest.fixture(scope="module")
def made():
    pytest.importorskip("soundfile")
    pytest.importorskip("sentencepiece")
    import librispeech_raw

    return librispeech_raw


@pytest.fixture
def speech(made, tmp_path):
    """Official archives, prepared; and the same utterances in the published form."""
    sets = {name: made.members_of(name, kept) for name, kept in made.KEPT.items()}
    data = made.run(made.write_raw(tmp_path / "raw", sets), tmp_path / "official")
    folder = tmp_path / "librispeech"
    for split in reader.SPLITS:
        utterances = reader.read_split(data, split)
        names = [name for name in reader.SETS[split] for _ in range(made.KEPT[name])]
        ids = (tmp_path / "official" / reader.ids_name(split)).read_text().split()
        for number, (name, utterance) in enumerate(zip(names, ids, strict=True)):
            (folder / name).mkdir(parents=True, exist_ok=True)
            audio = utterances.samples(number).astype(np.int64)
            tokens = utterances.token_ids(number).astype(np.int32)
            np.save(folder / name / f"{utterance}_audio.npy", audio)
            np.save(folder / name / f"{utterance}_targets.npy", tokens)
            with (folder / f"{name}.csv").open("a") as file:
                if not file.tell():
                    file.write(",id\n")
                file.write(f"{number},{utterance}\n")
    model = (tmp_path / "official" / reader.TOKENIZER).read_bytes()
    (folder / published.TOKENIZER).write_bytes(model)
    return folder


def assert_same_speech(found, expected):
    for split in reader.SPLITS:
        a, b = (reader.read_split(data, split) for data in (found, expected))
        assert len(a) == len(b)
        for number in range(len(a)):
            np.testing.assert_array_equal(a.samples(number), b.samples(number))
            np.testing.assert_array_equal(a.token_ids(number), b.token_ids(number))
        for name in (reader.ids_name(split), reader.tokens_name(split)):
            assert (found.folder / name).read_bytes() == (
                expected.folder / name
            ).read_bytes()


def test_published_arrays_give_the_samples_tokens_and_order_of_the_archives(
    made, speech, tmp_path
):
    found = made.run(speech, tmp_path / "out")
    official = PreparedData.open(tmp_path / "official", dataset="librispeech")
    assert_same_speech(found, official)
    model = (speech / published.TOKENIZER).read_bytes()
    assert found.facts["tokenizer"] == hashlib.sha256(model).hexdigest()
    assert (found.folder / reader.TOKENIZER).read_bytes() == model


def test_the_published_tokenizer_beside_the_archives_is_used(made, speech, tmp_path):
    text = [made.text_of(number) for number in range(40)]
    from algoperf.datasets.librispeech.tokenizer import train

    model = train(text)
    (tmp_path / "raw" / published.TOKENIZER).write_bytes(model)
    found = made.run(tmp_path / "raw", tmp_path / "out")
    assert (found.folder / reader.TOKENIZER).read_bytes() == model
    ids = reader.read_split(found, "test").token_ids(0).tolist()
    assert Tokenizer(model).encode(Tokenizer(model).decode([ids])) == [ids]


def npy(array):
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        ("audio", npy(np.zeros(9)), "does not hold samples of 16 bits"),
        ("audio", npy(np.array([40_000])), "does not hold samples of 16 bits"),
        ("audio", npy(np.zeros((2, 2), int)), "does not hold samples of 16 bits"),
        ("audio", b"", "is damaged"),
        ("audio", npy(np.arange(9))[:-5], "is damaged"),
        ("targets", npy(np.array([5, 6])), "does not hold tokens"),
        ("targets", npy(np.array([5000, 2])), "does not hold tokens"),
        ("targets", npy(np.array([0, 0, 2])), "does not make of their text"),
    ],
)
def test_a_bad_array_is_named(made, speech, tmp_path, kind, content, message):
    path = next(iter(sorted((speech / "dev-clean").glob(f"*_{kind}.npy"))))
    path.write_bytes(content)
    with pytest.raises(BadData, match=message) as raised:
        made.run(speech, tmp_path / "out")
    assert str(path) in str(raised.value)


def test_what_is_missing_is_named(made, speech, tmp_path):
    audio = next(iter(sorted((speech / "dev-clean").glob("*_audio.npy"))))
    targets = audio.with_name(audio.name.replace("audio", "targets"))
    for path, message in (
        (targets, f"There is no file {targets}"),
        (audio, f"has no {audio.name}, which dev-clean.csv lists"),
        (speech / published.TOKENIZER, "but no spm_model.vocab"),
        (speech / "test-clean", r"neither test-clean\.tar\.gz nor"),
    ):
        moved = path.rename(tmp_path / "moved")
        with pytest.raises(BadData, match=message):
            made.run(speech, tmp_path / "out")
        moved.rename(path)
        shutil.rmtree(tmp_path / "out", ignore_errors=True)


def test_a_file_that_is_no_tokenizer_is_named(made, speech, tmp_path):
    (speech / published.TOKENIZER).write_bytes(b"moved")
    with pytest.raises(BadData, match=r"spm_model\.vocab is no SentencePiece model"):
        made.run(speech, tmp_path / "out")


# imagenet: folders of classes for PyTorch, ImageNet-v2 from tensorflow-datasets.


def test_the_folders_for_pytorch_give_the_files_that_the_tar_files_give(
    tfds_folders, tmp_path
):
    pytest.importorskip("google_crc32c")
    raw = tfds_folders / "raw" / "imagenet"
    folder = tmp_path / "imagenet" / "pytorch"
    with tarfile.open(raw / "ILSVRC2012_img_train.tar") as outer:
        for member in outer:
            with tarfile.open(fileobj=outer.extractfile(member)) as inner:
                name = member.name.removesuffix(".tar")
                inner.extractall(folder / "train" / name, filter="data")
    labels = (raw / "imagenet_2012_validation_synset_labels.txt").read_text().split()
    with tarfile.open(raw / "ILSVRC2012_img_val.tar") as tar:
        for member, name in zip(tar, labels, strict=True):
            tar.extract(member, folder / "val" / name, filter="data")
    v2 = tfds_folders / "tfrecord" / "imagenet_v2"
    splits = Splits(train=9, eval_train=4, validation=4, test=6)

    def run(source, out):
        module = registry.dataset_module("imagenet", "prepare")
        with Preparation(out, dataset="imagenet", format_version=1) as preparation:
            module.prepare(source, preparation, splits=splits)
        return PreparedData.open(out, dataset="imagenet").manifest.files

    expected = run(raw, tmp_path / "a")
    for number, place in enumerate((folder, folder.parent / "jax")):
        shutil.copytree(v2, place / "imagenet_v2")
        assert run(folder, tmp_path / f"b{number}") == expected
        shutil.rmtree(place / "imagenet_v2")


# The command.


@pytest.fixture
def prepare(capsys):
    def run_command(*arguments):
        status = cli.main(["prepare", *map(str, arguments)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run_command


@pytest.fixture
def small_clicks(monkeypatch):
    definitions = dict(registry.definitions())
    mini = dataclasses.replace(definitions["criteo1tb_mini"], splits=CLICKS)
    definitions["criteo1tb_mini"] = mini
    monkeypatch.setattr(registry, "definitions", lambda: definitions)


@pytest.mark.parametrize("place", [".", "criteo1tb"])
def test_the_command_finds_the_data_set_in_the_published_folder(
    prepare, days, small_clicks, place
):
    source = f"published:{days / place}"
    arguments = ("criteo1tb_mini", "--from", source, "--data-dir", days / "out")
    status, out, err = prepare(*arguments)
    assert status == 0, err
    assert "train 115, validation 5, test 8" in out


def test_the_published_folder_is_looked_for_in_the_home_directory(
    prepare, days, small_clicks, monkeypatch
):
    monkeypatch.setenv("HOME", str(days / "home"))
    (days / "home" / "data").mkdir(parents=True)
    arguments = ("criteo1tb_mini", "--from", "published", "--data-dir", days / "out")
    status, _, err = prepare(*arguments)
    assert status == 2
    assert f"there is no folder {days / 'home' / 'data' / 'criteo1tb'}" in err
    (days / "criteo1tb").rename(days / "home" / "data" / "criteo1tb")
    assert prepare(*arguments)[0] == 0
