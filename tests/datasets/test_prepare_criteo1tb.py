"""Preparing Criteo 1TB: days to files, killed and resumed, bad raw files."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from criteo1tb_lines import line, parse

from algoperf import registry
from algoperf.datasets.criteo1tb import (
    make_embedded,
    prepare,
    reader,
    text,
)
from algoperf.definition import Splits
from algoperf.errors import BadData
from algoperf.prepared import Preparation, PreparedData

MINI = registry.definition("criteo1tb_mini").splits
# 23 days of 5 rows; 8 rows of the last day are test, the other 5 validation.
SMALL = Splits(train=115, eval_train=10, validation=5, test=8)
ROWS_PER_FILE = 4


def numbered_line(number):
    """The first integer is the line's number, by which it is found again."""
    label = "1" if number % 3 == 0 else "0"
    return line(label, [str(number)], [f"{number:08x}"])


def write_day(folder, day, lines):
    content = "".join(lines).encode()
    (folder / f"day_{day}.gz").write_bytes(gzip.compress(content, 1, mtime=0))


@pytest.fixture
def raw(tmp_path):
    """Days in the official layout; row r of day d has the number 1000 d + r."""
    folder = tmp_path / "raw"
    folder.mkdir()
    for day in range(24):
        count = 13 if day == 23 else 5
        write_day(folder, day, [numbered_line(1000 * day + r) for r in range(count)])
    return folder


def run(raw, folder, splits=SMALL, subset=None, rows_per_file=ROWS_PER_FILE, days=None):
    with Preparation(
        folder,
        dataset="criteo1tb",
        format_version=reader.FORMAT_VERSION,
        subset=subset,
    ) as preparation:
        prepare.prepare(
            raw,
            preparation,
            splits=splits,
            subset=subset,
            days=days,
            rows_per_file=rows_per_file,
        )
    return PreparedData.open(
        folder, dataset="criteo1tb", allow_partial=True, verify=True
    )


def read_all(file):
    inputs = np.empty((file.num_rows, reader.NUM_INPUTS), np.float32)
    extras = np.empty(file.num_rows, np.uint16)
    file.read(0, inputs, extras)
    return inputs, extras


def numbers(file):
    """The numbers of the rows of a file made of numbered lines."""
    return np.rint(np.expm1(read_all(file)[0][:, 0].astype(float))).astype(int).tolist()


def test_days_are_cut_into_files_of_a_fixed_number_of_rows(raw, tmp_path):
    data = run(raw, tmp_path / "out")
    files = reader.row_files(data, "train")
    assert [file.path.name for file in files[:3]] == [
        "day_0_00.bin",
        "day_0_01.bin",
        "day_1_00.bin",
    ]
    assert [file.num_rows for file in files] == [4, 1] * 23
    assert numbers(files[2]) == [1000, 1001, 1002, 1003]
    assert numbers(files[3]) == [1004]


def test_the_first_part_of_the_last_day_is_test_and_the_second_validation(
    raw, tmp_path
):
    data = run(raw, tmp_path / "out")
    assert data.counts == {"train": 115, "validation": 5, "test": 8}
    test = reader.row_files(data, "test")
    validation = reader.row_files(data, "validation")
    assert [f.path.name for f in test] == ["day_23_00.bin", "day_23_01.bin"]
    assert [f.path.name for f in validation] == ["day_23_02.bin", "day_23_03.bin"]
    assert [numbers(f) for f in test] == [
        [23000, 23001, 23002, 23003],
        [23004, 23005, 23006, 23007],
    ]
    assert [numbers(f) for f in validation] == [
        [23008, 23009, 23010, 23011],
        [23012],
    ]


def test_full_days_are_cut_into_the_published_files():
    splits = registry.definition("criteo1tb").splits
    assert splits.test == 19 * prepare.ROWS_PER_FILE
    assert -(-splits.validation // prepare.ROWS_PER_FILE) == 17


def test_labels_and_inputs_are_those_of_the_text(raw, tmp_path):
    file = reader.row_files(run(raw, tmp_path / "out"), "train")[0]
    inputs, extras = read_all(file)
    labels, logarithms, buckets = parse("".join(map(numbered_line, range(4))))
    np.testing.assert_array_equal(reader.labels_of(extras), labels)
    np.testing.assert_array_equal(inputs[:, :13], logarithms.T)
    np.testing.assert_array_equal(reader.exact_buckets(inputs, extras), buckets.T)


def test_a_row_takes_158_bytes(raw, tmp_path):
    data = run(raw, tmp_path / "out")
    assert data.path("day_0_00.bin").stat().st_size == 4 * 158


def test_part_of_a_file_can_be_read(raw, tmp_path):
    file = reader.row_files(run(raw, tmp_path / "out"), "train")[0]
    inputs, extras = np.empty((2, 39), np.float32), np.empty(2, np.uint16)
    file.read(1, inputs, extras)
    whole = read_all(file)
    np.testing.assert_array_equal(inputs, whole[0][1:3])
    np.testing.assert_array_equal(extras, whole[1][1:3])


def test_unpacked_raw_files_are_read_too(raw, tmp_path):
    packed = raw / "day_7.gz"
    packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    assert run(raw, tmp_path / "out").counts["train"] == 115


def test_files_are_the_same_whatever_the_size_of_blocks(raw, tmp_path, monkeypatch):
    whole = run(raw, tmp_path / "a").manifest.files
    monkeypatch.setattr("algoperf.datasets.criteo1tb.lines._BLOCK_BYTES", 100)
    assert run(raw, tmp_path / "b").manifest.files == whole


def test_a_subset_takes_equal_parts_of_the_days_that_are_there(raw, tmp_path):
    for day in range(24):
        if day not in (2, 5, 23):
            (raw / f"day_{day}.gz").unlink()
    data = run(raw, tmp_path / "out", subset=7)
    assert data.is_partial
    assert data.counts == {"train": 7, "validation": 5, "test": 7}
    train = [n for file in reader.row_files(data, "train") for n in numbers(file)]
    assert train == [2000, 2001, 2002, 5000, 5001, 5002, 5003]
    validation = reader.row_files(data, "validation")
    assert numbers(validation[0])[0] == 23008


def test_a_subset_can_be_taken_from_chosen_days(raw, tmp_path):
    data = run(raw, tmp_path / "out", subset=4, days=prepare.days_of("2, 5-6,23"))
    assert data.counts == {"train": 4, "validation": 4, "test": 4}
    train = [n for file in reader.row_files(data, "train") for n in numbers(file)]
    assert train == [2000, 5000, 6000, 6001]


def test_a_chosen_day_that_is_missing_is_named(raw, tmp_path):
    (raw / "day_5.gz").unlink()
    with pytest.raises(BadData, match=r"no file day_5\.gz"):
        run(raw, tmp_path / "out", subset=4, days=prepare.days_of("2,5,23"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0-2,24", "'24' is no day, nor a range"),
        ("first", "'first' is no day"),
        ("", "'' is no day"),
        ("1-,23", "'1-' is no day"),
        ("0-2", "name day 23"),
        ("23", "at least one other"),
    ],
)
def test_lists_of_days_that_cannot_be_read_are_refused(text, message):
    with pytest.raises(BadData, match=message):
        prepare.days_of(text)


def test_a_subset_needs_the_last_day(raw, tmp_path):
    (raw / "day_23.gz").unlink()
    with pytest.raises(BadData, match=r"no file day_23\.gz"):
        run(raw, tmp_path / "out", subset=3)


@pytest.fixture(scope="module")
def flights(tmp_path_factory):
    """The shipped flights as raw files in the official layout."""
    raw = tmp_path_factory.mktemp("flights")
    prepare.expand_embedded(raw)
    return raw


def test_the_shipped_flights_are_prepared_by_the_same_code(flights, tmp_path):
    data = run(flights, tmp_path / "out", MINI, rows_per_file=5_000_000)
    assert data.counts == {"train": 92_252, "validation": 10_000, "test": 10_000}
    assert len(reader.row_files(data, "train")) == 23
    late = reader.labels_of(read_all(reader.row_files(data, "test")[0])[1])
    assert 0.25 < late.mean() < 0.29  # 27 % of these months' flights were late


def test_shipped_lines_have_missing_and_negative_fields(flights):
    content = gzip.decompress((flights / "day_0.gz").read_bytes()).decode()
    fields = [row.split("\t") for row in content.splitlines()]
    assert any("" in row[1:14] for row in fields)
    assert any("" in row[14:] for row in fields)
    assert any(value.startswith("-") for row in fields for value in row[1:14])


def test_shipped_tables_are_small():
    folder = Path(prepare.__file__).parent / "embedded"
    assert sum(path.stat().st_size for path in folder.glob("*.gz")) < 1_800_000
    assert (folder / "NOTICE").is_file()


def test_cells_without_a_value_are_written_empty(tmp_path):
    rows = [{"origin": "JFK", "temp": "NA"}, {"origin": "EWR", "temp": "61.5"}]
    make_embedded._write(tmp_path / "x.gz", ("origin", "temp"), rows)
    written = gzip.decompress((tmp_path / "x.gz").read_bytes())
    assert written == b"origin,temp\nJFK,\nEWR,61.5\n"


def test_the_space_estimate_covers_what_is_written(raw, tmp_path):
    run(raw, tmp_path / "out")
    written = sum(path.stat().st_size for path in (tmp_path / "out").iterdir())
    assert written <= prepare.space_needed(raw) <= written + 16_384
    assert prepare.space_needed(None) == 4_373_472_329 * 158


def test_large_raw_files_are_estimated_by_their_sizes(raw, tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "_COUNTED_BYTES", 0)
    size = sum(path.stat().st_size for path in raw.iterdir())
    assert prepare.space_needed(raw) == pytest.approx(2.2 * size, abs=24)


def test_progress_reaches_the_number_of_rows(raw, tmp_path):
    shown = []
    with Preparation(tmp_path / "out", dataset="criteo1tb", format_version=1) as p:
        prepare.prepare(
            raw,
            p,
            splits=SMALL,
            progress=lambda label, done, total: shown.append((done, total)),
        )
    assert max(shown) == (128, 128)


class Killed(Exception):
    pass


def test_a_killed_preparation_goes_on_with_the_next_file(raw, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    parse, parsed = text.parse, []

    def parse_and_break(lines, name, first_row):
        parsed.append((Path(name).name, first_row))
        if parsed[-1] == ("day_2.gz", 5):
            raise Killed
        return parse(lines, name, first_row)

    monkeypatch.setattr(text, "parse", parse_and_break)
    with pytest.raises(Killed):
        run(raw, tmp_path / "out")
    assert (tmp_path / "out" / "day_2_00.bin").exists()
    assert not (tmp_path / "out" / "day_2_01.bin").exists()

    parsed.clear()
    monkeypatch.setattr(
        text, "parse", lambda *a: (parsed.append((Path(a[1]).name, a[2])), parse(*a))[1]
    )
    resumed = run(raw, tmp_path / "out")
    assert not {("day_0.gz", 1), ("day_1.gz", 5), ("day_2.gz", 1)} & set(parsed)
    assert ("day_2.gz", 5) in parsed
    assert resumed.manifest == run(raw, tmp_path / "fresh").manifest


def test_a_file_that_vanished_is_written_anew(raw, tmp_path):
    data = run(raw, tmp_path / "out")
    path = data.path("day_3_01.bin")
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(BadData, match="is missing"):
        PreparedData.open(tmp_path / "out", dataset="criteo1tb")
    run(raw, tmp_path / "out")
    assert path.read_bytes() == content


def test_a_resumed_preparation_with_other_raw_files_is_refused(raw, tmp_path):
    content = (raw / "day_4.gz").read_bytes()
    (raw / "day_4.gz").write_bytes(content[:-1])
    with pytest.raises(BadData, match="cut off"):
        run(raw, tmp_path / "out")
    (raw / "day_4.gz").write_bytes(content)
    with pytest.raises(BadData, match=r"other input \(different: raw_bytes\)"):
        run(raw, tmp_path / "out")


def assert_refused(raw, tmp_path, message, splits=SMALL):
    """One clear error, and nothing that could be taken for prepared data."""
    with pytest.raises(BadData, match=message):
        run(raw, tmp_path / "out", splits)
    with pytest.raises(BadData, match="not finished"):
        PreparedData.open(tmp_path / "out", dataset="criteo1tb")


def test_a_missing_day_is_named_with_where_to_get_it(raw, tmp_path):
    (raw / "day_11.gz").unlink()
    assert_refused(raw, tmp_path, r"(?s)no file day_11\.gz.*ailab\.criteo\.com")


def test_a_renamed_day_is_suggested(raw, tmp_path):
    (raw / "day_11.gz").rename(raw / "day-11.gz")
    assert_refused(raw, tmp_path, r"Did you mean 'day-11\.gz'")


def test_a_missing_folder_is_named(raw, tmp_path):
    assert_refused(raw / "nothing", tmp_path, "no folder .*nothing with raw files")


def test_a_day_too_many_is_named(raw, tmp_path):
    write_day(raw, 24, [line()])
    assert_refused(raw, tmp_path, r"day_24\.gz beside all 24")


def test_a_truncated_day_is_named(raw, tmp_path):
    (raw / "day_9.gz").write_bytes((raw / "day_9.gz").read_bytes()[:-20])
    assert_refused(raw, tmp_path, r"day_9\.gz is cut off: its gzip data end early")


def test_an_unpacked_day_that_ends_within_a_line_is_named(raw, tmp_path):
    (raw / "day_9.gz").unlink()
    (raw / "day_9").write_text((line() * 5)[:-1])
    assert_refused(raw, tmp_path, "day_9 is cut off: row 5 has no line end")


def test_a_corrupt_day_is_named(raw, tmp_path):
    content = bytearray((raw / "day_9.gz").read_bytes())
    content[-8] ^= 0xFF  # in the checksum
    (raw / "day_9.gz").write_bytes(content)
    assert_refused(raw, tmp_path, r"day_9\.gz is damaged")


def test_a_day_that_is_no_gzip_file_is_named(raw, tmp_path):
    (raw / "day_9.gz").write_text("<html>moved</html>")
    assert_refused(raw, tmp_path, r"day_9\.gz is damaged .*Not a gzipped file")


def test_a_row_with_too_few_columns_is_named(raw, tmp_path):
    short = line().replace("\t", "", 1)
    write_day(raw, 9, [*[line()] * 4, short])
    assert_refused(raw, tmp_path, r"day_9\.gz, row 5 has 39 columns")


@pytest.mark.parametrize(("day", "count"), [(9, 4), (23, 12), (23, 14), (9, 0)])
def test_too_few_or_too_many_rows_are_refused(raw, tmp_path, day, count):
    write_day(raw, day, [line()] * count)
    assert_refused(raw, tmp_path, f"Rows of each: .*day_{day} {count}")


def test_the_shipped_flights_are_not_taken_for_the_full_data_set(flights, tmp_path):
    splits = registry.definition("criteo1tb").splits
    with pytest.raises(BadData, match="train 4,195,197,692"):
        run(flights, tmp_path / "out", splits, rows_per_file=5_000_000)


def test_no_space_left_is_said(raw, tmp_path, monkeypatch):
    def full(self, inputs, extras):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(reader.RowWriter, "append", full)
    assert_refused(raw, tmp_path, "No space left on the disk")


def test_files_that_do_not_hold_the_promised_rows_are_refused(tmp_path):
    with Preparation(tmp_path / "out", dataset="criteo1tb", format_version=1) as other:
        with other.part("day_0_00.bin") as path:
            path.write_bytes(b"x" * 158)
        other.finish({"train": 2}, facts={"files": {"train": ["day_0_00.bin"]}})
    data = PreparedData.open(tmp_path / "out", dataset="criteo1tb")
    with pytest.raises(BadData, match="do not hold the 2 rows"):
        reader.row_files(data, "train")


def test_a_file_that_shrinks_while_it_is_read_is_named(raw, tmp_path):
    file = reader.row_files(run(raw, tmp_path / "out"), "train")[0]
    file.path.write_bytes(file.path.read_bytes()[:300])
    with pytest.raises(BadData, match=r"day_0_00\.bin is cut off"):
        read_all(file)


def test_marks_and_line_ends_of_windows_are_read(raw, tmp_path):
    direct = run(raw, tmp_path / "direct").manifest.files
    for path in raw.glob("day_*.gz"):
        text = gzip.decompress(path.read_bytes()).replace(b"\n", b"\r\n")
        path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + text))
    assert run(raw, tmp_path / "out").manifest.files == direct


def test_an_empty_day_is_named(raw, tmp_path):
    (raw / "day_7.gz").write_bytes(b"")
    with pytest.raises(BadData, match=r"day_7\.gz is empty"):
        run(raw, tmp_path / "out")


def test_a_day_without_line_ends_does_not_fill_the_memory(raw, tmp_path):
    (raw / "day_7.gz").write_bytes(gzip.compress(b"1" * 30_000_000))
    with pytest.raises(BadData, match=r"day_7\.gz: row 1 has no end within 1,048,576"):
        run(raw, tmp_path / "out")


def test_a_part_that_vanishes_while_rows_are_read_is_named(raw, tmp_path):
    data = run(raw, tmp_path / "out")
    file = reader.row_files(data, "train")[0]
    file.path.unlink()
    with pytest.raises(BadData, match=r"day_0_00\.bin does not exist"):
        read_all(file)
