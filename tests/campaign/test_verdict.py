"""What becomes of a trial after each kind of ending."""

import pytest

from algoperf.campaign.records import BEGAN, ENDED, RETRIED
from algoperf.campaign.verdict import Cause, State, judge
from algoperf.outcome import Outcome, OutcomeRecord


def began():
    return {"event": BEGAN}


def ended(cause=None, reason=""):
    return {"event": ENDED, "cause": cause and cause.value, "reason": reason}


def verdict(outcome, records, reason="", is_held=False):
    ending = None if outcome is None else OutcomeRecord(outcome, reason)
    return judge(ending, records, is_held=is_held)


def test_a_trial_that_nothing_is_known_of_waits():
    assert verdict(None, []).state is State.WAITING


@pytest.mark.parametrize(
    "outcome", [Outcome.REACHED, Outcome.NOT_REACHED, Outcome.DIVERGED]
)
def test_a_trial_with_a_regular_outcome_is_done(outcome):
    assert verdict(outcome, [began(), ended()]).state is State.DONE


def test_a_trial_is_done_when_its_outcome_says_so_whatever_the_records_lack():
    """The attempt may have been killed between the outcome and its record."""
    assert verdict(Outcome.REACHED, [began()]).state is State.DONE


def test_a_trial_whose_attempt_holds_the_lock_is_running():
    assert verdict(None, [began()], is_held=True).state is State.RUNNING


def test_preemptions_are_retried_without_limit():
    records = [began(), ended(Cause.PREEMPTED)] * 50
    result = verdict(Outcome.PREEMPTED, records)
    assert result.state is State.WAITING
    assert result.attempts == 50


@pytest.mark.parametrize(
    ("failures", "state"), [(1, "waiting"), (2, "waiting"), (3, "failed")]
)
def test_the_infrastructure_may_fail_twice(failures, state):
    records = [began(), ended(Cause.INFRASTRUCTURE, "SIGKILL")] * failures
    result = verdict(Outcome.INFRASTRUCTURE_CRASHED, records)
    assert (result.state.value, result.cause) == (state, Cause.INFRASTRUCTURE)


def test_an_attempt_that_vanished_counts_as_infrastructure():
    assert verdict(None, [began()]).state is State.WAITING
    result = verdict(None, [began(), began(), began()])
    assert (result.state, result.cause) == (State.FAILED, Cause.INFRASTRUCTURE)
    assert "vanished" in result.reason


def test_preemptions_between_do_not_forgive_failures():
    records = [
        *[began(), ended(Cause.INFRASTRUCTURE)] * 2,
        *[began(), ended(Cause.PREEMPTED)] * 3,
        *[began(), ended(Cause.INFRASTRUCTURE)],
    ]
    assert verdict(None, records).state is State.FAILED


@pytest.mark.parametrize(
    "cause",
    [Cause.MEMORY, Cause.INVALID, Cause.SUBMISSION, Cause.INPUT, Cause.HARDWARE],
)
def test_other_causes_are_never_retried(cause):
    result = verdict(None, [began(), ended(cause, "why")])
    assert (result.state, result.cause, result.reason) == (State.FAILED, cause, "why")


@pytest.mark.parametrize(
    ("outcome", "reason", "cause"),
    [
        (Outcome.INVALID, "broke a rule", Cause.INVALID),
        (Outcome.SUBMISSION_CRASHED, "raised", Cause.SUBMISSION),
        (
            Outcome.SUBMISSION_CRASHED,
            "update_params failed at step 3: the device ran out of memory: x",
            Cause.MEMORY,
        ),
        (
            Outcome.INFRASTRUCTURE_CRASHED,
            "the host ran out of memory: MemoryError",
            Cause.MEMORY,
        ),
    ],
)
def test_a_trial_that_was_run_outside_of_a_campaign_is_judged_by_its_outcome(
    outcome, reason, cause
):
    result = verdict(outcome, [], reason)
    assert (result.state, result.cause) == (State.FAILED, cause)


def test_asking_for_a_retry_forgets_what_was_before():
    records = [*[began(), ended(Cause.INFRASTRUCTURE)] * 3, {"event": RETRIED}]
    assert verdict(None, records).state is State.WAITING
    records += [began(), ended(Cause.INFRASTRUCTURE)]
    assert verdict(None, records).state is State.WAITING
