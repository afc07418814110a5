"""How a trial ended: the record in `outcome.json`, written and read here."""

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from algoperf.errors import BadLogs

OUTCOME_FILE = "outcome.json"


class Outcome(enum.Enum):
    """How a trial ended."""

    REACHED = "reached"  # the targets that the ruleset asks for
    NOT_REACHED = "not reached"
    DIVERGED = "diverged"  # non-finite parameters
    INVALID = "invalid"  # broke a rule
    SUBMISSION_CRASHED = "crashed in the submission"
    INFRASTRUCTURE_CRASHED = "crashed in the infrastructure"
    PREEMPTED = "preempted"  # to be resumed


@dataclass(frozen=True)
class OutcomeRecord:
    """An outcome with its reason, where the wall time went, and what to know about it."""

    outcome: Outcome
    reason: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)  # by phase
    # Of the submission's time waiting for data (`data_wait`), of wall time the rest.
    shares: Mapping[str, float] = field(default_factory=dict)
    caveats: tuple[
        str, ...
    ] = ()  # what to know before comparing this trial with others
    ended: str | None = None  # UTC, ISO 8601; None: an old record

    def to_json(self) -> dict[str, Any]:
        """As JSON object."""
        content: dict[str, Any] = {
            "outcome": self.outcome.value,
            "reason": self.reason,
            "seconds": dict(self.seconds),
        }
        if self.ended is not None:
            content["ended"] = self.ended
        if self.shares or self.caveats:
            content |= {"shares": dict(self.shares), "marks": list(self.caveats)}
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any], where: str) -> "OutcomeRecord":
        """The inverse of `to_json`; BadLogs, which begins with `where`, for no known outcome."""
        try:
            outcome = Outcome(content["outcome"])
        except (KeyError, ValueError):
            known = ", ".join(outcome.value for outcome in Outcome)
            raise BadLogs(
                f"{where}: the field 'outcome' is {content.get('outcome')!r}; it must be "
                f"one of: {known}."
            ) from None
        marks, ended = content.get("marks"), content.get("ended")
        return cls(
            outcome,
            str(content.get("reason", "")),
            _floats(content.get("seconds")),
            _floats(content.get("shares")),
            tuple(map(str, marks)) if isinstance(marks, list) else (),
            None if ended is None else str(ended),
        )


def _floats(record: object) -> dict[str, float]:
    """The numbers among the members of an object; {} where it is none."""
    if not isinstance(record, Mapping):
        return {}
    numbers = {k: v for k, v in record.items() if isinstance(v, int | float)}
    return {str(k): float(v) for k, v in numbers.items() if math.isfinite(v)}
