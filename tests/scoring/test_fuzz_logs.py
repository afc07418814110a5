"""Damaged logs: never a traceback, and never a better score by losing data.

What cannot be promised is that a digit that turned into another one is noticed. What can: under
a ruleset that scores validation times, whatever a submission's logs lose (files, rows, cells, the
end of a file) either is an error or leaves its score as it was or lower, as long as the others
define the number of studies.
"""

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from scoring_cases import PUBLISHED_TARGETS, unpack_published

from algoperf import logs
from algoperf.errors import AlgoPerfError
from algoperf.scoring.leaderboard import Leaderboard, score

SUBMISSIONS = ("schedule_free_adamw", "baseline", "sinv6_75")
WORKLOADS = ("fastmri", "fastmri_tanh", "wmt", "wmt_glu_tanh", "ogbg")
NUM_MUTATIONS, BATCHES = 500, 5


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A pool of three submissions on three base workloads and two held-out ones."""
    return unpack_published(tmp_path, submissions=SUBMISSIONS, workloads=WORKLOADS)


def result(folder: Path) -> Leaderboard | None:
    """A leaderboard, or None after a clear error; anything else escapes and fails."""
    try:
        board = score(
            logs.read(folder), "v0.5", targets=PUBLISHED_TARGETS, tuning="self"
        )
    except AlgoPerfError as error:
        assert str(error)
        return None
    assert all(0 <= value <= 1 for value in board.scores.values())
    board.to_json()
    board.text()
    return board


def any_bytes(data: bytes, rng: random.Random) -> bytes:
    """Some bytes replaced, inserted or removed."""
    content = bytearray(data)
    for _ in range(rng.randint(1, 5)):
        at = rng.randrange(len(content) or 1)
        kind = rng.randrange(3)
        if kind == 0:
            content[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            content[at:at] = rng.choice(
                [b",", b"\n", b'"', b"\r", b"nan", b"-", b"1e999"]
            )
        else:
            del content[at : at + rng.randint(1, 60)]
    return bytes(content)


def any_cell(data: bytes, rng: random.Random) -> bytes:
    """One cell replaced by something that a cell should not hold."""
    values = [
        b"",
        b"nan",
        b"inf",
        b"-inf",
        b"-1",
        b"x",
        b"1_0",
        b"0x1",
        b"1e400",
        b"9" * 400,
    ]
    return edit_cell(data, rng, rng.choice(values), header=True)


def edit_cell(data: bytes, rng: random.Random, value: bytes, *, header: bool) -> bytes:
    rows = [line.split(b",") for line in data.splitlines()]
    row = rows[rng.randrange(0 if header else 1, len(rows))]
    row[rng.randrange(len(row))] = value
    return b"\n".join(b",".join(row) for row in rows) + b"\n"


def any_row(data: bytes, rng: random.Random) -> bytes:
    """Rows repeated, swapped or moved to another file's end."""
    rows = data.splitlines(keepends=True)
    a, b = rng.randrange(len(rows)), rng.randrange(len(rows))
    rows[a], rows[b] = rng.choice([(rows[b], rows[a]), (rows[a], rows[a])])
    return b"".join(rows)


def lost_end(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def lost_rows(data: bytes, rng: random.Random) -> bytes:
    header, *rows = data.splitlines(keepends=True)
    return header + b"".join(row for row in rows if rng.random() < 0.5)


def lost_cell(data: bytes, rng: random.Random) -> bytes:
    value = rng.choice([b"", b"nan", b"NaN", b"inf", b"-inf", b"?"])
    return edit_cell(data, rng, value, header=False)


def lost_column(data: bytes, rng: random.Random) -> bytes:
    rows = [line.split(b",") for line in data.splitlines()]
    column = rng.randrange(len(rows[0]))
    kept = [b",".join(row[:column] + row[column + 1 :]) for row in rows]
    return b"\n".join(kept) + b"\n"


def lost_file(path: Path, rng: random.Random) -> None:
    """A file, a trial, a workload of a study, or a whole study is gone."""
    folder = path.parents[rng.randrange(4)]
    shutil.rmtree(folder) if rng.random() < 0.7 else path.unlink()


@pytest.mark.parametrize("batch", range(BATCHES))
def test_mutated_logs_give_a_clear_error_or_a_valid_leaderboard(
    small: Path, batch: int
):
    rng = random.Random(batch)
    files = sorted(small.rglob("*.csv")) + sorted(small.rglob("*.json"))[::7]
    for _ in range(NUM_MUTATIONS // BATCHES):
        path = rng.choice(files)
        original = path.read_bytes()
        mutate = rng.choice([any_bytes, any_cell, any_row])
        path.write_bytes(mutate(original, rng))
        result(small)
        path.write_bytes(original)


LOSSES: list[Callable[[bytes, random.Random], bytes]] = [
    lost_end,
    lost_rows,
    lost_cell,
    lost_column,
]


@pytest.mark.parametrize("lose", LOSSES)
def test_lost_data_never_brings_a_better_score(small: Path, lose):
    rng = random.Random(7)
    before = result(small)
    assert before is not None
    files = sorted(small.rglob("*.csv"))
    for _ in range(60):
        path = rng.choice(files)
        original = path.read_bytes()
        path.write_bytes(lose(original, rng))
        assert_not_better(before, result(small), path.relative_to(small).parts[0])
        path.write_bytes(original)


def test_lost_files_never_bring_a_better_score(small: Path, tmp_path_factory):
    rng = random.Random(8)
    before = result(small)
    assert before is not None
    files = sorted(path.relative_to(small) for path in small.rglob("*.csv"))
    for number in range(30):
        copy = tmp_path_factory.mktemp(f"copy_{number}") / "logs"
        shutil.copytree(small, copy, copy_function=os.link)
        path = rng.choice(files)
        lost_file(copy / path, rng)
        assert_not_better(before, result(copy), path.parts[0])


def assert_not_better(
    before: Leaderboard, after: Leaderboard | None, name: str
) -> None:
    if after is not None and name in after.scores:
        assert after.scores[name] <= before.scores[name] + 1e-12
