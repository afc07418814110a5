"""Whether a trial's results were confirmed: the record in `verification.json`, read and written."""

import enum
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from algoperf.trial_meta import utc_now

VERIFICATION_FILE = "verification.json"


class Status(enum.Enum):
    """What came out of a comparison."""

    VERIFIED = "verified"
    DIFFERS = "differs"
    UNKNOWN = "cannot be verified"


@dataclass(frozen=True)
class Check:
    """One comparison: of what, its result, and by how much or why."""

    what: str
    status: Status
    detail: str = ""


@dataclass(frozen=True)
class Verification:
    """All comparisons of a trial; `rows` is the SHA-256 of the rows that were compared."""

    checks: Sequence[Check]
    rows: str
    at: str = ""  # UTC, ISO 8601

    @property
    def status(self) -> Status:
        """Differs if anything does; verified if evaluations and times are."""
        found = {check.status for check in self.checks}
        needed = [c for c in self.checks if c.what in NEEDED]
        if Status.DIFFERS in found:
            return Status.DIFFERS
        is_complete = {c.what for c in needed} == set(NEEDED)
        is_good = all(check.status is Status.VERIFIED for check in needed)
        return Status.VERIFIED if is_complete and is_good else Status.UNKNOWN

    @property
    def reason(self) -> str:
        """Why it is not verified; empty if it is."""
        wanted = self.status
        texts = [
            f"{check.what}: {check.detail}"
            for check in self.checks
            if check.status is wanted and wanted is not Status.VERIFIED
        ]
        return "; ".join(texts)

    def to_json(self) -> dict[str, Any]:
        """As JSON object."""
        return {
            "status": self.status.value,
            "at": self.at or utc_now(),
            "rows_sha256": self.rows,
            "checks": [
                {"what": c.what, "status": c.status.value, "detail": c.detail}
                for c in self.checks
            ],
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Verification":
        """The inverse of `to_json`; a record that is none verifies nothing."""
        try:
            checks = [
                Check(str(c["what"]), Status(c["status"]), str(c.get("detail", "")))
                for c in content["checks"]
            ]
            return cls(checks, str(content["rows_sha256"]), str(content.get("at", "")))
        except (KeyError, TypeError, ValueError, AttributeError):
            return cls((), "")

    def is_of(self, rows: Path) -> bool:
        """Whether the rows in a file are still those that were compared."""
        return self.rows == digest_of(rows)


EVALUATIONS, TIMES = "evaluations", "times"
NEEDED = (EVALUATIONS, TIMES)


def digest_of(path: Path) -> str:
    """SHA-256 of a file; empty where there is none."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
