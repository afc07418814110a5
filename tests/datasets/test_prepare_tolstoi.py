"""Preparing War and Peace: cleaning, numbering, the shipped novel, other texts."""

import numpy as np
import pytest

from algoperf.datasets.tolstoi import prepare, reader, text
from algoperf.definition import Splits
from algoperf.errors import BadData
from algoperf.prepared import Preparation, PreparedData

MINI = Splits(train=7_450, eval_train=1_850, validation=1_850, test=1_850)
SMALL = Splits(train=15, eval_train=2, validation=3, test=3)
NOVEL = "".join("abcdefgh"[: 1 + i % 8] for i in range(223))  # 1,000 characters
HEADER = "\ufeffTitle\r\n\r\n*** START OF THE PROJECT GUTENBERG EBOOK WAR AND PEACE ***"
FOOTER = "*** END OF THE PROJECT GUTENBERG EBOOK WAR AND PEACE ***\r\nLicence\r\n"


@pytest.fixture(autouse=True)
def a_short_novel(monkeypatch):
    """What is published here has 1,000 characters, 8 different ones."""
    monkeypatch.setattr(text, "OFFICIAL_CHARACTERS", 1000)
    monkeypatch.setattr(text, "MAX_VOCABULARY", 8)


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / text.NAME).write_text(NOVEL)
    return folder


def run(raw, folder, splits=SMALL, subset=None):
    with Preparation(
        folder, dataset="tolstoi", format_version=reader.FORMAT_VERSION, subset=subset
    ) as preparation:
        prepare.prepare(raw, preparation, splits=splits, subset=subset)
    return PreparedData.open(folder, dataset="tolstoi", allow_partial=True, verify=True)


def decoded(data, split):
    vocabulary = reader.vocabulary(data)
    return "".join(vocabulary[number] for number in reader.read_split(data, split))


def test_the_novel_is_made_as_long_as_it_says():
    assert (len(NOVEL), len(set(NOVEL))) == (1000, 8)


def test_four_fifths_are_train_and_the_rest_is_test_and_validation(raw, tmp_path):
    data = run(raw, tmp_path / "out")
    assert decoded(data, "train") == decoded(data, "eval_train") == NOVEL[:800]
    assert decoded(data, "test") == decoded(data, "validation") == NOVEL[800:]
    assert reader.read_split(data, "train").dtype == np.uint8
    assert data.counts == {"train": 15, "validation": 3, "test": 3}


def test_the_published_text_is_cut_where_the_published_counts_say():
    assert text.test_begin(3_266_185) == 3_266_185 - 653_237
    assert reader.num_sequences(2_612_948) // 50 == 1_045  # batches of 50


def test_the_most_frequent_character_is_number_0():
    assert text.vocabulary_of("cabbac b") == "bca "


def test_equally_frequent_characters_keep_the_order_of_the_text():
    assert text.vocabulary_of("zyyzx") == "zyx"
    assert text.numbered("zyyzx", "zyx").tolist() == [0, 1, 1, 0, 2]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda novel: novel,
        lambda novel: "\ufeff" + novel,
        lambda novel: f"{HEADER}\n{novel}\n{FOOTER}",
        lambda novel: f"{HEADER}\r\n\r\n{novel}\r\n\r\n{FOOTER}",
    ],
)
def test_the_forms_that_editions_come_in_are_cleaned(raw, tmp_path, wrap):
    (raw / text.NAME).write_text(wrap(NOVEL), "utf-8", newline="")
    data = run(raw, tmp_path / "out")
    assert decoded(data, "train") + decoded(data, "test") == NOVEL


def test_line_ends_are_unified(raw, tmp_path, monkeypatch):
    novel = NOVEL[:-10] + "\n" * 10
    monkeypatch.setattr(text, "MAX_VOCABULARY", 9)
    (raw / text.NAME).write_text(novel.replace("\n", "\r\n"), newline="")
    data = run(raw, tmp_path / "out")
    assert decoded(data, "test") == novel[800:]


def test_another_edition_is_refused_with_its_counts(raw, tmp_path):
    (raw / text.NAME).write_text(f"{HEADER}\n{NOVEL}x\n{FOOTER}", "utf-8")
    with pytest.raises(BadData, match=r"not the edition .*1,001 characters, 9 differ"):
        run(raw, tmp_path / "out")


def test_the_shipped_novel_is_prepared_by_the_same_code(tmp_path):
    prepare.expand_embedded(tmp_path / "raw")
    data = run(tmp_path / "raw", tmp_path / "out", MINI)
    assert decoded(data, "train").startswith("Persuasion\n")
    assert len(reader.read_split(data, "train")) == 373_482
    assert len(reader.read_split(data, "test")) == 93_371
    assert len(reader.vocabulary(data)) == 75


def test_the_shipped_novel_is_not_taken_for_war_and_peace(tmp_path):
    prepare.expand_embedded(tmp_path / "raw")
    full = Splits(train=52_250, eval_train=52_250, validation=13_050, test=13_050)
    with pytest.raises(BadData, match=r"has 7,469 sequences .* 52,250 are expected"):
        run(tmp_path / "raw", tmp_path / "out", full)


def test_a_subset_keeps_the_first_sequences_and_their_targets(raw, tmp_path):
    data = run(raw, tmp_path / "out", subset=2)
    assert data.counts == {"train": 2, "validation": 2, "test": 2}
    assert decoded(data, "train") == NOVEL[:101]
    assert decoded(data, "test") == NOVEL[800:901]


def test_the_space_estimate_covers_what_is_written(raw, tmp_path):
    run(raw, tmp_path / "out")
    written = sum(path.stat().st_size for path in (tmp_path / "out").iterdir())
    assert written <= prepare.space_needed(raw) <= written + 8192
    assert prepare.space_needed(None) >= text.OFFICIAL_CHARACTERS


def test_the_only_text_file_may_have_any_name(raw, tmp_path):
    (raw / text.NAME).rename(raw / "pg2600.TXT")
    assert decoded(run(raw, tmp_path / "out"), "train") == NOVEL[:800]


@pytest.mark.parametrize(
    ("names", "message"),
    [((), r"no file war_and_peace\.txt"), (("a.txt", "b.txt"), "several .txt files")],
)
def test_a_folder_without_the_text_says_where_to_get_it(tmp_path, names, message):
    for name in names:
        (tmp_path / name).write_text(NOVEL)
    with pytest.raises(BadData, match=rf"(?s){message}.*gutenberg\.org/ebooks/2600"):
        run(tmp_path, tmp_path / "out")


def test_a_file_that_is_no_text_is_named(raw, tmp_path):
    (raw / text.NAME).write_bytes(b"abc\xff\xfe")
    with pytest.raises(BadData, match=r"is no UTF-8 text \(byte 3\)"):
        run(raw, tmp_path / "out")


def test_prepared_files_that_are_too_short_are_refused(raw, tmp_path):
    data = run(raw, tmp_path / "out")
    with Preparation(tmp_path / "b", dataset="tolstoi", format_version=1) as other:
        for split in ("train", "test"):
            with (
                other.part(reader.part_name(split)) as path,
                path.open("wb") as file,
            ):
                np.save(file, reader.read_split(data, split)[:100])
        other.finish(data.counts, data.facts)
    bad = PreparedData.open(tmp_path / "b", dataset="tolstoi")
    with pytest.raises(BadData, match="do not hold the 15 sequences"):
        reader.read_split(bad, "train")
