"""The launcher's own measurements, and what it makes of a trial that says otherwise."""

import dataclasses

import pytest

from algoperf.evaluations import EvaluationRow
from algoperf.runner.clock import Clock, Phase
from algoperf.runner.fairness import judgement
from algoperf.runner.fairness.phases import WatchedBoard
from algoperf.runner.fairness.stamps import (
    Recorder,
    Reporter,
    Stamp,
    account_of,
    read_stamps,
)

NAMES = [phase.value for phase in Phase]


def own(**seconds):
    values = dict.fromkeys(NAMES, 0.0) | seconds
    return {**values, "total": seconds.get("total", sum(seconds.values()))}


def row(step=1, **metrics):
    return {"global_step": float(step), "accumulated_submission_time": 1.0, **metrics}


def stamps(evaluation=2.0, submission=8.0, said=None):
    """Of a trial that trained, was evaluated once and ended."""
    end = submission + evaluation
    said = said or {}
    return [
        Stamp(0.0, "opened", own()),
        Stamp(submission, "begin", own(submission=submission), "evaluation"),
        Stamp(end, "end", own(), "evaluation"),
        Stamp(end, "row", own(), row=row(**{"validation/accuracy": 0.5})),
        Stamp(
            end,
            "ended",
            own(**{"submission": submission, "evaluation": evaluation} | said),
        ),
    ]


def test_a_trial_whose_clock_agrees_is_believed():
    assert account_of(stamps()).differences() == []


@pytest.mark.parametrize("said", [7.95, 8.05, 7.87])
def test_small_differences_are_allowed(said):
    assert account_of(stamps(said={"submission": said})).differences() == []


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"submission": 7.8, "total": 10.0}, "7.800 s of submission"),
        ({"submission": 6.0, "evaluation": 4.0}, "4.000 s of evaluation"),
        ({"submission": 6.0, "setup": 2.0}, "2.000 s of setup"),
        ({"submission": 4.0, "evaluation": 1.0, "total": 5.0}, "5.000 s of total"),
    ],
)
def test_a_clock_that_was_changed_is_found(said, words):
    assert any(words in text for text in account_of(stamps(said=said)).differences())


def test_a_resumed_trial_may_book_what_it_had_paid_for():
    said = {"submission": 6.0, "setup": 2.0}
    assert account_of(stamps(said=said), allowance=2.0).differences() == []
    assert account_of(stamps(said=said), allowance=1.0).differences() != []


def test_time_without_a_processor_is_no_fraud():
    busy = stamps(said={"submission": 7.5})
    busy[-1] = dataclasses.replace(busy[-1], waited=0.5)
    found = account_of(busy).differences()
    assert not any("submission" in text for text in found)


def test_rows_in_the_file_are_those_that_were_measured():
    before = [row(1)]
    sent = [Stamp(1.0, "row", own(), row=row(2, **{"test/loss": float("nan")}))]
    rows = [row(1), {**row(2), "test/loss": float("nan"), "preemption_count": 1.0}]
    assert judgement.changed_rows(sent, before, rows, is_resumed=True) == []


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([row(1), {**row(2), "accumulated_submission_time": 0.5}], "was 1.0 when"),
        ([{**row(1), "accumulated_submission_time": 0.5}, row(2)], "step 1 was 1.0"),
        ([row(1)], "the row of step 2 is missing"),
        ([row(1), row(2), row(3)], "the row of step 3 was never measured"),
    ],
)
def test_a_row_that_was_changed_is_found(rows, words):
    sent = [Stamp(1.0, "row", own(), row=row(2))]
    (found,) = judgement.changed_rows(sent, [row(1)], rows, is_resumed=True)
    assert words in found


def test_a_row_before_the_first_that_was_measured_is_found():
    sent = [Stamp(1.0, "row", own(), row=row(2))]
    (found,) = judgement.changed_rows(sent, [], [row(1), row(2)])
    assert "step 1 was never measured" in found


def test_phases_out_of_proportion_are_told():
    found = []
    for number, length in enumerate([9.0, 1.0, 1.0, 1.0, 5.0]):
        at = 20.0 * number
        found += [
            Stamp(at, "begin", own(), "checkpoint"),
            Stamp(at + length, "end", own(), "checkpoint"),
        ]
    assert judgement.long_phases(found) == [
        "a phase of checkpoint lasted 5.0 s, usually 1.0 s"
    ]


def test_stamps_come_back():
    content = {"stamps": [stamp.to_json() for stamp in stamps()]}
    assert read_stamps(content) == stamps()
    with pytest.raises(ValueError, match="no stamps"):
        read_stamps({})


def test_what_is_said_is_stamped_as_it_is_heard(tmp_path):
    recorder = Recorder(tmp_path / "pipe")
    board = WatchedBoard(None)
    clock = Clock(board=board)
    reporter = Reporter(tmp_path / "pipe", clock)
    board.listeners.append(reporter)
    with clock.submission():
        pass
    with clock.evaluation():
        pass
    reporter.on_evaluation(
        EvaluationRow(1, 0.5, 0.0, 0.0, 0.0, 1.0, {"validation/accuracy": 0.5})
    )
    reporter.say("ended")
    recorder.close()
    assert [(s.kind, s.phase) for s in recorder.stamps] == [
        ("opened", None),
        ("begin", "evaluation"),
        ("end", "evaluation"),
        ("row", None),
        ("ended", None),
    ]
    assert recorder.stamps[3].row["validation/accuracy"] == 0.5
    assert not (tmp_path / "pipe").exists() and recorder.faults == []
    times = [stamp.at for stamp in recorder.stamps]
    assert times == sorted(times)


def test_nonsense_in_the_pipe_is_a_fault(tmp_path):
    recorder = Recorder(tmp_path / "pipe")
    with (tmp_path / "pipe").open("wb") as pipe:
        pipe.write(b"nonsense\n[1]\n{}\n")
    recorder.close()
    assert len(recorder.faults) == 3


def test_a_trial_that_never_opens_the_pipe_is_not_waited_for(tmp_path):
    recorder = Recorder(tmp_path / "pipe")
    recorder.close()
    assert recorder.stamps == []
