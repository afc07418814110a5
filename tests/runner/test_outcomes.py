import importlib.util
import json
import signal
import sys

import numpy as np
import pytest

from algoperf import spec
from algoperf.errors import BadData, BadLogs
from algoperf.logs import Outcome, OutcomeRecord, write_outcome
from algoperf.pipeline import InputQueue
from algoperf.runner.outcomes import (
    Ending,
    SubmissionError,
    attribute_errors_to,
    caveats,
    ending_of,
    time_shares,
    traceback_text,
)

SUBMISSION = """
import outcomes_helper

def update_params():
    return outcomes_helper.divide(1, 0)
"""
HELPER = "def divide(a, b):\n    return a / b\n"


class BrokenBatches:
    """Data on a disk that has failed."""

    num_batches = None

    def batch(self, index):
        raise OSError(5, "Input/output error", "part-00001")


@pytest.fixture
def submission(tmp_path, monkeypatch):
    """The module and path of a submission that fails in a sibling file."""
    path = tmp_path / "submission.py"
    path.write_text(SUBMISSION)
    (tmp_path / "outcomes_helper.py").write_text(HELPER)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "outcomes_helper", raising=False)
    found = importlib.util.spec_from_file_location("failing_submission", path)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module, path


@pytest.mark.parametrize(
    ("outcome", "is_failure"),
    [
        (Outcome.REACHED, False),
        (Outcome.NOT_REACHED, False),
        (Outcome.DIVERGED, True),
        (Outcome.INVALID, True),
        (Outcome.SUBMISSION_CRASHED, True),
        (Outcome.INFRASTRUCTURE_CRASHED, True),
        (Outcome.PREEMPTED, True),
    ],
)
def test_a_run_that_reached_its_end_is_no_failure(outcome, is_failure):
    assert Ending(outcome, "").is_failure is is_failure


def test_every_outcome_is_sorted_into_failures_or_not():
    assert len(Outcome) == 7


def test_an_error_of_a_submission_names_function_step_and_line(submission):
    module, path = submission
    with (
        pytest.raises(SubmissionError) as caught,
        attribute_errors_to("update_params", 12, path),
    ):
        module.update_params()
    assert str(caught.value) == (
        "update_params failed at step 12: ZeroDivisionError: division by zero "
        "(outcomes_helper.py, line 2)"
    )


def test_the_original_error_is_kept_for_the_traceback(submission):
    module, path = submission
    with (
        pytest.raises(SubmissionError) as caught,
        attribute_errors_to("update_params", 12, path),
    ):
        module.update_params()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_an_error_outside_the_submissions_folder_has_no_line(tmp_path):
    with (
        pytest.raises(SubmissionError, match=r"ValueError: boom$"),
        attribute_errors_to("update_params", 0, tmp_path / "submission.py"),
    ):
        raise ValueError("boom")


@pytest.mark.parametrize(
    "error",
    [
        spec.TrainingCompleteError(),
        SubmissionError("update_params", 1, "it must return three values."),
    ],
)
def test_errors_that_say_whose_they_are_pass_as_they_are(tmp_path, error):
    with (
        pytest.raises(type(error)) as caught,
        attribute_errors_to("data_selection", 1, tmp_path),
    ):
        raise error
    assert caught.value is error


def test_a_request_to_stop_is_nobodys_error(tmp_path):
    with (
        pytest.raises(KeyboardInterrupt),
        attribute_errors_to("update_params", 1, tmp_path),
    ):
        signal.raise_signal(signal.SIGINT)


class Unprintable(Exception):
    def __str__(self):
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (KeyboardInterrupt(), "failed at step 1: KeyboardInterrupt"),
        (GeneratorExit("x"), "GeneratorExit: x"),
        (BaseException("everything"), "BaseException: everything"),
        (BadData("data are bad"), "BadData: data are bad"),
        (MemoryError("no"), "MemoryError: no"),
        (Unprintable(), "its text cannot be shown: __str__ raised KeyboardInterrupt"),
        (ValueError("\ud800"), r"ValueError: \\ud800"),
        (ValueError("x" * 50_000_000), "50,000,000 characters"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else type(value).__name__,
)
def test_whatever_a_submission_raises_is_its_crash(error, text, tmp_path):
    with (
        pytest.raises(SubmissionError, match=text) as caught,
        attribute_errors_to("update_params", 1, tmp_path),
    ):
        raise error
    ending = ending_of(caught.value)
    assert ending.outcome is Outcome.SUBMISSION_CRASHED
    assert len(ending.reason) < 3_000
    assert len(traceback_text(caught.value)) < 1_100_000
    ending.reason.encode(), traceback_text(caught.value).encode()


def test_a_submission_that_exits_has_crashed(tmp_path):
    with (
        pytest.raises(SubmissionError, match="SystemExit: 0"),
        attribute_errors_to("update_params", 1, tmp_path),
    ):
        raise SystemExit(0)


def test_a_failing_disk_is_not_the_submissions_fault(tmp_path):
    queue = InputQueue(BrokenBatches(), lambda batch: batch)
    with (
        pytest.raises(Exception, match="Input/output error") as caught,
        attribute_errors_to(
            "data_selection",
            1,
            tmp_path / "submission.py",
            is_ours=lambda error: error is queue.failure,
        ),
    ):
        next(queue)
    queue.close()
    assert ending_of(caught.value).outcome is Outcome.INFRASTRUCTURE_CRASHED


def test_an_error_of_a_submission_ends_a_trial_as_its_crash():
    ending = ending_of(SubmissionError("update_params", 3, "KeyError: 'x'"))
    assert ending == Ending(
        Outcome.SUBMISSION_CRASHED, "update_params failed at step 3: KeyError: 'x'"
    )


def test_a_message_for_people_is_the_reason_as_it_is():
    ending = ending_of(BadLogs("Could not write x: No space left on device."))
    assert ending == Ending(
        Outcome.INFRASTRUCTURE_CRASHED, "Could not write x: No space left on device."
    )


def test_any_other_error_is_the_infrastructures_with_its_kind():
    ending = ending_of(ZeroDivisionError("metric"))
    assert ending == Ending(Outcome.INFRASTRUCTURE_CRASHED, "ZeroDivisionError: metric")


def raised_by_a_library(error):
    library = "/usr/lib/python3/site-packages/library.py"
    exec(compile("raise error", library, "exec"), {"error": error})


class OutOfMemoryError(RuntimeError):
    """Named as PyTorch names a GPU without memory."""


class JaxRuntimeError(RuntimeError):
    """JAX has one type for all errors of its runtime."""


DEVICE_MEMORY = [
    OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes."),
]


@pytest.mark.parametrize("error", DEVICE_MEMORY)
def test_a_device_without_memory_is_told_apart(error, tmp_path):
    with (
        pytest.raises(SubmissionError, match="the device ran out of memory") as caught,
        attribute_errors_to("update_params", 3, tmp_path / "submission.py"),
    ):
        raise error
    assert ending_of(caught.value).outcome is Outcome.SUBMISSION_CRASHED


@pytest.mark.parametrize("error", DEVICE_MEMORY)
def test_a_device_without_memory_in_an_evaluation_is_the_infrastructures(error):
    ending = ending_of(error)
    assert ending.outcome is Outcome.INFRASTRUCTURE_CRASHED
    assert ending.reason.startswith("the device ran out of memory: ")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 2 TiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"),
    ],
)
def test_a_host_without_memory_is_the_infrastructures(error, tmp_path):
    with (
        pytest.raises(type(error)) as caught,
        attribute_errors_to("update_params", 3, tmp_path / "submission.py"),
    ):
        raised_by_a_library(error)
    ending = ending_of(caught.value)
    assert ending.outcome is Outcome.INFRASTRUCTURE_CRASHED
    assert ending.reason.startswith("the host ran out of memory: ")


def test_an_array_that_is_too_large_in_a_submission_is_the_hosts_memory(tmp_path):
    path = tmp_path / "submission.py"
    path.write_text("def update_params(numpy):\n    numpy.zeros(2**56)\n")
    found = importlib.util.spec_from_file_location("greedy", path)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    with pytest.raises(MemoryError), attribute_errors_to("update_params", 0, path):
        module.update_params(np)


SECONDS = {
    "setup": 10.0,
    "submission": 50.0,
    "evaluation": 20.0,
    "logging": 1.0,
    "checkpoint": 4.0,
    "total": 100.0,
}


def test_shares_are_of_submission_time_for_data_and_of_wall_time_for_the_rest():
    assert time_shares(SECONDS, data_wait_seconds=5.0) == {
        "data_wait": 0.1,
        "evaluation": 0.2,
        "logging": 0.01,
        "checkpoint": 0.04,
    }


def test_a_trial_without_any_time_has_shares_of_nothing():
    assert set(time_shares({}, 0.0).values()) == {0.0}


@pytest.mark.parametrize(("wait", "is_marked"), [(2.5, False), (2.6, True)])
def test_waiting_for_data_above_five_percent_marks_a_trial(wait, is_marked):
    assert bool(caveats(time_shares(SECONDS, wait), [])) is is_marked


def test_facts_stand_beside_a_recorded_end(tmp_path):
    record = OutcomeRecord(
        Outcome.REACHED, "fast", {"total": 1.0}, caveats=("slow disk",)
    )
    write_outcome(tmp_path, record)
    content = json.loads((tmp_path / "outcome.json").read_text())
    assert content["marks"] == ["slow disk"] and content["reason"] == "fast"
