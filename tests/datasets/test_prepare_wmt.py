"""Preparing WMT: the shipped pairs, the official archives, bad raw files."""

import dataclasses
import gzip
import hashlib
import io
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from privileges import unprivileged

from algoperf import downloads, registry
from algoperf.datasets.wmt import (
    catalogues,
    corpora,
    make_embedded,
    prepare,
    reader,
    tokenizer,
)
from algoperf.definition import Splits
from algoperf.errors import BadData
from algoperf.prepared import Preparation, PreparedData

pytest.importorskip("sentencepiece")

EUROPARL, CRAWL, NEWS, RAPID = corpora.CORPORA["train"]
DEV, TEST = corpora.CORPORA["validation"][0], corpora.CORPORA["test"][0]
MINI = Splits(train=3_600, eval_train=128, validation=128, test=128)
SMALL = Splits(train=40, eval_train=8, validation=6, test=5)
SIZES = {EUROPARL: 16, CRAWL: 8, NEWS: 10, RAPID: 6, DEV: 6, TEST: 5}
VOCAB_SIZE = 60


def lines(corpus, language):
    """Sentences of made-up words that name their corpus and row."""
    number = list(SIZES).index(corpus)
    rng = np.random.default_rng([number, len(language)])
    words = ["".join(rng.choice(list("abdegh"), 4)) for _ in range(6 * SIZES[corpus])]
    return [
        f"{language} {number} {row} {' '.join(words[6 * row : 6 * row + 6])}"
        for row in range(SIZES[corpus])
    ]


def text(member, rows):
    if not member.endswith(".sgm"):
        return "".join(f"{row}\n" for row in rows).encode()
    segments = "".join(f'<seg id="{n}">{row}</seg>\n' for n, row in enumerate(rows, 1))
    return f"<srcset>\n<p>\n{segments}</p>\n</srcset>\n".encode()


def pack(path, contents):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def contents():
    """Every archive's files, by the archive's name."""
    archives = {}
    for corpus in SIZES:
        files = archives.setdefault(corpus.archive.name, {})
        files[corpus.german] = text(corpus.german, lines(corpus, "de"))
        files[corpus.english] = text(corpus.english, lines(corpus, "en"))
    return archives


def write(folder, archives):
    for name, files in archives.items():
        pack(folder / name, files)
    return folder


@pytest.fixture
def raw(tmp_path):
    return write(tmp_path / "raw", contents())


def run(raw, folder, splits=SMALL, subset=None, vocab_size=VOCAB_SIZE):
    with Preparation(
        folder, dataset="wmt", format_version=reader.FORMAT_VERSION, subset=subset
    ) as preparation:
        prepare.prepare(
            raw, preparation, splits=splits, subset=subset, vocab_size=vocab_size
        )
    return PreparedData.open(folder, dataset="wmt", allow_partial=True, verify=True)


def sentences(data, split, side):
    """The stored text."""
    processor = reader.load_tokenizer(data)
    stored = getattr(reader.read_split(data, split), side)
    cuts = zip(stored.offsets, stored.offsets[1:], strict=False)
    return [processor.decode(stored.tokens[a:b].tolist()) for a, b in cuts]


def train_lines(language):
    return [line for corpus in list(SIZES)[:4] for line in lines(corpus, language)]


def test_the_definition_has_the_sizes_of_the_shipped_pairs():
    definition = registry.definition("wmt_mini")
    assert definition.splits == MINI
    assert definition.data.vocab_size == tokenizer.SMALL_VOCAB_SIZE


def test_the_shipped_pairs_are_prepared_by_the_same_code(tmp_path):
    prepare.expand_embedded(tmp_path / "raw")
    data = run(tmp_path / "raw", tmp_path / "out", MINI, vocab_size=None)
    assert data.counts == {"train": 3600, "validation": 128, "test": 128}
    assert data.facts == {"vocab_size": 1000}
    pairs = reader.read_split(data, "train")
    assert len(pairs) == 3600
    assert pairs.inputs.tokens.dtype == pairs.targets.tokens.dtype == np.uint16
    assert pairs.inputs.tokens.max() < 1000
    assert 8 < pairs.inputs.lengths().mean() < 16


def test_no_shipped_sentence_is_in_two_splits_or_twice():
    rows = [pair for pairs in catalogues.read().values() for pair in pairs]
    assert len(rows) == 3856
    for side in zip(*rows, strict=True):
        assert len(set(side)) == 3856


def test_messages_are_taken_without_plurals_contexts_and_line_breaks(tmp_path):
    catalogue = tmp_path / "psql-15.mo"
    catalogue.write_bytes(
        compiled(
            {
                "": "Content-Type: text/plain; charset=UTF-8\n",
                "file\x00files": "Datei\x00Dateien",
                "menu\x04Open\n": "Öffnen\n",
                "two\nlines": "zwei\nZeilen",
            }
        )
    )
    assert list(make_embedded.messages(catalogue))[-1] == ("Öffnen", "Open")
    assert not [pair for pair in make_embedded.messages(catalogue) if "Datei" in pair]
    assert not [pair for pair in make_embedded.messages(catalogue) if "\n" in pair[0]]


def compiled(entries):
    """A catalogue in gettext's binary format."""
    keys, values = zip(*sorted(entries.items()), strict=True)
    first_text = 28 + 16 * len(keys)
    tables, texts = [], b""
    for rows in (keys, values):
        for row in rows:
            content = row.encode()
            tables += [len(content), first_text + len(texts)]
            texts += content + b"\0"
    header = [0x950412DE, 0, len(keys), 28, 28 + 8 * len(keys), 0, 0]
    return np.array(header + tables, "<u4").tobytes() + texts


def hashed_order(split):
    """Numbers of a split's pairs, sorted by the hashes that tensorflow-datasets uses."""
    keys = [
        f"{corpus.name}/0/{row}"
        for corpus in corpora.CORPORA[split]
        for row in range(SIZES[corpus])
    ]
    hashes = [hashlib.md5(f"{split}{key}".encode()).hexdigest() for key in keys]
    return sorted(range(len(keys)), key=lambda number: hashes[number])


def test_validation_and_test_are_in_the_hashed_order_too(raw, tmp_path):
    data = run(raw, tmp_path / "out")
    for split, corpus in (("validation", DEV), ("test", TEST)):
        for side, language in (("inputs", "de"), ("targets", "en")):
            expected = [lines(corpus, language)[n] for n in hashed_order(split)]
            assert sentences(data, split, side) == expected


def test_training_pairs_of_all_corpora_are_stored_mixed_and_still_paired(raw, tmp_path):
    data = run(raw, tmp_path / "out")
    order = hashed_order("train")
    for side, language in (("inputs", "de"), ("targets", "en")):
        expected = [train_lines(language)[number] for number in order]
        assert sentences(data, "train", side) == expected
    assert sorted(order) == list(range(40)) != list(order)


def test_every_stored_sentence_ends_with_the_end_token(raw, tmp_path):
    pairs = reader.read_split(run(raw, tmp_path / "out"), "train")
    for side in (pairs.inputs, pairs.targets):
        assert (side.tokens[side.offsets[1:] - 1] == 2).all()
        assert (side.tokens == 2).sum() == len(side)


def test_pairs_with_an_empty_side_are_left_out(tmp_path):
    archives = contents()
    files = archives[EUROPARL.archive.name]
    files[EUROPARL.german] = b"nur deutsch\n\n" + files[EUROPARL.german]
    files[EUROPARL.english] = b"\nenglish only\n" + files[EUROPARL.english]
    data = run(write(tmp_path / "raw", archives), tmp_path / "out")
    assert data.counts["train"] == 40
    assert not [s for s in sentences(data, "train", "inputs") if "nur" in s]


def test_only_a_line_feed_ends_a_sentence(tmp_path):
    archives = contents()
    rows = lines(EUROPARL, "de")
    rows[3] = "eins\r zwei\u2028drei\x85vier"
    archives[EUROPARL.archive.name][EUROPARL.german] = text(EUROPARL.german, rows)
    assert (
        run(write(tmp_path / "raw", archives), tmp_path / "out").counts["train"] == 40
    )


def test_the_tokenizer_is_the_published_kind(raw, tmp_path):
    processor = reader.load_tokenizer(run(raw, tmp_path / "out"))
    assert processor.vocab_size() == VOCAB_SIZE
    special = processor.unk_id(), processor.bos_id(), processor.eos_id()
    assert special == (0, 1, 2)
    assert processor.pad_id() == -1


def test_the_tokenizer_sees_the_first_bytes_of_both_languages_in_turn(
    raw, tmp_path, monkeypatch
):
    seen, train = [], tokenizer.train

    def record(rows, vocab_size):
        seen.extend(rows)
        return train(seen, vocab_size)

    order = hashed_order("train")
    expected = []
    for number in order[:12]:
        expected += [train_lines("de")[number], train_lines("en")[number]]
    num_bytes = sum(len(line) + 1 for line in expected)
    monkeypatch.setattr(tokenizer, "train", record)
    # Reached exactly by the twelfth pair: no further one is written.
    monkeypatch.setattr(tokenizer, "SAMPLE_BYTES", num_bytes)
    run(raw, tmp_path / "out", vocab_size=36)
    assert seen == expected
    assert tokenizer.VOCAB_SIZE == 32_000


def test_text_larger_than_the_sample_gets_the_published_vocabulary(
    raw, tmp_path, monkeypatch
):
    sizes = []

    def record(rows, vocab_size):
        sizes.append(vocab_size)
        raise KeyboardInterrupt

    monkeypatch.setattr(tokenizer, "train", record)
    for number, sample in enumerate((100, 10**7)):
        monkeypatch.setattr(tokenizer, "SAMPLE_BYTES", sample)
        with pytest.raises(KeyboardInterrupt):
            run(raw, tmp_path / f"out{number}", vocab_size=None)
    assert sizes == [32_000, 1_000]


def test_unpacked_raw_files_are_read_too(raw, tmp_path):
    for corpus in SIZES:
        with tarfile.open(raw / corpus.archive.name) as archive:
            archive.extractall(tmp_path / "unpacked", filter="data")
    assert (
        run(tmp_path / "unpacked", tmp_path / "a").manifest.files
        == run(raw, tmp_path / "b").manifest.files
    )


def test_preparing_twice_gives_the_same_bytes(raw, tmp_path):
    assert (
        run(raw, tmp_path / "a").manifest.files
        == run(raw, tmp_path / "b").manifest.files
    )


def test_a_subset_keeps_the_first_pairs_and_the_same_tokenizer(raw, tmp_path):
    whole, data = run(raw, tmp_path / "a"), run(raw, tmp_path / "b", subset=5)
    assert data.is_partial
    assert data.counts == {"train": 5, "validation": 5, "test": 5}
    for split in ("train", "validation"):
        kept = sentences(whole, split, "targets")[:5]
        assert sentences(data, split, "targets") == kept
    assert (
        data.manifest.files[reader.TOKENIZER] == whole.manifest.files[reader.TOKENIZER]
    )


def test_the_space_estimate_covers_what_is_written(raw, tmp_path):
    run(raw, tmp_path / "out")
    written = sum(path.stat().st_size for path in (tmp_path / "out").iterdir())
    assert written <= prepare.space_needed(raw)
    assert prepare.space_needed(None) == 10**9


def test_a_killed_preparation_goes_on_with_the_next_part(raw, tmp_path, monkeypatch):
    write_tokens, calls = prepare._write_tokens, []

    def write_and_break(path, *arrays):
        write_tokens(path, *arrays)
        calls.append(path.name)
        if len(calls) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(prepare, "_write_tokens", write_and_break)
    with pytest.raises(KeyboardInterrupt):
        run(raw, tmp_path / "out")
    done = ["tokenizer.model", "train-inputs-tokens.npy", "train-targets-tokens.npy"]
    finished = {n: (tmp_path / "out" / n).stat().st_mtime_ns for n in done}
    assert not (tmp_path / "out" / "validation-inputs-tokens.npy").exists()

    monkeypatch.setattr(prepare, "_write_tokens", write_tokens)
    resumed = run(raw, tmp_path / "out")
    for name, written in finished.items():
        assert resumed.path(name).stat().st_mtime_ns == written
    assert resumed.manifest == run(raw, tmp_path / "fresh").manifest


def test_a_resumed_preparation_with_other_raw_files_is_refused(raw, tmp_path):
    path = raw / NEWS.archive.name
    content = path.read_bytes()
    path.write_bytes(content[:200])
    with pytest.raises(BadData, match="cut off or damaged"):
        run(raw, tmp_path / "out")
    path.write_bytes(content)
    with pytest.raises(BadData, match=r"other input \(different: raw_bytes\)"):
        run(raw, tmp_path / "out")


def assert_refused(raw, tmp_path, message, splits=SMALL):
    """One clear error, and nothing that could be taken for prepared data."""
    with pytest.raises(BadData, match=message):
        run(raw, tmp_path / "out", splits)
    if (tmp_path / "out").exists():
        with pytest.raises(BadData, match="not finished"):
            PreparedData.open(tmp_path / "out", dataset="wmt")


def test_a_missing_folder_is_named(tmp_path):
    assert_refused(tmp_path / "no", tmp_path, r"(?s)no folder .*no with raw.*statmt")


def test_a_missing_archive_is_named_with_where_to_get_it(raw, tmp_path):
    (raw / "rapid2016.tgz").unlink()
    message = r"(?s)neither rapid2016.tgz nor its rapid2016.de-en.de.*statmt.org"
    assert_refused(raw, tmp_path, message)


def test_a_renamed_archive_is_suggested(raw, tmp_path):
    (raw / "rapid2016.tgz").rename(raw / "rapid-2016.tgz")
    assert_refused(raw, tmp_path, "Did you mean 'rapid-2016.tgz'")


def test_a_file_that_an_archive_lacks_is_named(tmp_path):
    archives = contents()
    del archives["dev.tgz"][TEST.english]
    message = f"dev.tgz holds no file {TEST.english}"
    assert_refused(write(tmp_path / "raw", archives), tmp_path, message)


def test_a_truncated_archive_is_named(raw, tmp_path):
    path = raw / NEWS.archive.name
    path.write_bytes(path.read_bytes()[:-60])
    assert_refused(raw, tmp_path, f"{NEWS.archive.name} is cut off or damaged")


def test_a_corrupt_archive_is_named(raw, tmp_path):
    path = raw / NEWS.archive.name
    content = bytearray(path.read_bytes())
    content[-8] ^= 0xFF  # in the checksum
    path.write_bytes(content)
    assert_refused(raw, tmp_path, f"{NEWS.archive.name} is cut off or damaged")


def test_an_archive_of_the_official_size_must_have_its_checksum(
    raw, tmp_path, monkeypatch
):
    size = (raw / "dev.tgz").stat().st_size
    named = dataclasses.replace(DEV.archive, size_bytes=size, sha256="0" * 64)
    monkeypatch.setattr(corpora, "ARCHIVES", (named,))
    assert_refused(raw, tmp_path, r"dev\.tgz is cut off or damaged")


def test_a_file_that_is_no_archive_is_named(raw, tmp_path):
    (raw / "dev.tgz").write_text("<html>moved</html>")
    assert_refused(raw, tmp_path, r"dev\.tgz is cut off or damaged")


def test_a_packed_file_without_a_tar_file_in_it_is_named(raw, tmp_path):
    (raw / "dev.tgz").write_bytes(gzip.compress(b"no tar file" * 100))
    assert_refused(raw, tmp_path, r"dev\.tgz, its .* is cut off or damaged after row 0")


def test_text_that_is_not_utf8_is_named_with_its_row(tmp_path):
    archives = contents()
    rows = archives[CRAWL.archive.name][CRAWL.english].split(b"\n")
    rows[4] = b"caf\xe9"
    archives[CRAWL.archive.name][CRAWL.english] = b"\n".join(rows)
    message = r"commoncrawl\.de-en\.en, row 5 is not UTF-8 text"
    assert_refused(write(tmp_path / "raw", archives), tmp_path, message)


@pytest.mark.parametrize("member", ["german", "english"])
def test_a_side_with_fewer_rows_is_named(tmp_path, member):
    archives, name = contents(), getattr(RAPID, member)
    content = archives[RAPID.archive.name][name]
    archives[RAPID.archive.name][name] = content[: content.rindex(b"\n", 0, -1) + 1]
    message = rf"its {name} ends after 5 sentences"
    assert_refused(write(tmp_path / "raw", archives), tmp_path, message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'<srcset>\n<seg id="1">cut\noff</seg>\n', "row 2 is no whole <seg>"),
        (b"<html>\nmoved\n</html>\n", "has 3 rows but no <seg> element"),
    ],
)
def test_sgml_that_is_not_as_it_should_be_is_named(tmp_path, content, message):
    archives = contents()
    archives["dev.tgz"][TEST.german] = content
    assert_refused(write(tmp_path / "raw", archives), tmp_path, message)


def test_another_number_of_pairs_is_refused(raw, tmp_path):
    more = Splits(train=41, eval_train=8, validation=6, test=5)
    message = "train corpora in .* hold 40 pairs; 41 are expected"
    assert_refused(raw, tmp_path, message, more)
    fewer = Splits(train=40, eval_train=8, validation=5, test=5)
    message = "validation corpora in .* hold 6 pairs; 5 are expected"
    assert_refused(raw, tmp_path / "other", message, fewer)


def test_text_too_small_for_the_vocabulary_is_said(raw, tmp_path):
    with pytest.raises(BadData, match="No vocabulary of 5,000 pieces can be made"):
        run(raw, tmp_path / "out", vocab_size=5_000)


def test_a_download_checks_what_it_fetched(tmp_path, monkeypatch):
    fetched = []
    monkeypatch.setattr(
        downloads, "fetch", lambda url, path, **how: fetched.append((url, path, how))
    )
    prepare.download(tmp_path)
    names = {corpus.archive.name for corpus in SIZES}
    assert {path.name for _, path, _ in fetched} == names
    assert all(len(how["sha256"]) == 64 and how["size"] for _, _, how in fetched)
    assert all(url.startswith("https://") for url, _, _ in fetched)


def test_prepared_files_that_do_not_hold_the_promised_pairs_are_refused(tmp_path):
    with Preparation(tmp_path / "out", dataset="wmt", format_version=1) as other:
        for side in reader.SIDES:
            for kind, array in (("tokens", [4, 2]), ("offsets", [0, 2])):
                with other.part(reader.part_name("train", side, kind)) as path:
                    np.save(path, np.array(array))
        other.finish({"train": 6}, facts={})
    data = PreparedData.open(tmp_path / "out", dataset="wmt")
    with pytest.raises(BadData, match="do not hold the 6 pairs"):
        reader.read_split(data, "train")


def test_a_damaged_tokenizer_is_named(tmp_path):
    with Preparation(tmp_path / "out", dataset="wmt", format_version=1) as other:
        with other.part(reader.TOKENIZER) as path:
            path.write_bytes(b"no model")
        other.finish({"train": 6}, facts={})
    data = PreparedData.open(tmp_path / "out", dataset="wmt")
    with pytest.raises(BadData, match=r"tokenizer\.model is no SentencePiece model"):
        reader.load_tokenizer(data)


def test_a_line_without_end_does_not_fill_the_memory(tmp_path):
    archives = contents()
    archives[NEWS.archive.name][NEWS.german] = b"x" * 5_000_000
    raw = write(tmp_path / "raw", archives)
    assert_refused(raw, tmp_path, r"row 1 has more than 1,048,576 bytes")


def test_members_with_paths_that_lead_elsewhere_are_not_written(tmp_path):
    archives = contents()
    archives[NEWS.archive.name]["../../evil.txt"] = b"x"
    archives[NEWS.archive.name]["/tmp/evil_absolute.txt"] = b"x"
    run(write(tmp_path / "raw", archives), tmp_path / "out")
    assert not list(tmp_path.rglob("evil*"))


def test_an_archive_that_holds_links_in_place_of_files_is_refused(tmp_path):
    raw = write(tmp_path / "raw", contents())
    with tarfile.open(raw / NEWS.archive.name, "w:gz") as archive:
        for name in (NEWS.german, NEWS.english):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(entry)
    assert_refused(raw, tmp_path, "holds no file training/news-commentary")


def test_a_permission_that_is_missing_for_an_unpacked_file_is_said(raw, tmp_path):
    path = raw / NEWS.german
    path.parent.mkdir()
    path.write_bytes(contents()[NEWS.archive.name][NEWS.german])
    path.chmod(0)
    with unprivileged():
        assert_refused(raw, tmp_path, f"permission denied for {path}")


def test_tokens_on_a_full_disk_are_an_error_and_no_signal(raw, tmp_path):
    """A mapped file would kill the process."""
    resource = pytest.importorskip("resource")
    code = (
        "import resource, sys; from pathlib import Path; import numpy as np\n"
        "from algoperf.datasets.wmt.prepare import _write_tokens\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "n = np.full(10_000, 20); ends = np.arange(10_001) * 20\n"
        "try: _write_tokens(Path(sys.argv[1]), np.zeros(200_000, np.uint16), n,"
        " np.arange(10_000), ends)\n"
        "except OSError as error: print(error.strerror)\n"
    )
    assert resource
    command = [sys.executable, "-c", code, str(tmp_path / "tokens.npy")]
    found = subprocess.run(command, capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (0, "File too large\n"), found.stderr
