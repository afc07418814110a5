import importlib.util

import pytest

from algoperf import spec
from algoperf.errors import BadData, BadLogs
from algoperf.logs import Outcome
from algoperf.pipeline import InputQueue
from algoperf.runner.outcomes import Ending, SubmissionError, blamed_on, ending_of

SUBMISSION = """
import helper

def update_params():
    return helper.divide(1, 0)
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
    (tmp_path / "helper.py").write_text(HELPER)
    monkeypatch.syspath_prepend(str(tmp_path))
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
        blamed_on("update_params", 12, path),
    ):
        module.update_params()
    assert str(caught.value) == (
        "update_params failed at step 12: ZeroDivisionError: division by zero "
        "(helper.py, line 2)"
    )


def test_the_original_error_is_kept_for_the_traceback(submission):
    module, path = submission
    with (
        pytest.raises(SubmissionError) as caught,
        blamed_on("update_params", 12, path),
    ):
        module.update_params()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_an_error_outside_the_submissions_folder_has_no_line(tmp_path):
    with (
        pytest.raises(SubmissionError, match=r"ValueError: boom$"),
        blamed_on("update_params", 0, tmp_path / "submission.py"),
    ):
        raise ValueError("boom")


@pytest.mark.parametrize(
    "error",
    [
        spec.TrainingCompleteError(),
        BadData("damaged"),
        SubmissionError("update_params", 1, "it must return three values."),
    ],
)
def test_errors_that_say_whose_they_are_pass_as_they_are(tmp_path, error):
    with pytest.raises(type(error)) as caught, blamed_on("data_selection", 1, tmp_path):
        raise error
    assert caught.value is error


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_request_to_stop_is_nobodys_error(tmp_path, error):
    with pytest.raises(error), blamed_on("update_params", 1, tmp_path):
        raise error


def test_a_failing_disk_is_not_blamed_on_the_submission(tmp_path):
    queue = InputQueue(BrokenBatches(), lambda batch: batch)
    with (
        pytest.raises(Exception, match="Input/output error") as caught,
        blamed_on("data_selection", 1, tmp_path / "submission.py"),
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
    ending = ending_of(MemoryError("host"))
    assert ending == Ending(Outcome.INFRASTRUCTURE_CRASHED, "MemoryError: host")
