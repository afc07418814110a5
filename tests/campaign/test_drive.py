"""What a driver does with a plan, on an engine without machines."""

import pytest
from fakes import KILLED, PREEMPTED, FakeEngine, Notes, Vanish

from algoperf import logs
from algoperf.campaign import attempt
from algoperf.campaign.drive import Drive
from algoperf.campaign.ledger import Campaign, key_of
from algoperf.campaign.records import Records
from algoperf.campaign.verdict import Cause, State
from algoperf.errors import BadLogs
from algoperf.outcome import Outcome, OutcomeRecord
from algoperf.runner.launch import WrongInput
from algoperf.runner.outcomes import Ending

FIRST = "sgd/study_1/blobs_toy/trial_1"


@pytest.fixture
def ledger(make_plan):
    return Campaign(make_plan())


def drive(ledger, engine, **changes):
    notes = Notes()
    complete = Drive(ledger, engine, notes, **changes).run()
    return complete, notes


def states(ledger):
    return {s.key: s.verdict.state for s in ledger.look_at_all()}


def test_every_trial_runs_once_and_is_done(ledger, monkeypatch):
    engine = FakeEngine(monkeypatch)
    assert drive(ledger, engine)[0]
    assert sorted(engine.started) == sorted(ledger.trials)
    assert set(states(ledger).values()) == {State.DONE}
    assert engine.is_closed


def test_one_study_comes_before_the_next_and_long_budgets_first(make_plan, monkeypatch):
    ledger = Campaign(make_plan(workloads=("blobs_short", "blobs"), trials=1))
    engine = FakeEngine(monkeypatch, slots=1)
    drive(ledger, engine)
    assert [key.split("/")[1:3] for key in engine.started] == [
        ["study_1", "blobs_toy"],
        ["study_1", "blobs_short_toy"],
        ["study_2", "blobs_toy"],
        ["study_2", "blobs_short_toy"],
    ]


def test_no_more_run_at_a_time_than_the_engine_takes(ledger, monkeypatch):
    engine = FakeEngine(monkeypatch, slots=3)
    drive(ledger, engine)
    assert engine.most_running == 3


def test_a_finished_campaign_starts_nothing(ledger, monkeypatch):
    drive(ledger, FakeEngine(monkeypatch))
    again = FakeEngine(monkeypatch)
    assert drive(ledger, again)[0]
    assert again.started == []


def test_what_is_missing_runs_and_nothing_else(ledger, monkeypatch):
    keys = list(ledger.trials)
    for key in keys[1:]:
        logs.write_outcome(
            ledger.trials[key].folder, OutcomeRecord(Outcome.NOT_REACHED)
        )
    engine = FakeEngine(monkeypatch)
    drive(ledger, engine)
    assert engine.started == keys[:1]


def test_a_preempted_trial_runs_again_until_it_is_done(ledger, monkeypatch):
    from fakes import REACHED

    engine = FakeEngine(monkeypatch, {FIRST: [PREEMPTED] * 7 + [REACHED]})
    _, notes = drive(ledger, engine)
    assert engine.started.count(FIRST) == 8
    assert ledger.look(FIRST).verdict.attempts == 8
    assert (FIRST, "waiting", True) in notes.lines
    assert states(ledger)[FIRST] is State.DONE


@pytest.mark.parametrize("end", [KILLED, Vanish()])
def test_a_trial_that_keeps_being_lost_is_tried_three_times(ledger, monkeypatch, end):
    engine = FakeEngine(monkeypatch, {FIRST: [end]})
    drive(ledger, engine)
    assert engine.started.count(FIRST) == 3
    state = ledger.look(FIRST)
    assert (state.verdict.state, state.verdict.cause) == (
        State.FAILED,
        Cause.INFRASTRUCTURE,
    )
    others = [key for key in ledger.trials if key != FIRST]
    assert {states(ledger)[key] for key in others} == {State.DONE}


def test_a_lost_trial_runs_again_behind_the_others(ledger, monkeypatch):
    engine = FakeEngine(monkeypatch, {FIRST: [KILLED]}, slots=1)
    drive(ledger, engine)
    assert engine.started[:4] == list(ledger.trials)
    assert engine.started[4:] == [FIRST, FIRST]


@pytest.mark.parametrize(
    ("end", "cause"),
    [
        (Ending(Outcome.INVALID, "a rule was broken"), Cause.INVALID),
        (Ending(Outcome.SUBMISSION_CRASHED, "it raised"), Cause.SUBMISSION),
        (WrongInput("no such thing"), Cause.INPUT),
    ],
)
def test_faults_that_would_come_again_are_not_retried(ledger, monkeypatch, end, cause):
    engine = FakeEngine(monkeypatch, {FIRST: [end]})
    drive(ledger, engine)
    assert engine.started.count(FIRST) == 1
    assert ledger.look(FIRST).verdict.cause is cause


def test_an_attempt_that_cannot_even_start_is_not_started_for_ever(ledger, monkeypatch):
    engine = FakeEngine(monkeypatch)
    monkeypatch.setattr(attempt, "run", lambda job: 1)
    drive(ledger, engine)
    assert engine.started.count(FIRST) == 3
    assert "could not start: status 1" in ledger.look(FIRST).verdict.reason


def test_stopping_starts_nothing_more_and_leaves_everything_resumable(
    ledger, monkeypatch
):
    engine = FakeEngine(monkeypatch, slots=2)
    complete, _ = drive(ledger, engine, should_stop=lambda: len(engine.started) >= 2)
    assert not complete
    assert engine.is_stopped and engine.is_closed
    assert len(engine.started) == 2
    assert set(states(ledger).values()) == {State.WAITING, State.DONE}
    rest = FakeEngine(monkeypatch)
    assert drive(ledger, rest)[0]
    assert set(states(ledger).values()) == {State.DONE}


def test_a_trial_that_another_driver_finished_meanwhile_is_not_started(
    ledger, monkeypatch
):
    last = list(ledger.trials)[-1]

    def finish(key):
        logs.write_outcome(ledger.trials[last].folder, OutcomeRecord(Outcome.REACHED))

    engine = FakeEngine(monkeypatch, slots=1, at_start=finish)
    drive(ledger, engine)
    assert last not in engine.started


def test_an_attempt_at_a_trial_that_is_held_does_not_run_it(ledger, monkeypatch):
    monkeypatch.setattr(attempt, "_PATIENCE_SECONDS", -10.0)
    trial = ledger.trials[FIRST]
    launched = []
    monkeypatch.setattr(attempt, "launch", launched.append)
    job = attempt.Job(trial, ledger.folder)
    with Records(ledger.folder, trial.id).held():
        assert attempt.run(job) == attempt.BUSY
    assert launched == []
    assert states(ledger)[FIRST] is State.WAITING


def test_an_attempt_at_a_trial_that_is_done_does_not_run_it(ledger, monkeypatch):
    trial = ledger.trials[FIRST]
    logs.write_outcome(trial.folder, OutcomeRecord(Outcome.REACHED))
    monkeypatch.setattr(attempt, "launch", lambda plan: pytest.fail("it was run"))
    assert attempt.run(attempt.Job(trial, ledger.folder)) == 0


def test_a_second_driver_is_refused(ledger):
    with ledger.driven():
        assert ledger.is_driven()
        with (
            pytest.raises(BadLogs, match="Another `algoperf campaign run`"),
            Campaign(ledger.plan).driven(),
        ):
            pass
    assert not ledger.is_driven()


def test_a_wish_to_cancel_is_forgotten_by_the_next_driver(ledger):
    ledger.request_cancel()
    assert ledger.is_cancelled()
    with ledger.driven():
        assert not ledger.is_cancelled()


def test_retry_lets_trials_run_again_and_keeps_what_they_logged(ledger, monkeypatch):
    from fakes import REACHED

    end = Ending(Outcome.SUBMISSION_CRASHED, "it raised")
    engine = FakeEngine(monkeypatch, {FIRST: [end, REACHED]})
    drive(ledger, engine)
    assert ledger.retry([Cause.INFRASTRUCTURE]) == []
    (again,) = ledger.retry([Cause.SUBMISSION])
    assert key_of(again) == FIRST
    assert states(ledger)[FIRST] is State.WAITING
    kept = list((ledger.folder / ".campaign" / "set_aside").rglob("outcome.json"))
    assert len(kept) == 1
    drive(ledger, engine)
    assert states(ledger)[FIRST] is State.DONE


def test_retry_after_the_infrastructure_keeps_the_checkpoint(ledger, monkeypatch):
    engine = FakeEngine(monkeypatch, {FIRST: [KILLED]})
    drive(ledger, engine)
    kept = ledger.trials[FIRST].folder / "checkpoints" / "ckpt-1"
    kept.mkdir(parents=True)
    ledger.retry([Cause.INFRASTRUCTURE])
    assert kept.is_dir()
    assert states(ledger)[FIRST] is State.WAITING


def test_a_line_that_a_kill_has_cut_off_costs_no_other(ledger):
    records = ledger.records(ledger.trials[FIRST])
    records.append("began")
    with records.path.open("a") as file:
        file.write('{"event": "end')
    records.append("began")
    assert [line["event"] for line in records.read()] == ["began", "began"]


def test_a_job_survives_its_way_to_another_process(ledger):
    trial = ledger.trials[FIRST]
    job = attempt.Job(
        trial, ledger.folder, "ray", False, trial.settings, (0, 2), {"A": "b"}
    )
    assert attempt.Job.loads(job.dumps()) == job
