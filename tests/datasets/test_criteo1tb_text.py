"""Lines of the Criteo logs become numbers: hashing, rounding, bad fields."""

import math

import numpy as np
import pytest
from criteo1tb_lines import line, parse

from algoperf.datasets.criteo1tb import fingerprint, reader, text
from algoperf.datasets.criteo1tb.lines import LineSource
from algoperf.errors import BadData

# Fact sheet of the benchmark, checked there against TensorFlow.
HASHES_MOD_1000003 = {
    "": 377723,
    "a": 291400,
    "abc": 152962,
    "hello": 497363,
    "0000000000": 401803,
    "deadbeef13": 79365,
}
BUCKETS = [  # value, column, bucket, row of the table
    ("00000000", 0, 16124033, 3541121),
    ("62770d79", 0, 8327193, 4132889),
    ("e21f5d58", 1, 17147, 17147),
    ("afea442f", 2, 8748, 8748),
    ("945c7fcf", 3, 1094, 1094),
    ("38b02748", 4, 15178, 15178),
    ("66666666", 0, 35339429, 1784996),  # rounded to 35339428
    ("00000000", 9, 27691836, 2526012),
    ("3580aa21", 6, 4293, 4293),
    ("00000000", 25, 8, 8),
    ("28808903", 9, 26330836, 1165012),
    ("b519ec44", 19, 1485913, 1485913),
    ("6fcd6dcb", 5, 1, 1),
]
NUM_EMBEDDINGS = 4_194_304


@pytest.mark.parametrize(("string", "remainder"), HASHES_MOD_1000003.items())
def test_fingerprints_are_those_of_farmhash(string, remainder):
    characters = np.frombuffer(string.encode(), np.uint8).reshape(1, -1)
    assert fingerprint.fingerprint64(characters)[0] % 1_000_003 == remainder


def test_longer_strings_are_refused():
    with pytest.raises(ValueError, match="17 characters"):
        fingerprint.fingerprint64(np.zeros((1, 17), np.uint8))


@pytest.mark.parametrize(("value", "column", "bucket", "row"), BUCKETS)
def test_categories_fall_into_the_published_buckets_and_rows(
    value, column, bucket, row
):
    categories = [""] * column + [value]
    fields = parse(line(categories=categories))
    assert fields[2][column, 0] == bucket
    inputs, _ = reader.pack(*fields)
    assert int(inputs[0, 13 + column]) % NUM_EMBEDDINGS == row


def test_whole_columns_are_hashed_as_single_strings_are():
    rng = np.random.default_rng(0)
    values = [f"{number:08x}" for number in rng.integers(0, 2**32, 50)]
    _, _, buckets = parse("".join(line(categories=[v] * 26) for v in values))
    for column, size in enumerate(reader.NUM_BUCKETS):
        strings = "".join(f"{value}{column}" for value in values).encode()
        characters = np.frombuffer(strings, np.uint8).reshape(len(values), -1)
        hashes = fingerprint.fingerprint64(characters)
        np.testing.assert_array_equal(buckets[column], hashes % np.uint64(size))


def test_buckets_above_2_to_24_are_rounded_to_float32_and_exact_ones_kept():
    labels, logarithms, buckets = parse(line("1", categories=["66666666"]))
    inputs, extras = reader.pack(labels, logarithms, buckets)
    assert inputs[0, 13] == 35339428
    assert inputs[0, 13] % 2**22 == 1784996
    exact = reader.exact_buckets(inputs, extras)
    assert exact[0, 0] == 35339429
    assert exact[0, 0] % 2**22 == 1784997
    np.testing.assert_array_equal(exact, buckets.T)
    assert reader.labels_of(extras).tolist() == [1]


def test_every_bucket_and_label_survives_packing():
    rng = np.random.default_rng(1)
    sizes = np.array(reader.NUM_BUCKETS)[:, np.newaxis]
    buckets = np.concatenate(
        [rng.integers(0, sizes, (26, 5000)), sizes - 1, sizes * 0], axis=1
    ).astype(np.int32)
    labels = rng.integers(0, 2, buckets.shape[1]).astype(np.uint8)
    logarithms = np.zeros((13, len(labels)), np.float32)
    inputs, extras = reader.pack(labels, logarithms, buckets)
    np.testing.assert_array_equal(inputs[:, 13:], buckets.T.astype(np.float32))
    np.testing.assert_array_equal(reader.exact_buckets(inputs, extras), buckets.T)
    np.testing.assert_array_equal(reader.labels_of(extras), labels)


def test_empty_fields_and_minus_one_are_missing():
    given = line("-1", ["-1", "", "-3"], ["-1", "", "00000000"])
    labels, logarithms, buckets = parse(given + line())
    assert labels.tolist() == [0, 0]
    assert not logarithms.any()
    assert (buckets[:, 0] == buckets[:, 1]).all()
    assert buckets[0, 0] == 16124033
    assert buckets[25, 0] == 8


@pytest.mark.parametrize(
    "value",
    ["0", "1", "9", "10", "12345678", "00000007", "123456789", "2147483647", "9" * 12],
)
def test_integers_become_logarithms(value):
    _, logarithms, _ = parse(line(integers=["0", value]))
    assert logarithms.dtype == np.float32
    assert logarithms[1, 0] == np.float32(math.log(1 + int(value)))


@pytest.mark.parametrize("value", ["-2", "-12345678", "-123456789", "-999999999999"])
def test_negative_integers_are_clipped(value):
    assert parse(line(integers=[value]))[1][0, 0] == 0


def test_labels_are_zero_or_one():
    assert parse(line("1") + line("0") + line(""))[0].tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (line("2"), "row 3 has '2' in column 1: a label is 0 or 1"),
        (line("01"), "row 3 has '01' in column 1"),
        (line(integers=["7", "x"]), "row 3 has 'x' in column 3: not an integer"),
        (line(integers=["1.5"]), "row 3 has '1.5' in column 2"),
        (line(integers=["-"]), "row 3 has '-' in column 2"),
        (line(integers=["--1"]), "row 3 has '--1' in column 2"),
        (line(integers=["+1"]), "row 3 has '\\+1' in column 2"),
        (
            line(integers=["1" * 9 + "_1"]),
            "row 3 has '1{9}_1' in column 2: not an integer",
        ),
        (line(categories=["abc"]), "row 3 has 'abc' in column 15: .* 8 characters"),
        (line(categories=["", "123456789"]), "row 3 has '123456789' in column 16"),
        (line(categories=["-2"]), "row 3 has '-2' in column 15"),
        (line().replace("\t", "", 1), "row 3 has 39 columns instead of 40"),
        ("\t" + line(), "row 3 has 41 columns instead of 40"),
        ("\n", "row 3 has 1 columns instead of 40"),
        (line("\x00"), "row 3 has bytes that are no text"),
        (line()[:-1] + "\r\n", "row 3 has '\\\\r' in column 40"),
    ],
)
def test_a_bad_line_is_named_with_its_row_and_column(bad, message):
    with pytest.raises(BadData, match=f"day_0.gz, {message}"):
        parse(line() + line() + bad + line())


def test_rows_are_counted_from_the_beginning_of_the_file():
    with pytest.raises(BadData, match="row 1,001 has 'x'"):
        text.parse(line("x").encode(), "day_0.gz", 1001)


def test_lines_are_taken_whole_and_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr("algoperf.datasets.criteo1tb.lines._BLOCK_BYTES", 7)
    path = tmp_path / "day_0"
    path.write_text("".join(f"line {number}\n" for number in range(10)))
    source = LineSource(path)
    assert source.take(1) == (b"line 0\n", 1)
    source.skip(7)
    assert source.rows_read == 8
    assert b"".join(source.take(5)[0] for _ in range(3)) == b"line 8\nline 9\n"
    assert source.take(5) == (b"", 0)
    source.close()
