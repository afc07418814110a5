"""Preparing FineWeb-Edu: the official layout, the shipped novels, bad raw files."""

import collections
import errno
import itertools
import os

import numpy as np
import pytest

from algoperf import registry
from algoperf.datasets.fineweb_edu import (
    documents,
    novels,
    packing,
    prepare,
    reader,
    tokenizer,
)
from algoperf.definition import Splits
from algoperf.errors import BadData
from algoperf.prepared import Preparation, PreparedData

arrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("tiktoken")

MINI = registry.definition("finewebedu_lm_mini").splits
LENGTH = 129  # of a chunk, with the small tokenizer
NUM_DOCUMENTS = 300
SMALL = Splits(train=119, eval_train=4, validation=8, test=0)


def page(number):
    """A made-up page that says which one it is."""
    rng = np.random.default_rng(number)
    words = rng.choice(
        ["the", "house", "very", "Emma", "of", "sister"], 30 + number % 41
    )
    return f"Page {number}. {' '.join(words)}"


def write(path, texts, row_group_size=16, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {"text": texts, "url": [f"u{i}" for i in range(len(texts))], **columns}
    parquet.write_table(arrow.table(columns), path, row_group_size=row_group_size)
    return path


FILES = [f"sample/10BT/{i:03d}_00000.parquet" for i in range(3)]


@pytest.fixture
def raw(tmp_path):
    """The official layout, and the small tokenizer, which is quicker to load."""
    folder = tmp_path / "raw"
    for i, name in enumerate(FILES):
        write(folder / name, [page(100 * i + j) for j in range(100)])
    (folder / reader.TOKENIZER).write_bytes(novels.MERGES.read_bytes())
    return folder


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(prepare, "_BLOCK_ROWS", 30)
    monkeypatch.setattr(prepare, "_SHARD_CHUNKS", 16)


def run(raw, folder, splits=SMALL, subset=None, progress=lambda *_: None):
    with Preparation(
        folder, dataset="fineweb_edu", format_version=1, subset=subset
    ) as preparation:
        prepare.prepare(
            raw, preparation, splits=splits, subset=subset, progress=progress
        )
    return PreparedData.open(
        folder, dataset="fineweb_edu", allow_partial=True, verify=True
    )


def encoder(data):
    return tokenizer.Tokenizer(data.path(reader.TOKENIZER).read_bytes())


def stream(data, split):
    """All stored tokens of a split."""
    chunks = reader.read_split(data, split)
    return chunks.read(np.arange(len(chunks))).ravel()


def pages(data, split):
    """The stored documents, the last one cut off."""
    offsets = reader.document_offsets(data, split)
    all_tokens, encoding = stream(data, split), encoder(data)
    cuts = itertools.pairwise(offsets)
    return [encoding.decode(all_tokens[a:b]) for a, b in cuts]


def fails(raw, tmp_path, *said, **options):
    with pytest.raises(BadData) as caught:
        run(raw, tmp_path / "out", **options)
    for text in said:
        assert text in str(caught.value)


def test_documents_are_shuffled_put_behind_each_other_and_cut(raw, tmp_path):
    data = run(raw, tmp_path / "out")
    assert data.counts == {"train": 119, "validation": 8, "test": 0}
    assert data.facts == {"vocab_size": 1024, "chunk_length": 129, "shard_chunks": 16}
    encoding, order = encoder(data), packing.shuffled(NUM_DOCUMENTS)
    expected = np.concatenate([encoding.encode(page(i)) for i in order])
    found = stream(data, "train")
    np.testing.assert_array_equal(found, expected[: len(found)])
    assert (order != np.arange(NUM_DOCUMENTS)).any()


def test_no_document_is_in_two_splits(raw, tmp_path):
    data = run(raw, tmp_path / "out")
    texts = {split: pages(data, split) for split in ("train", "validation")}
    numbers = {
        split: {int(text.removeprefix("Page ").partition(".")[0]) for text in found}
        for split, found in texts.items()
    }
    assert numbers["train"] and numbers["validation"]
    assert not numbers["train"] & numbers["validation"]
    assert all(len(numbers[split]) == len(texts[split]) for split in texts)


def test_offsets_say_where_documents_begin(raw, tmp_path):
    data = run(raw, tmp_path / "out")
    for split in ("train", "validation"):
        found, offsets = stream(data, split), reader.document_offsets(data, split)
        ends = np.flatnonzero(found == encoder(data).end_of_text) + 1
        starts = np.append(0, ends[ends < len(found)])
        np.testing.assert_array_equal(offsets, np.append(starts, len(found)))
        whole = pages(data, split)[:-1]
        assert all(text.startswith("Page ") for text in whole)
        assert all(text.endswith(tokenizer.END_OF_TEXT) for text in whole)


def test_chunks_are_read_across_shards_in_any_order(raw, tmp_path):
    data = run(raw, tmp_path / "out")
    chunks = reader.read_split(data, "train")
    assert [len(shard) for shard in chunks.shards] == [16] * 7 + [7]
    ids = np.array([118, 3, 16, 15, 3])
    rows = stream(data, "train").reshape(-1, LENGTH)
    np.testing.assert_array_equal(chunks.read(ids), rows[ids])
    assert chunks.read(ids).dtype == np.uint16
    assert chunks.read(np.array([], int)).shape == (0, LENGTH)


def test_nothing_depends_on_blocks_or_threads(raw, tmp_path, monkeypatch):
    first = run(raw, tmp_path / "out")
    monkeypatch.setattr(prepare, "_BLOCK_ROWS", 10**6)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    again = run(raw, tmp_path / "again")
    assert again.manifest.files == first.manifest.files


def test_empty_documents_are_left_out(raw, tmp_path):
    texts = [page(i) for i in range(100)]
    write(raw / FILES[0], [text for one in texts for text in (one, "")])
    data = run(raw, tmp_path / "out")
    assert "" not in pages(data, "train")
    assert (np.diff(reader.document_offsets(data, "train")[:-1]) > 1).all()


class Killed(Exception):
    pass


def test_a_killed_preparation_goes_on_where_it_stopped(raw, tmp_path, monkeypatch):
    whole = run(raw, tmp_path / "whole")
    encode, counts = tokenizer.Tokenizer.encode, collections.Counter()

    def counted(self, text):
        counts[text] += 1
        if sum(counts.values()) == limit:
            raise Killed
        return encode(self, text)

    monkeypatch.setattr(tokenizer.Tokenizer, "encode", counted)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    limit = 150
    with pytest.raises(Killed):
        run(raw, tmp_path / "out")
    limit = -1
    data = run(raw, tmp_path / "out")
    assert data.manifest.files == whole.manifest.files
    assert not (tmp_path / "out" / ".tokens").exists()
    again = [text for text, count in counts.items() if count > 1]
    assert 0 < len(again) < 40  # those of the block that was being made


def test_a_preparation_killed_while_packing_tokenises_nothing_again(
    raw, tmp_path, monkeypatch
):
    write_split = prepare._write_split

    def killed(preparation, split, *rest):
        if split == "validation":
            raise Killed
        write_split(preparation, split, *rest)

    monkeypatch.setattr(prepare, "_write_split", killed)
    with pytest.raises(Killed):
        run(raw, tmp_path / "out")
    monkeypatch.setattr(prepare, "_write_split", write_split)

    def never(*_):
        raise AssertionError("tokenised again")

    monkeypatch.setattr(tokenizer.Tokenizer, "encode", never)
    assert run(raw, tmp_path / "out").counts["validation"] == 8


def test_progress_ends_with_everything_done(raw, tmp_path):
    seen = collections.defaultdict(list)
    run(raw, tmp_path / "out", progress=lambda what, *n: seen[what].append(n))
    assert seen["tokenising documents"][-1] == (300, 300)
    assert seen["packing train"][-1] == (119, 119)


def test_a_subset_reads_no_more_than_it_needs(raw, tmp_path, monkeypatch):
    calls = []
    encode = tokenizer.Tokenizer.encode
    monkeypatch.setattr(
        tokenizer.Tokenizer, "encode", lambda *a: calls.append(1) or encode(*a)
    )
    data = run(raw, tmp_path / "out", subset=5)
    assert data.is_partial
    assert data.counts == {"train": 5, "validation": 5, "test": 0}
    assert len(calls) < 100
    assert not set(pages(data, "train")) & set(pages(data, "validation"))


def test_the_published_split_is_nine_tenths_of_the_documents(raw, tmp_path):
    too_few = Splits(train=90, eval_train=4, validation=8, test=0)
    fails(raw, tmp_path, "they are 90% of the official ones", splits=too_few)


def test_missing_files_are_noticed(raw, tmp_path):
    (raw / FILES[1]).unlink()
    fails(raw, tmp_path, "fill 86 chunks; 119 are needed", "hf download")


def test_files_that_are_there_twice_are_noticed(raw, tmp_path):
    for i, name in enumerate(FILES):
        write(raw / f"copy/{name}", [page(100 * i + j) for j in range(100)])
    fails(raw, tmp_path, "there twice", "600 documents")


def test_too_little_text_for_a_subset(raw, tmp_path):
    for name in FILES[1:]:
        (raw / name).unlink()
    few = Splits(train=500, eval_train=4, validation=8, test=0)
    fails(
        raw, tmp_path, "The train documents", "400 are needed", splits=few, subset=400
    )


def test_a_missing_folder(tmp_path):
    fails(tmp_path / "none", tmp_path, "There is no folder", "sample-10BT", "ODC-By")


def test_a_folder_without_parquet_files(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "000_00000.parque").touch()
    fails(tmp_path / "raw", tmp_path, "no Parquet file", "000_00000.parque'?")


def test_a_truncated_file(raw, tmp_path):
    path = raw / FILES[1]
    path.write_bytes(path.read_bytes()[:-20])
    fails(
        raw, tmp_path, FILES[1], "no whole Parquet file", "get the official file again"
    )


def test_a_pointer_of_git_lfs(raw, tmp_path):
    (raw / FILES[1]).write_text("version https://git-lfs.github.com/spec/v1\n")
    fails(raw, tmp_path, FILES[1], "pointer of Git LFS")


def test_an_empty_file(raw, tmp_path):
    (raw / FILES[2]).write_bytes(b"")
    fails(raw, tmp_path, FILES[2], "no whole Parquet file")


def test_a_file_that_is_damaged_in_the_middle(raw, tmp_path):
    content = bytearray((raw / FILES[1]).read_bytes())
    content[100:2_000] = bytes(1_900)
    (raw / FILES[1]).write_bytes(content)
    fails(raw, tmp_path, FILES[1], "is damaged after row")


def test_a_file_without_the_column(raw, tmp_path):
    table = arrow.table({"texts": ["a"], "id": ["b"]})
    parquet.write_table(table, raw / FILES[1])
    fails(raw, tmp_path, FILES[1], "no column 'text'", "'texts'?", "texts, id")


def test_a_column_of_another_type(raw, tmp_path):
    parquet.write_table(arrow.table({"text": [1, 2]}), raw / FILES[1])
    fails(raw, tmp_path, FILES[1], "holds int64, not strings")


def test_a_row_without_text(raw, tmp_path):
    texts = [page(j) for j in range(100)]
    texts[77] = None
    write(raw / FILES[1], texts)
    fails(raw, tmp_path, FILES[1], "row 77 has no text")


def test_a_row_that_is_not_utf8(raw, tmp_path):
    values = [b"good", b"b\xffd"]
    column = arrow.array(values, arrow.binary()).view(arrow.string())
    parquet.write_table(arrow.table({"text": column}), raw / FILES[1])
    fails(raw, tmp_path, FILES[1], "row 1", "not UTF-8")


@pytest.mark.parametrize("kind", ["large_string", "string_view"])
def test_other_kinds_of_strings(raw, tmp_path, kind):
    first = run(raw, tmp_path / "first")
    texts = arrow.array([page(j) for j in range(100)]).cast(getattr(arrow, kind)())
    try:
        parquet.write_table(arrow.table({"text": texts}), raw / FILES[0])
    except arrow.ArrowNotImplementedError:
        pytest.skip(f"this pyarrow writes no {kind}")
    again = run(raw, tmp_path / "out")
    assert again.manifest.files == first.manifest.files


def test_merges_that_are_not_known(raw, tmp_path):
    (raw / reader.TOKENIZER).write_bytes(b"#version: 0.2\n")
    fails(raw, tmp_path, "vocab.bpe has the sha256 checksum", tokenizer.GPT2_SHA256)


def test_files_of_splits_beside_others(raw, tmp_path):
    write(raw / "validation-00000-of-00001.parquet", ["a"])
    fails(raw, tmp_path, "belongs to no split", "Use the official files alone")


def test_a_full_disk_is_said_and_leaves_no_block(raw, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    fails(raw, tmp_path, "No space left on the disk")
    assert not list((tmp_path / "out" / ".tokens").glob("*.npy"))


@pytest.mark.parametrize("kind", ["tokens", "lengths.npy"])
@pytest.mark.parametrize("length", [0, -2])
def test_a_damaged_block_is_noticed(raw, tmp_path, monkeypatch, kind, length):
    monkeypatch.setattr(prepare, "_check_share", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(raw, tmp_path / "out")
    monkeypatch.undo()
    monkeypatch.setattr(prepare, "_BLOCK_ROWS", 30)
    path = next((tmp_path / "out" / ".tokens").glob(f"*.{kind}"))
    path.write_bytes(path.read_bytes()[:length])
    fails(raw, tmp_path, str(path), "is damaged", "Delete the folder")


def test_a_file_where_the_blocks_should_be(raw, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".tokens").write_text("")
    fails(raw, tmp_path, "Cannot write", ".tokens")


def test_two_columns_of_text(raw, tmp_path):
    columns = [arrow.array(["a"]), arrow.array(["b"])]
    table = arrow.Table.from_arrays(columns, names=["text", "text"])
    parquet.write_table(table, raw / FILES[1])
    fails(raw, tmp_path, FILES[1], "more than one column 'text'")


def test_files_without_rows_hold_no_document(raw, tmp_path):
    expected = run(raw, tmp_path / "out").manifest.files
    write(raw / "sample/10BT/003_00000.parquet", arrow.array([], arrow.string()))
    assert run(raw, tmp_path / "again").manifest.files == expected


def test_prepared_files_that_do_not_fit_the_manifest(raw, tmp_path):
    data = run(raw, tmp_path / "out")
    np.save(tmp_path / "out" / "train-00000.npy", np.zeros((15, LENGTH), np.uint16))
    with pytest.raises(BadData, match="do not hold the 119 chunks"):
        reader.read_split(data, "train")


def test_other_raw_files_are_not_mixed_with_finished_parts(raw, tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "_check_share", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(raw, tmp_path / "out")
    write(raw / FILES[1], [page(j) for j in range(99)])
    fails(raw, tmp_path, "was begun with other input")


def test_the_space_that_is_needed(raw):
    size = sum((raw / name).stat().st_size for name in FILES)
    assert prepare.space_needed(raw) == pytest.approx(2 * 1.6 * size, abs=1)
    assert prepare.space_needed(None) == 38_800_000_000


def test_the_shipped_novels_are_prepared_by_the_same_code(tmp_path):
    prepare.expand_embedded(tmp_path / "raw")
    data = run(tmp_path / "raw", tmp_path / "out", MINI)
    assert data.counts == {"train": 8_197, "validation": 32, "test": 16}
    assert data.facts["vocab_size"] == 1_024
    found = stream(data, "train")
    assert found.max() == 1_023 == encoder(data).end_of_text
    assert (found == 1_023).sum() == 213  # of 214 chapters the last one is cut off
    assert pages(data, "validation")[0].startswith("Sir Walter Elliot, of Kellynch")
    assert "Catherine Morland" in pages(data, "test")[0]
    assert not any("Sir Walter Elliot" in text for text in pages(data, "train"))


def test_the_novels_have_the_columns_of_the_official_files(tmp_path):
    prepare.expand_embedded(tmp_path)
    files = sorted(tmp_path.glob("*.parquet"))
    assert [parquet.read_metadata(path).num_rows for path in files] == [31, 214, 24]
    assert parquet.read_schema(files[0]).names == [
        *("text", "id", "dump", "url", "file_path", "language"),
        *("language_score", "token_count", "score", "int_score"),
    ]


def test_more_text_than_the_splits_need_is_noticed(tmp_path):
    prepare.expand_embedded(tmp_path / "raw")
    fewer = Splits(train=8_000, eval_train=16, validation=32, test=16)
    fails(tmp_path / "raw", tmp_path, "fill 8,197 chunks; 8,000", splits=fewer)


def test_without_merges_beside_the_raw_files_gpt2s_are_used(raw, tmp_path):
    (raw / reader.TOKENIZER).unlink()
    data = run(raw, tmp_path / "out", subset=2)
    assert data.facts["vocab_size"] == 50_257
    assert data.facts["chunk_length"] == 1_025
    assert reader.read_split(data, "train").read(np.array([1])).shape == (1, 1_025)


def test_blocks_are_whole_row_groups(raw):
    blocks = documents.blocks_of(raw / FILES[0], 30)
    assert [(b.groups, b.first_row, b.num_rows) for b in blocks] == [
        ((0, 1), 0, 32),
        ((2, 3), 32, 32),
        ((4, 5), 64, 32),
        ((6,), 96, 4),
    ]
    texts = [text for block in blocks for text in block.texts()]
    assert texts == [page(i) for i in range(100)]


def test_links_are_followed_and_litter_is_passed_over(raw, tmp_path):
    """The cache of Hugging Face's client holds links to its files."""
    first = run(raw, tmp_path / "first")
    for i, name in enumerate(FILES):
        (raw / name).rename(tmp_path / f"blob-{i}")
        (raw / name).symlink_to(tmp_path / f"blob-{i}")
    (raw / "sample/10BT/._000_00000.parquet").write_bytes(b"litter")
    again = run(raw, tmp_path / "out")
    assert again.manifest.files == first.manifest.files


def test_a_link_to_nothing_is_said(raw, tmp_path):
    (raw / FILES[0]).unlink()
    (raw / FILES[0]).symlink_to(tmp_path / "gone")
    fails(raw, tmp_path, FILES[0], "is a link to", "does not exist")
