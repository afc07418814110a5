"""What becomes of a trial: its state, whose fault a failure was, and whether it runs again."""

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from algoperf.campaign.records import BEGAN, ENDED, RETRIED
from algoperf.outcome import Outcome, OutcomeRecord
from algoperf.runner.outcomes import OUT_OF_MEMORY


class State(enum.Enum):
    """Where a trial stands."""

    WAITING = "waiting"  # to run, or to run again
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"  # not run again unless somebody asks for it


class Cause(enum.Enum):
    """Why an attempt did not end regularly."""

    PREEMPTED = "preempted"
    INFRASTRUCTURE = "infrastructure"
    MEMORY = "memory"
    INVALID = "invalid"
    SUBMISSION = "submission"
    INPUT = "input"  # what was given is wrong; nothing ran
    HARDWARE = "hardware"  # a machine that differs from the study's, or is too slow


# How often a trial runs again by itself after each cause.
RETRIES: Mapping[Cause, float] = {Cause.PREEMPTED: math.inf, Cause.INFRASTRUCTURE: 2}
VANISHED = "the attempt vanished: its process or its machine was lost"


@dataclass(frozen=True)
class Verdict:
    """A trial's state, and how it came to be."""

    state: State
    cause: Cause | None = None
    reason: str = ""
    attempts: int = 0


def cause_of(outcome: Outcome, reason: str) -> Cause | None:
    """Whose fault an ending was; None for a regular one."""
    if outcome is Outcome.PREEMPTED:
        return Cause.PREEMPTED
    if outcome is Outcome.INVALID:
        return Cause.INVALID
    is_crash = outcome in (Outcome.SUBMISSION_CRASHED, Outcome.INFRASTRUCTURE_CRASHED)
    if is_crash and OUT_OF_MEMORY in reason:
        return Cause.MEMORY
    if outcome is Outcome.SUBMISSION_CRASHED:
        return Cause.SUBMISSION
    if outcome is Outcome.INFRASTRUCTURE_CRASHED:
        return Cause.INFRASTRUCTURE
    return None


def judge(
    ending: OutcomeRecord | None,
    records: Sequence[Mapping[str, Any]],
    *,
    is_held: bool,
) -> Verdict:
    """The verdict on a trial from what its folder says.

    ending: of the logs. records: of attempts. is_held: an attempt is running.
    """
    attempts = sum(record.get("event") == BEGAN for record in records)
    if is_held:
        return Verdict(State.RUNNING, attempts=attempts)
    failures = _failures(records)
    if ending is not None:
        cause = cause_of(ending.outcome, ending.reason)
        if cause is None:
            return Verdict(State.DONE, reason=ending.reason, attempts=attempts)
        # Where it was no campaign that ran it, only the logs tell.
        failures = failures or [(cause, ending.reason)]
    if not failures:
        return Verdict(State.WAITING, attempts=attempts)
    cause, reason = failures[-1]
    count = sum(failure[0] is cause for failure in failures)
    state = State.WAITING if count <= RETRIES.get(cause, 0) else State.FAILED
    return Verdict(state, cause, reason, attempts)


def _failures(records: Sequence[Mapping[str, Any]]) -> list[tuple[Cause, str]]:
    """How attempts failed since somebody last asked for the trial to run again."""
    failures: list[tuple[Cause, str]] = []
    is_open = False
    for record in records:
        event = record.get("event")
        if event == RETRIED:
            failures, is_open = [], False
            continue
        if is_open and event == BEGAN:
            failures.append((Cause.INFRASTRUCTURE, VANISHED))
        if event == ENDED and record.get("cause"):
            failures.append((Cause(record["cause"]), str(record.get("reason", ""))))
        is_open = event == BEGAN
    if is_open:
        failures.append((Cause.INFRASTRUCTURE, VANISHED))
    return failures
