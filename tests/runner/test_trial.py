"""The timed loop, sentence by sentence of the rules about the clock, with a fake time."""

import dataclasses
import threading
from pathlib import Path

import pytest
import toy_backend
import toy_workload

from algoperf import rulesets, spec
from algoperf.errors import BadCheckpoint
from algoperf.logs import Outcome, TrialLog, read_outcome
from algoperf.pipeline import DataRequest, InputQueue
from algoperf.runner.checkpoints.background import BackgroundWriter
from algoperf.runner.checkpoints.schedule import Period, Schedule
from algoperf.runner.clock import Clock, Phase
from algoperf.runner.fairness.stray_workers import StrayWorkers
from algoperf.runner.observers import Observers
from algoperf.runner.outcomes import SubmissionError
from algoperf.runner.trial import Trial
from algoperf.runner.trial_parts import TrialParts
from algoperf.submission import Submission
from algoperf.workload import Workload

MISSED = {"validation/accuracy": 0.5, "test/accuracy": 0.5}
REACHED = {"validation/accuracy": 0.95, "test/accuracy": 0.95}


class Harness:
    """A trial on the toy workload; what takes time says so by advancing the fake time."""

    def __init__(self, fake_time, folder: Path, **changes):
        self.time = fake_time
        self.backend = toy_backend.ToyBackend()
        self.log = TrialLog(folder)
        self.folder = folder
        self.metrics = MISSED
        self.num_evaluations = 0
        self.evaluation_seconds = 7.0
        self.steps = []
        rules = changes.pop("rules", rulesets.ruleset("paper"))
        definition = dataclasses.replace(
            toy_workload.DEFINITION, **changes.pop("definition", {})
        )
        self.workload = Workload(
            definition,
            self.backend,
            toy_workload,
            toy_workload,
            ruleset=rules,
            tuning="external",
        )
        functions = {
            "get_batch_size": lambda name: 16,
            "init_optimizer_state": lambda *a: {},
            "update_params": self.update_params,
            "data_selection": lambda workload, queue, *a: next(queue),
            "prepare_for_eval": None,
            "takes_train_state": False,
        }
        for name in set(functions) & set(changes):
            functions[name] = changes.pop(name)
        self.parts = TrialParts(
            workload=self.workload,
            backend=self.backend,
            submission=Submission(path=folder / "submission.py", **functions),
            rules=rules,
            hyperparameters=None,
            evaluate=self.evaluate,
            open_queue=self.open_queue,
            clock=Clock(fake_time),
            log=self.log,
            observers=Observers(),
            stray_workers=StrayWorkers(),
            seed=1,
            identity={},
            **{"save_checkpoints": False, **changes},
        )
        self.trial = Trial(self.parts)

    def open_queue(self, position: int) -> InputQueue:
        request = DataRequest(self.folder, "train", toy_workload.SPLITS, 16, seed=0)
        batches = toy_workload.open_batches(request)
        return InputQueue(batches, self.backend.place, start=position)

    def evaluate(self, params, model_state):
        self.num_evaluations += 1
        self.time.advance(self.evaluation_seconds)
        return self.metrics

    def update_params(
        self, current_param_container, model_state, optimizer_state, **kwargs
    ):
        self.steps.append(kwargs["global_step"])
        self.time.advance(1.0)
        return optimizer_state, current_param_container, model_state

    def rows(self):
        return self.log._evaluations

    def run(self):
        return self.trial.run()


@pytest.fixture
def harness(fake_time, tmp_path):
    return lambda **changes: Harness(fake_time, tmp_path, **changes)


def test_every_call_of_a_submission_function_is_charged(harness, fake_time):
    def takes(seconds, result):
        def function(*args, **kwargs):
            fake_time.advance(seconds)
            return result(*args, **kwargs)

        return function

    h = harness(max_global_steps=1)
    parts = dataclasses.replace(
        h.parts.submission,
        init_optimizer_state=takes(1, lambda *a: {}),
        data_selection=takes(2, lambda workload, queue, *a: next(queue)),
        update_params=takes(4, lambda **k: ({}, k["current_param_container"], None)),
        prepare_for_eval=takes(8, lambda **k: ({}, k["current_param_container"], None)),
    )
    h.trial = Trial(dataclasses.replace(h.parts, submission=parts))
    h.run()
    assert h.parts.clock.submission_seconds == 1 + 2 + 4 + 8


def test_evaluation_is_not_charged(harness):
    h = harness(max_global_steps=3)
    h.run()
    assert h.parts.clock.submission_seconds == 3
    assert h.parts.clock.seconds(Phase.EVALUATION) == 7 * h.num_evaluations > 0


def test_device_work_enqueued_and_left_is_charged_to_the_submission(harness, fake_time):
    def enqueue(current_param_container, **kwargs):
        toy_backend.DEVICE.enqueue(lambda: fake_time.advance(50))
        return {}, current_param_container, None

    h = harness(max_global_steps=1, update_params=enqueue)
    h.run()
    assert h.parts.clock.submission_seconds == 50
    assert h.rows()[0]["accumulated_submission_time"] == 50


def test_keys_that_wait_for_the_device_let_the_submissions_clock_run(
    harness, fake_time, monkeypatch
):
    def enqueue(current_param_container, **kwargs):
        toy_backend.DEVICE.enqueue(lambda: fake_time.advance(1))
        return {}, current_param_container, None

    def keys(self, numbers):
        toy_backend.DEVICE.wait()
        return list(numbers)

    monkeypatch.setattr(toy_backend.ToyBackend, "keys", keys)
    h = harness(max_global_steps=40, update_params=enqueue)
    h.run()
    assert h.parts.clock.submission_seconds == 40


def test_nothing_is_synchronised_between_evaluations(harness):
    h = harness(max_global_steps=9, definition={"eval_period_seconds": 1_000})
    h.run()
    # Twice in set-up, once before each of the two evaluations.
    assert h.backend.num_synchronized == 2 + 2
    assert h.num_evaluations == 2


def test_the_first_evaluation_comes_after_step_one(harness):
    h = harness(max_global_steps=1)
    h.run()
    assert [row["global_step"] for row in h.rows()] == [1]


def test_an_evaluation_is_due_when_the_period_has_passed_since_the_last_one_ended(
    harness,
):
    h = harness(max_global_steps=25)  # period 10 s, a second a step
    h.run()
    assert [row["global_step"] for row in h.rows()] == [1, 11, 21, 25]


def test_optimizer_initialisation_is_timed_by_the_ruleset(harness, fake_time):
    def slow_init(*args):
        fake_time.advance(30)
        return {}

    rules = rulesets.ruleset("paper")
    timed = harness(max_global_steps=1, init_optimizer_state=slow_init)
    timed.run()
    assert timed.parts.clock.submission_seconds == 31
    free = harness(
        max_global_steps=1,
        init_optimizer_state=slow_init,
        rules=dataclasses.replace(rules, time_optimizer_init=False),
    )
    free.run()
    assert free.parts.clock.submission_seconds == 1


def test_the_budget_is_checked_at_every_step(harness):
    h = harness(definition={"eval_period_seconds": 1_000_000})  # budget 100 s
    ending = h.run()
    assert ending.outcome is Outcome.NOT_REACHED
    assert len(h.steps) == 101  # the step that passes the budget is the last
    assert h.num_evaluations == 1  # after step 1; none when the budget is spent


def test_a_preparation_that_passes_the_budget_gets_no_evaluation(harness, fake_time):
    def sleep(current_param_container, **kwargs):
        fake_time.advance(1_000)
        return {}, current_param_container, None

    h = harness(prepare_for_eval=sleep)
    ending = h.run()
    assert ending.outcome is Outcome.NOT_REACHED and "budget" in ending.reason
    assert h.num_evaluations == 0


def test_device_work_that_passes_the_budget_gets_no_evaluation(harness, fake_time):
    def enqueue(current_param_container, **kwargs):
        toy_backend.DEVICE.enqueue(lambda: fake_time.advance(1_000))
        return {}, current_param_container, None

    h = harness(update_params=enqueue)
    assert h.run().outcome is Outcome.NOT_REACHED
    assert h.num_evaluations == 0


def test_training_complete_ends_the_run_with_one_last_evaluation(harness):
    h = harness()

    def stop(**kwargs):
        if kwargs["global_step"] == 5:
            raise spec.TrainingCompleteError
        return h.update_params(**kwargs)

    h.trial = Trial(
        dataclasses.replace(
            h.parts,
            submission=dataclasses.replace(h.parts.submission, update_params=stop),
        )
    )
    ending = h.run()
    assert (
        ending.outcome is Outcome.NOT_REACHED and "ended its training" in ending.reason
    )
    assert [row["global_step"] for row in h.rows()] == [1, 5]


def test_the_run_ends_when_both_targets_have_been_reached(harness):
    h = harness()
    h.metrics = REACHED
    ending = h.run()
    assert ending.outcome is Outcome.REACHED
    assert len(h.steps) == 1


def test_the_targets_may_be_reached_at_different_evaluations(harness):
    h = harness()
    results = iter(
        [
            {"validation/accuracy": 0.95, "test/accuracy": 0.1},
            {"validation/accuracy": 0.1, "test/accuracy": 0.95},
        ]
    )
    h.trial = Trial(dataclasses.replace(h.parts, evaluate=lambda *a: next(results)))
    assert h.run().outcome is Outcome.REACHED


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.9])
def test_nan_infinity_and_equality_never_reach_a_target(harness, value):
    h = harness(max_global_steps=1)
    h.metrics = {"validation/accuracy": value, "test/accuracy": value}
    assert h.run().outcome is Outcome.NOT_REACHED


def test_parameters_that_are_not_finite_end_the_trial_as_diverged(harness):
    def spoil(current_param_container, **kwargs):
        bad = {k: v * float("nan") for k, v in current_param_container.items()}
        return {}, bad, None

    assert harness(update_params=spoil).run().outcome is Outcome.DIVERGED


def test_an_exception_of_the_submission_names_function_step_and_error(harness):
    def fail(**kwargs):
        raise ValueError("no gradient")

    with pytest.raises(
        SubmissionError, match=r"update_params failed at step 0.*no gradient"
    ):
        harness(update_params=fail).run()


def test_an_exception_in_an_evaluation_is_not_swallowed(harness):
    h = harness()

    def fail(*args):
        raise ZeroDivisionError("metric")

    h.trial = Trial(dataclasses.replace(h.parts, evaluate=fail))
    with pytest.raises(ZeroDivisionError):
        h.run()


@pytest.mark.parametrize("returned", [None, ({}, {}), [{}, {}, None]])
def test_a_return_value_of_the_wrong_form_is_the_submissions_error(harness, returned):
    with pytest.raises(SubmissionError, match="must return"):
        harness(update_params=lambda **k: returned).run()


def test_parameters_of_the_wrong_shape_are_the_submissions_error(harness):
    def cut(current_param_container, **kwargs):
        return {}, {k: v[:1] for k, v in current_param_container.items()}, None

    with pytest.raises(SubmissionError, match="shapes"):
        harness(update_params=cut).run()


def test_a_thread_alive_in_an_evaluation_makes_the_trial_invalid(harness):
    release = threading.Event()
    thread = threading.Thread(target=release.wait, name="secret-work", daemon=True)

    def start(current_param_container, **kwargs):
        thread.start()
        return {}, current_param_container, None

    h = harness(update_params=start)
    ending = h.run()
    release.set()
    thread.join()
    assert ending.outcome is Outcome.INVALID and "secret-work" in ending.reason
    assert h.num_evaluations == 0


def test_train_state_is_passed_only_when_asked_for_and_is_read_only(harness):
    seen = []

    def update(current_param_container, train_state, **kwargs):
        seen.append(train_state)
        return {}, current_param_container, None

    h = harness(max_global_steps=2, update_params=update, takes_train_state=True)
    h.run()
    assert seen[1]["accumulated_submission_time"] == 0
    with pytest.raises(TypeError):
        seen[0]["accumulated_submission_time"] = -1


def test_eval_results_hold_step_and_metrics_of_the_evaluations_so_far(harness):
    seen = []

    def update(current_param_container, eval_results, **kwargs):
        seen.append([(step, dict(metrics)) for step, metrics in eval_results])
        return {}, current_param_container, None

    harness(max_global_steps=2, update_params=update).run()
    assert seen == [[], [(1, MISSED)]]


def test_the_accounting_closes(harness, fake_time):
    h = harness(max_global_steps=12)
    h.run()
    seconds = h.parts.clock.accounting()
    phases = sum(seconds[phase.value] for phase in Phase)
    assert seconds["total"] == phases + seconds["unaccounted"] == fake_time()
    assert seconds["unaccounted"] == 0


def test_the_outcome_and_its_reason_are_kept_in_the_log(harness):
    h = harness(max_global_steps=1)
    ending = h.run()
    h.log.finish(ending.record(h.parts.clock.accounting()))
    record = read_outcome(h.folder)
    assert (record.outcome, record.reason) == (ending.outcome, ending.reason)


def test_the_slowest_process_is_the_runs_clock(harness):
    h = harness(max_global_steps=1)
    h.backend.num_processes = 2
    h.backend.processes.all_reduce_max = lambda seconds: [seconds[0] + 5, *seconds[1:]]
    h.run()
    assert (
        h.rows()[0]["accumulated_submission_time"] == 1 + 5 + 5
    )  # step, then evaluation


def test_all_processes_stop_when_one_says_that_training_is_complete(harness):
    h = harness()
    h.backend.num_processes = 2
    h.backend.processes.all_reduce_max = lambda seconds: [
        seconds[0],
        *[1.0 for _ in seconds[1:]],
    ]
    assert "ended its training" in h.run().reason
    assert len(h.steps) == 1


def test_state_that_cannot_be_saved_costs_the_checkpoint_not_the_trial(harness, capsys):
    h = harness(max_global_steps=12)

    def refuse(tree):
        raise BadCheckpoint("optimizer_state/0 is an object")

    h.backend.to_leaves = refuse
    h.parts = dataclasses.replace(h.parts, save_checkpoints=True)
    h.trial = Trial(h.parts)
    assert h.run().outcome is Outcome.NOT_REACHED
    assert capsys.readouterr().err.count("cannot be resumed") == 1


def test_a_loss_that_is_not_finite_ends_the_trial_as_diverged(harness):
    h = harness()
    h.metrics = {**MISSED, "validation/loss": float("inf")}
    ending = h.run()
    assert ending.outcome is Outcome.DIVERGED
    assert "validation/loss was inf at step 1" in ending.reason
    assert len(h.rows()) == 1


def test_evaluations_are_due_by_steps_where_that_is_asked_for(harness):
    h = harness(max_global_steps=10, eval_period_steps=4)
    h.run()
    assert [row["global_step"] for row in h.rows()] == [1, 5, 9, 10]


def test_a_request_to_stop_ends_the_trial_after_the_step(harness):
    h = harness(save_checkpoints=True)

    def stop_at_four(**kwargs):
        h.parts.stop.is_set |= kwargs["global_step"] == 3
        return h.update_params(**kwargs)

    submission = dataclasses.replace(h.parts.submission, update_params=stop_at_four)
    h.trial = Trial(dataclasses.replace(h.parts, submission=submission))
    ending = h.run()
    assert ending.outcome is Outcome.PREEMPTED and "after step 4" in ending.reason
    assert (h.folder / "checkpoints" / "ckpt-4").is_dir()


@pytest.mark.parametrize(("every", "steps"), [("0", [5, 9, 10]), ("1h", [1, 10])])
def test_the_first_and_the_last_evaluation_have_a_checkpoint(harness, every, steps):
    saved, schedule = [], Schedule(Period.parse(every))
    h = harness(
        max_global_steps=10,
        eval_period_steps=4,
        save_checkpoints=True,
        checkpoint_schedule=schedule,
    )
    h.run()
    saved = [int(p.name[5:]) for p in (h.folder / "checkpoints").glob("ckpt-*")]
    assert sorted(saved) == steps[-2:]


def test_the_clock_books_a_slow_disk_at_the_end_as_logging(harness, fake_time):
    class SlowDisk(BackgroundWriter):
        def wait(self):
            fake_time.advance(7)

    h = harness(max_global_steps=1, save_checkpoints=True, checkpoint_writer=SlowDisk())
    before = h.parts.clock.seconds(Phase.LOGGING)
    h.run()
    assert h.parts.clock.seconds(Phase.LOGGING) - before == 7


def test_all_processes_stop_when_one_is_asked_to(harness):
    h = harness()
    h.backend.num_processes = 2
    h.backend.processes.all_reduce_max = lambda seconds: [
        *seconds[:2],
        *[1.0 for _ in seconds[2:]],
    ]
    assert h.run().outcome is Outcome.PREEMPTED
    assert len(h.steps) == 1


def test_a_stop_waits_for_device_work_on_the_clock(harness, fake_time):
    h = harness(definition={"eval_period_seconds": 1_000})

    def enqueue(**kwargs):
        h.parts.stop.is_set |= kwargs["global_step"] == 2
        toy_backend.DEVICE.enqueue(lambda: fake_time.advance(20))
        return h.update_params(**kwargs)

    submission = dataclasses.replace(h.parts.submission, update_params=enqueue)
    h.trial = Trial(dataclasses.replace(h.parts, submission=submission))
    h.run()
    assert h.parts.clock.submission_seconds == 3 * (1 + 20)


def test_a_breach_of_a_rule_makes_the_trial_invalid_before_its_evaluation(harness):
    h = harness(find_breaches=lambda: ["time.time was replaced"])
    ending = h.run()
    assert ending.outcome is Outcome.INVALID
    assert "time.time was replaced" in ending.reason
    assert h.num_evaluations == 0


def test_memory_in_use_stands_in_every_row(harness):
    h = harness(max_global_steps=1, memory=lambda: {"host_memory_bytes": 5})
    h.run()
    assert h.rows()[0]["host_memory_bytes"] == 5


def test_an_error_of_queued_work_is_the_submissions(harness):
    def enqueue(current_param_container, **kwargs):
        def fail():
            raise ZeroDivisionError("on the device")

        toy_backend.DEVICE.enqueue(fail)
        return {}, current_param_container, None

    with pytest.raises(SubmissionError, match="on the device"):
        harness(update_params=enqueue).run()
