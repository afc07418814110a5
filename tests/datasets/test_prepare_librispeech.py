"""Preparing LibriSpeech: the shipped speech, the official layout, bad raw files."""

import dataclasses
import hashlib
import io
import itertools
import os
import tarfile

import numpy as np
import pytest

pytest.importorskip("soundfile")
pytest.importorskip("sentencepiece")

import librispeech_raw as made
from librispeech_raw import SPLITS, run

from algoperf import downloads, registry
from algoperf.datasets.librispeech import clips, packing, prepare, raw, reader
from algoperf.datasets.librispeech.tokenizer import END, Tokenizer, train
from algoperf.errors import BadData
from algoperf.prepared import Preparation, PreparedData

MINI = registry.definition("librispeech_conformer_mini").splits
DEV = "LibriSpeech/dev-clean/9/20"


@pytest.fixture(scope="module")
def sets():
    return {name: made.members_of(name, kept) for name, kept in made.KEPT.items()}


@pytest.fixture
def raw_folder(sets, tmp_path):
    return made.write_raw(tmp_path / "raw", sets)


def changed(raw_folder, sets, to, name="dev-clean"):
    """Writes a set anew with members replaced or added; None removes one."""
    files = {**sets[name], **to}
    files = {key: content for key, content in files.items() if content is not None}
    clips.write_archive(raw_folder / f"{name}.tar.gz", files)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """The shipped speech, prepared."""
    folder = tmp_path_factory.mktemp("shipped")
    prepare.expand_embedded(folder / "raw")
    return run(folder / "raw", folder / "out", MINI)


def test_the_shipped_speech_is_prepared_by_the_same_code(shipped):
    assert shipped.counts == {"train": 1200, "validation": 160, "test": 160}
    config = registry.definition("librispeech_conformer_mini").data
    for split in reader.SPLITS:
        index = reader.read_split(shipped, split).index
        assert index["num_samples"].min() > 0
        assert index["num_samples"].max() <= config.max_samples
        assert index["num_tokens"].max() <= config.max_tokens
    assert shipped.facts["vocabulary_size"] == config.vocab_size


def texts(data, split):
    tokenizer = Tokenizer.open(data.path(reader.TOKENIZER))
    utterances = reader.read_split(data, split)
    return tokenizer.decode(
        [utterances.token_ids(i).tolist() for i in range(len(utterances))]
    )


def test_what_validation_and_test_say_is_never_said_in_training(shipped):
    said = {split: set(texts(shipped, split)) for split in reader.SPLITS}
    assert not said["train"] & said["validation"]
    assert not said["train"] & said["test"]
    assert not said["validation"] & said["test"]
    words = {split: set(" ".join(said[split]).split()) for split in reader.SPLITS}
    assert words["validation"] == words["test"] < words["train"]


def test_shipped_transcripts_have_no_unknown_character(shipped):
    # Its token is the blank of CTC.
    for split in reader.SPLITS:
        assert reader.read_split(shipped, split).tokens.min() > 0


def test_no_shipped_recording_is_in_the_data_twice(shipped):
    digests = [
        hashlib.sha256(utterances.samples(i).tobytes()).digest()
        for utterances in (reader.read_split(shipped, s) for s in reader.SPLITS)
        for i in range(len(utterances))
    ]
    assert len(set(digests)) == len(digests) == 1520


def test_shipped_utterances_have_speech_that_is_neither_silent_nor_clipped(shipped):
    utterances = reader.read_split(shipped, "validation")
    for i in range(len(utterances)):
        samples = utterances.samples(i).astype(np.float64)
        assert 500 < samples.std() < 12_000
        assert (np.abs(samples) == 2**15 - 1).mean() < 0.01


def test_samples_are_those_of_the_flac_files(raw_folder, tmp_path):
    data = run(raw_folder, tmp_path / "out")
    utterances = reader.read_split(data, "test")
    first = made.first_number("test-clean")
    number = {name: int(name[-4:]) for name in reader.read_ids(data, "test")}
    for i, name in enumerate(reader.read_ids(data, "test")):
        expected = made.samples_of(first + number[name])
        np.testing.assert_array_equal(utterances.samples(i), expected)
        assert utterances.samples(i).dtype == np.int16


def test_an_unpacked_folder_gives_the_same_utterances(raw_folder, sets, tmp_path):
    folder = made.unpacked(tmp_path / "unpacked", sets)
    packed = run(raw_folder, tmp_path / "a")
    unpacked = run(folder, tmp_path / "b")
    for split in reader.SPLITS:
        assert reader.read_ids(packed, split) == reader.read_ids(unpacked, split)
        assert texts(packed, split) == texts(unpacked, split)
        one, other = (reader.read_split(data, split) for data in (packed, unpacked))
        for i in range(len(one)):
            np.testing.assert_array_equal(one.samples(i), other.samples(i))


def test_splits_follow_the_published_order_of_sets_each_sorted(raw_folder, tmp_path):
    data = run(raw_folder, tmp_path / "out")
    ids = reader.read_ids(data, "train")
    sizes = [made.KEPT[name] for name in reader.SETS["train"]]
    starts = np.cumsum([0, *sizes])
    for start, stop in itertools.pairwise(starts):
        assert ids[start:stop] == sorted(ids[start:stop])
    assert ids != sorted(ids)


def test_long_audio_and_long_transcripts_are_dropped_in_all_splits(
    raw_folder, tmp_path
):
    data = run(raw_folder, tmp_path / "out")
    kept = sum(made.KEPT.values())
    assert sum(data.counts.values()) == kept
    for split in reader.SPLITS:
        assert reader.read_split(data, split).index["num_samples"].max() < 320_000
        assert all(len(text) <= 256 for text in texts(data, split))


@pytest.mark.parametrize(
    ("samples", "characters", "is_kept"),
    [
        (320_000, 256, True),
        (320_001, 256, False),
        (320_000, 257, False),
    ],
)
def test_the_limits_are_20_seconds_and_256_characters(samples, characters, is_kept):
    content = clips.flac(np.zeros(samples, np.int16))
    chapter = raw.Chapter(
        {"1-1-0": "A" * characters}, {"1-1-0": content}, {"1-1-0": ""}
    )
    (row,) = packing._decode_chapter(chapter)
    assert (row[3] is not None) == is_kept


def test_tokens_end_with_the_end_mark_and_give_the_text_back(raw_folder, tmp_path):
    data = run(raw_folder, tmp_path / "out")
    utterances = reader.read_split(data, "validation")
    for i in range(len(utterances)):
        tokens = utterances.token_ids(i).tolist()
        assert tokens[-1] == END and 1 not in tokens and 0 not in tokens
    number = {name: int(name[-4:]) for name in reader.read_ids(data, "validation")[:3]}
    first = made.first_number("dev-clean")
    expected = [made.text_of(first + n) for n in number.values()]
    assert texts(data, "validation")[:3] == expected


def test_the_tokenizer_sees_all_transcripts_of_train_clean_100_sorted(
    raw_folder, sets, tmp_path
):
    data = run(raw_folder, tmp_path / "out")
    lines = [
        line
        for name, content in sets["train-clean-100"].items()
        if name.endswith(".txt")
        for line in content.decode().splitlines()
    ]
    expected = train([line.partition(" ")[2] for line in sorted(lines)])
    assert data.path(reader.TOKENIZER).read_bytes() == expected


def test_special_tokens_have_the_published_numbers(raw_folder, tmp_path):
    model = run(raw_folder, tmp_path / "out").path(reader.TOKENIZER)
    processor = Tokenizer.open(model)._processor
    pieces = [processor.id_to_piece(i) for i in range(3)]
    assert pieces == ["<unk>", "<s>", "</s>"]


def test_eval_train_reads_the_training_utterances(raw_folder, tmp_path):
    data = run(raw_folder, tmp_path / "out")
    assert len(reader.read_split(data, "eval_train")) == SPLITS.train


def test_a_subset_has_the_full_data_s_tokenizer_and_needs_three_archives(
    raw_folder, tmp_path
):
    full = run(raw_folder, tmp_path / "full")
    for name in ("train-clean-360", "train-other-500", "dev-other"):
        (raw_folder / f"{name}.tar.gz").unlink()
    data = run(raw_folder, tmp_path / "out", subset=2)
    assert data.is_partial
    assert data.counts == {"train": 2, "validation": 2, "test": 2}
    model = full.path(reader.TOKENIZER).read_bytes()
    assert data.path(reader.TOKENIZER).read_bytes() == model
    assert set(reader.read_ids(data, "train")) < set(reader.read_ids(full, "train"))


def test_a_subset_goes_on_with_the_next_archive_until_it_has_enough(
    raw_folder, tmp_path
):
    data = run(raw_folder, tmp_path / "out", subset=5)
    assert data.counts == {"train": 5, "validation": 5, "test": 5}


def test_the_space_estimate_covers_what_is_written(tmp_path, shipped):
    written = sum(p.stat().st_size for p in shipped.folder.iterdir())
    raw_shipped = shipped.folder.parent / "raw"
    assert written <= prepare.space_needed(raw_shipped) <= 2 * written
    assert prepare.space_needed(None) > 977 * 3600 * 32_000


def test_a_killed_preparation_goes_on_with_the_next_file(
    raw_folder, tmp_path, monkeypatch
):
    decode, decoded = packing._decode_chapter, []

    def decode_and_break(chapter):
        decoded.append(chapter)
        if len(decoded) == 8:
            raise KeyboardInterrupt
        return decode(chapter)

    small_files = {"file_bytes": 10_000}
    monkeypatch.setattr(packing, "_decode_chapter", decode_and_break)
    with pytest.raises(KeyboardInterrupt):
        run(raw_folder, tmp_path / "out", **small_files)
    finished = {
        path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.pcm")
    }
    assert finished

    monkeypatch.setattr(packing, "_decode_chapter", decode)
    resumed = run(raw_folder, tmp_path / "out", **small_files)
    for name, written in finished.items():
        assert resumed.path(name).stat().st_mtime_ns == written
    fresh = run(raw_folder, tmp_path / "fresh", **small_files)
    assert resumed.manifest == fresh.manifest


def test_finished_files_are_not_decoded_again(raw_folder, tmp_path, monkeypatch):
    data = run(raw_folder, tmp_path / "out")
    os.truncate(data.path(reader.tokens_name("test")), 10)
    monkeypatch.setattr(packing, "_decode_chapter", None)
    again = run(raw_folder, tmp_path / "out")
    assert again.manifest == data.manifest


def test_a_damaged_file_in_the_middle_is_packed_anew(raw_folder, tmp_path):
    data = run(raw_folder, tmp_path / "out", file_bytes=10_000)
    data.path("train-clean-100-0001.pcm").unlink()
    again = run(raw_folder, tmp_path / "out", file_bytes=10_000)
    assert again.manifest == data.manifest


def test_audio_is_packed_into_files_of_limited_size(raw_folder, tmp_path):
    data = run(raw_folder, tmp_path / "out", file_bytes=10_000)
    names = [n for n in data.manifest.files if n.startswith("train-clean-100-")]
    assert sum(name.endswith(".pcm") for name in names) > 1


def test_preparing_twice_gives_the_same_bytes(raw_folder, tmp_path):
    one, other = (run(raw_folder, tmp_path / name).manifest for name in ("a", "b"))
    assert one.files == other.files


def test_a_resumed_preparation_with_other_raw_files_is_refused(
    raw_folder, sets, tmp_path
):
    changed(raw_folder, sets, to={f"{DEV}/9-20.trans.txt": 20_000 * b"x"})
    with pytest.raises(BadData, match=r"9-20\.trans\.txt, row 1"):
        run(raw_folder, tmp_path / "out")
    clips.write_archive(raw_folder / "dev-clean.tar.gz", sets["dev-clean"])
    with pytest.raises(BadData, match=r"other input \(different: raw_bytes\)"):
        run(raw_folder, tmp_path / "out")


def assert_refused(raw_folder, tmp_path, message):
    """One clear error, and nothing that could be taken for prepared data."""
    with pytest.raises(BadData, match=message):
        run(raw_folder, tmp_path / "out")
    with pytest.raises(BadData, match=r"not finished|not prepared|no folder"):
        PreparedData.open(tmp_path / "out", dataset="librispeech")


def test_a_missing_archive_is_named_with_where_to_get_it(raw_folder, tmp_path):
    (raw_folder / "dev-other.tar.gz").unlink()
    message = r"(?s)neither dev-other\.tar\.gz nor a folder .*openslr\.org"
    assert_refused(raw_folder, tmp_path, message)


def test_a_renamed_archive_is_suggested(raw_folder, tmp_path):
    (raw_folder / "dev-other.tar.gz").rename(raw_folder / "dev_other.tar.gz")
    assert_refused(raw_folder, tmp_path, "Did you mean 'dev_other.tar.gz'")


def test_a_missing_folder_is_named(raw_folder, tmp_path):
    message = "no folder .*nothing with raw files"
    assert_refused(raw_folder / "nothing", tmp_path, message)


def test_an_archive_of_another_set_is_recognised(raw_folder, tmp_path):
    content = (raw_folder / "dev-clean.tar.gz").read_bytes()
    (raw_folder / "dev-other.tar.gz").write_bytes(content)
    message = "dev-other.tar.gz holds dev-clean, not dev-other .*renamed"
    assert_refused(raw_folder, tmp_path, message)


@pytest.mark.parametrize("cut", [0, 100, 5_000, -300, -4])
def test_a_truncated_archive_is_named(raw_folder, tmp_path, cut):
    path = raw_folder / "train-clean-100.tar.gz"
    path.write_bytes(path.read_bytes()[:cut])
    assert_refused(raw_folder, tmp_path, "train-clean-100.tar.gz is cut off or damaged")


@pytest.mark.parametrize("place", [3, 600, 30_000, -7])
def test_a_corrupt_archive_is_noticed(raw_folder, tmp_path, place):
    path = raw_folder / "train-clean-100.tar.gz"
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.write_bytes(content)
    if place == 3:  # gzip's flags
        assert_refused(raw_folder, tmp_path, "train-clean-100")
        return
    assert_refused(raw_folder, tmp_path, r"train-clean-100\.tar\.gz.* damaged")


def test_a_file_that_is_no_archive_is_named(raw_folder, tmp_path):
    (raw_folder / "test-clean.tar.gz").write_text("<html>moved</html>")
    assert_refused(raw_folder, tmp_path, r"test-clean\.tar\.gz is cut off or damaged")


def test_a_truncated_recording_is_named(raw_folder, sets, tmp_path):
    name = f"{DEV}/9-20-0000.flac"
    changed(raw_folder, sets, to={name: sets["dev-clean"][name][:-200]})
    assert_refused(raw_folder, tmp_path, r"dev-clean.tar.gz: .*9-20-0000.flac is dam")


def test_a_corrupt_recording_is_named(raw_folder, sets, tmp_path):
    name = f"{DEV}/9-20-0000.flac"
    changed(raw_folder, sets, to={name: b"junk" + sets["dev-clean"][name][4:]})
    assert_refused(raw_folder, tmp_path, r"9-20-0000.flac is damaged")


def test_audio_of_another_rate_is_refused(raw_folder, sets, tmp_path):
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, np.zeros((500, 2), np.int16), 44_100, format="FLAC")
    changed(raw_folder, sets, to={f"{DEV}/9-20-0000.flac": file.getvalue()})
    assert_refused(raw_folder, tmp_path, "has 2 channels at 44100 Hz")


def test_a_missing_transcript_file_is_named(raw_folder, sets, tmp_path):
    changed(raw_folder, sets, to={f"{DEV}/9-20.trans.txt": None})
    assert_refused(raw_folder, tmp_path, r"dev-clean/9/20 has no 9-20\.trans\.txt")


def test_a_missing_recording_is_named(raw_folder, sets, tmp_path):
    changed(raw_folder, sets, to={f"{DEV}/9-20-0003.flac": None})
    message = r"9-20\.trans\.txt names 9-20-0003, but there is no 9-20-0003\.flac"
    assert_refused(raw_folder, tmp_path, message)


def test_a_recording_without_a_transcript_is_named(raw_folder, sets, tmp_path):
    rows = sets["dev-clean"][f"{DEV}/9-20.trans.txt"].splitlines()
    changed(raw_folder, sets, to={f"{DEV}/9-20.trans.txt": rows[0]})
    assert_refused(raw_folder, tmp_path, r"9-20-0003\.flac has no line in 9-20\.trans")


def test_a_recording_that_follows_its_complete_chapter_is_named(
    raw_folder, sets, tmp_path
):
    extra = clips.flac(np.zeros(600, np.int16))
    changed(raw_folder, sets, to={f"{DEV}/9-20-0099.flac": extra})
    assert_refused(raw_folder, tmp_path, r"9-20-0099\.flac is one file too many")


def test_an_extra_file_in_a_chapter_is_named(raw_folder, sets, tmp_path):
    files = {f"{DEV}/9-3-0000.flac": b"", **sets["dev-clean"]}
    clips.write_archive(raw_folder / "dev-clean.tar.gz", files)
    assert_refused(raw_folder, tmp_path, r"9-3-0000\.flac is no file of chapter 9-20")


def test_a_recording_outside_of_chapters_is_named(raw_folder, sets, tmp_path):
    changed(raw_folder, sets, to={"LibriSpeech/dev-clean/x.flac": b""})
    assert_refused(raw_folder, tmp_path, r"x\.flac is not in a folder <speaker>/<cha")


def test_notes_beside_the_chapters_are_passed_over(raw_folder, sets, tmp_path):
    changed(raw_folder, sets, to={"LibriSpeech/README.TXT": b"notes"})
    assert run(raw_folder, tmp_path / "out").counts["validation"] == 6


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("9-20-0000 A\n9-20-0003", r"row 2 is '9-20-0003'; expected is .* its words"),
        ("9-20-0000 A\n9-3-0003 B", r"row 2 is '9-3-0003 B'"),
        ("9-20-0000 A\n9-20-0000 B", "row 2 names 9-20-0000 again"),
    ],
)
def test_a_bad_row_of_a_transcript_is_named(raw_folder, sets, tmp_path, rows, message):
    changed(raw_folder, sets, to={f"{DEV}/9-20.trans.txt": rows.encode()})
    assert_refused(raw_folder, tmp_path, rf"9-20\.trans\.txt, {message}")


def test_a_transcript_that_is_no_text_is_named(raw_folder, sets, tmp_path):
    changed(raw_folder, sets, to={f"{DEV}/9-20.trans.txt": b"\xff\xfe"})
    assert_refused(raw_folder, tmp_path, r"9-20\.trans\.txt is no text file")


def test_transcripts_may_come_before_or_long_after_their_recordings(
    raw_folder, sets, tmp_path
):
    expected = run(raw_folder, tmp_path / "a")
    files = dict(sorted(sets["dev-clean"].items(), reverse=True))
    clips.write_archive(raw_folder / "dev-clean.tar.gz", files)
    found = run(raw_folder, tmp_path / "b")
    assert texts(found, "validation") == texts(expected, "validation")


def test_a_wrong_number_of_utterances_is_refused(raw_folder, tmp_path):
    splits = dataclasses.replace(SPLITS, validation=7)
    with pytest.raises(BadData, match=r"validation 6, .*validation 7, .*dev-clean 5"):
        run(raw_folder, tmp_path / "out", splits)


def test_the_shipped_speech_is_not_taken_for_the_full_data_set(shipped, tmp_path):
    full = registry.definition("librispeech_conformer").splits
    with pytest.raises(BadData, match=r"train 1,200, .* train 263,840, "):
        run(shipped.folder.parent / "raw", tmp_path / "out", full)


def test_the_published_counts_are_the_definitions_splits():
    splits = registry.definition("librispeech_conformer").splits
    assert (splits.train, splits.validation, splits.test) == (263_840, 5_348, 2_472)
    other = registry.definition("librispeech_deepspeech").splits
    assert (other.train, other.validation, other.test) == (263_840, 5_348, 2_472)


def test_too_little_text_for_a_tokenizer_is_a_clear_error():
    with pytest.raises(BadData, match="No tokenizer can be trained on the 1 "):
        train(["A"])


def test_a_full_disk_is_a_clear_error(raw_folder, tmp_path, monkeypatch):
    def fail(self, name):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", fail)
    assert_refused(raw_folder, tmp_path, "No space left on the disk")


def test_a_download_checks_what_it_fetched(tmp_path, monkeypatch):
    fetched = []
    monkeypatch.setattr(
        downloads, "fetch", lambda url, path, **how: fetched.append((url, path, how))
    )
    prepare.download(tmp_path)
    assert {path.name.removesuffix(".tar.gz") for _, path, _ in fetched} == set(
        raw.ALL_SETS
    )
    assert all(len(how["md5"]) == 32 for _, _, how in fetched)
    assert all(url.startswith("https://www.openslr.org/") for url, _, _ in fetched)


def test_an_archive_is_streamed_once_and_in_order(raw_folder, sets, monkeypatch):
    opened = []
    original = tarfile.open
    monkeypatch.setattr(
        tarfile, "open", lambda *a, **k: opened.append(k["mode"]) or original(*a, **k)
    )
    found = list(raw.chapters(raw_folder / "dev-clean.tar.gz", "dev-clean"))
    assert opened == ["r|"]
    assert sum(len(chapter.texts) for chapter in found) == 5


def test_prepared_files_that_do_not_hold_the_promised_utterances_are_refused(
    raw_folder, tmp_path
):
    with Preparation(tmp_path / "o", dataset="librispeech", format_version=1) as other:
        for split in reader.SPLITS:
            with other.part(reader.index_name(split)) as path, path.open("wb") as file:
                np.save(file, np.zeros(1, reader.INDEX_DTYPE))
            with other.part(reader.tokens_name(split)) as path, path.open("wb") as file:
                np.save(file, np.zeros(1, reader.TOKEN_DTYPE))
        other.finish({"train": 2, "validation": 1, "test": 1}, {"audio_files": []})
    data = PreparedData.open(tmp_path / "o", dataset="librispeech")
    with pytest.raises(BadData, match="do not hold the 2 utterances"):
        reader.read_split(data, "train")


FLAC = f"{DEV}/9-20-0000.flac"


def encoded(samples, rate=16_000, **options):
    """A sound file of int16 or float samples."""
    import soundfile

    content = io.BytesIO()
    options = {"format": "FLAC", "subtype": "PCM_16", **options}
    soundfile.write(content, samples, rate, **options)
    return content.getvalue()


SAMPLES = made.samples_of(1, 1_000)
WRONG_SOUNDS = {
    "other rate": (encoded(SAMPLES, 8_000), "has 1 channels at 8000 Hz"),
    "stereo": (encoded(np.stack([SAMPLES, SAMPLES], 1)), "has 2 channels"),
    "24 bits": (encoded(SAMPLES, subtype="PCM_24"), "is FLAC with PCM_24"),
    "wave file": (encoded(SAMPLES, format="WAV"), "is WAV with PCM_16"),
    "no samples": (encoded(SAMPLES[:0]), "is damaged"),
    "cut off": (encoded(SAMPLES)[:-100], "is damaged"),
    "no sound": (b"fLaC" + bytes(100), "is damaged"),
}


@pytest.mark.parametrize(
    ("content", "message"), WRONG_SOUNDS.values(), ids=WRONG_SOUNDS
)
def test_a_sound_file_of_another_kind_is_named(
    raw_folder, sets, tmp_path, content, message
):
    changed(raw_folder, sets, {FLAC: content})
    assert_refused(raw_folder, tmp_path, rf"9-20-0000\.flac {message}")


def test_a_sound_file_that_does_not_say_how_long_it_is_is_not_dropped(
    raw_folder, sets, tmp_path
):
    """Its length would read as longer than any limit, and it would be filtered out."""
    content = bytearray(encoded(SAMPLES))
    content[21] &= 0xF0  # number of samples, 36 bits, in the header; 0: not known
    content[22:26] = bytes(4)
    changed(raw_folder, sets, {FLAC: bytes(content)})
    assert_refused(raw_folder, tmp_path, r"9-20-0000\.flac is damaged")


def test_speakers_and_chapters_that_are_links_are_followed(sets, tmp_path):
    made.unpacked(tmp_path / "raw", sets)
    direct = run(tmp_path / "raw", tmp_path / "direct")
    folder = tmp_path / "raw" / "LibriSpeech" / "dev-clean"
    (folder / "9").rename(tmp_path / "elsewhere")
    (folder / "9").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "20").rename(tmp_path / "chapter")
    (tmp_path / "elsewhere" / "20").symlink_to("../chapter")
    found = run(tmp_path / "raw", tmp_path / "out")
    assert found.counts == direct.counts
    assert found.manifest.files == direct.manifest.files


def test_a_link_to_the_folder_above_is_an_error_in_one_sentence(sets, tmp_path):
    made.unpacked(tmp_path / "raw", sets)
    (tmp_path / "raw" / DEV / "up").symlink_to("../..")
    assert_refused(tmp_path / "raw", tmp_path, r"up is a link to a folder .*, a loop")


def test_marks_line_ends_and_capitals_of_windows_are_read(sets, tmp_path):
    raw_files = made.unpacked(tmp_path / "raw", sets)
    direct = run(raw_files, tmp_path / "direct").manifest.files
    for path in list(raw_files.rglob("*.flac")):
        path.rename(path.with_suffix(".FLAC"))
    for path in raw_files.rglob("*.trans.txt"):
        text = path.read_bytes().replace(b"\n", b"\r\n")
        path.write_bytes(b"\xef\xbb\xbf" + text)
    assert run(raw_files, tmp_path / "out").manifest.files == direct


def test_litter_in_an_archive_is_passed_over(raw_folder, sets, tmp_path):
    direct = run(raw_folder, tmp_path / "direct").manifest.files
    litter = {f"{DEV}/._9-20-0000.flac": b"Mac OS X", f"{DEV}/.DS_Store": b""}
    changed(raw_folder, sets, litter)
    assert run(raw_folder, tmp_path / "out").manifest.files == direct


def test_members_with_paths_that_lead_elsewhere_are_not_written(
    raw_folder, sets, tmp_path
):
    changed(raw_folder, sets, {"../../evil.txt": b"x", "/tmp/evil_absolute.txt": b"x"})
    run(raw_folder, tmp_path / "out")
    assert not list(tmp_path.rglob("evil*"))


def test_a_member_larger_than_any_recording_does_not_fill_the_memory(
    raw_folder, sets, tmp_path, monkeypatch
):
    monkeypatch.setattr(raw, "_MAX_FILE_BYTES", 1_000_000)
    changed(raw_folder, sets, {FLAC: bytes(1_000_001)})
    assert_refused(raw_folder, tmp_path, "has 1,000,001 bytes, more than any file")
