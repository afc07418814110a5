"""The rows of a resumed trial: complete, as they were, or refused."""

import csv
import dataclasses

import pytest

from algoperf.errors import BadLogs
from algoperf.logs import EVALUATIONS_FILE, EvaluationRow, TrialLog
from algoperf.runner.checkpoints import rows
from algoperf.runner.checkpoints.files import Checkpoint


def row(step):
    return EvaluationRow.from_json(
        {
            "global_step": step,
            "accumulated_submission_time": 0.1 * step,
            "score": 0.1 * step,
            "total_duration": 0.3 * step,
            "validation/loss": 1 / step,
            **(
                {"test/loss": 2 / step} if step > 1 else {}
            ),  # a column that comes later
        }
    )


@pytest.fixture
def path(tmp_path):
    """The file of a trial with evaluations after steps 1 … 5."""
    log = TrialLog(tmp_path)
    for step in range(1, 6):
        log.add_evaluation(row(step))
    return tmp_path / EVALUATIONS_FILE


def saved_at(step, path):
    """The checkpoint of that step."""
    table = rows.table_of(path.parent)
    table["rows"] = table["rows"][:step]
    return Checkpoint(step, {}, {"rows": table}, {})


def lines_of(path):
    return path.read_text().splitlines(keepends=True)


def test_a_complete_file_stays_as_it_is(path):
    before = path.read_bytes()
    assert rows.restore(path.parent, saved_at(3, path)) == 0
    assert path.read_bytes() == before


@pytest.mark.parametrize("lost", [[1], [2], [3], [1, 2, 3, 4, 5], [2, 5]])
def test_rows_that_are_lost_come_back_as_they_were(path, lost):
    saved, before = saved_at(3, path), lines_of(path)
    path.write_text("".join(line for i, line in enumerate(before) if i not in lost))
    count = rows.restore(path.parent, saved)
    assert count == len([number for number in lost if number <= 3])
    if count:
        assert lines_of(path) == before[:4]


def test_a_file_that_is_lost_comes_back(path):
    saved, before = saved_at(5, path), path.read_bytes()
    path.unlink()
    assert rows.restore(path.parent, saved) == 5
    assert path.read_bytes() == before
    assert len(TrialLog(path.parent, keep_steps=5)._evaluations) == 5


def test_rows_after_the_checkpoint_do_not_matter(path):
    saved = saved_at(3, path)
    lines = lines_of(path)
    path.write_text("".join([*lines, lines[5], lines[4]]))
    assert rows.restore(path.parent, saved) == 0


def test_the_file_may_have_got_columns_since(path):
    saved = saved_at(1, path)
    log = TrialLog(path.parent, keep_steps=5)
    log.add_evaluation(dataclasses.replace(row(6), metrics={"another/metric": 3.0}))
    assert rows.restore(path.parent, saved) == 0


def edited(lines):
    return [lines[0], lines[1], lines[2].replace("0.2,", "0.1,", 1), *lines[3:]]


CHANGES = {  # what: (change of lines, what is said)
    "an edited row": (
        edited,
        r"row 2 \(step 2\): accumulated_submission_time is '0\.1'",
    ),
    "a row twice": (lambda x: [*x[:3], x[2], *x[3:]], r"row 3 \(step 2\) stands twice"),
    "another order": (lambda x: [x[0], x[2], x[1], *x[3:]], "row 2 .*another place"),
    "a row in between": (
        lambda x: [*x[:3], x[2].replace("2,", "2.5,", 1), *x[3:]],
        r"row 3 \(step 2\.5\): the checkpoint has no such evaluation",
    ),
    "no number": (lambda x: [x[0], "x" + x[1], *x[2:]], "row 1: global_step is 'x1'"),
    "a short row": (lambda x: [*x[:2], "2,3\n", *x[3:]], "damaged"),
    "a long row": (lambda x: [x[0], x[1].strip() + ",9\n", *x[2:]], "damaged"),
    "bytes": (lambda x: [x[0], "\x00" + x[1], *x[2:]], "row 1|damaged"),
    "a column twice": (
        lambda x: [x[0].replace("score", "total_duration"), *x[1:]],
        "twice",
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_other_rows_than_the_checkpoints_are_refused_with_file_and_row(path, what):
    change, said = CHANGES[what]
    saved = saved_at(3, path)
    path.write_text("".join(change(lines_of(path))))
    with pytest.raises(BadLogs, match=said) as caught:
        rows.restore(path.parent, saved)
    assert str(path) in str(caught.value)
    assert "remove it: --resume takes its rows from the checkpoint" in str(caught.value)


def test_a_folder_in_the_files_place_is_refused(path):
    saved = saved_at(3, path)
    path.unlink()
    path.mkdir()
    with pytest.raises(BadLogs, match="not a regular file"):
        rows.restore(path.parent, saved)


def test_a_checkpoint_before_the_first_evaluation_has_no_rows(tmp_path):
    saved = Checkpoint(3, {}, {"rows": rows.table_of(tmp_path)}, {})
    assert rows.restore(tmp_path, saved) == 0
    assert not (tmp_path / EVALUATIONS_FILE).exists()


def test_the_table_keeps_every_digit(path):
    with path.open(newline="") as file:
        expected = list(csv.reader(file))
    table = rows.table_of(path.parent)
    assert [table["columns"], *table["rows"]] == expected
