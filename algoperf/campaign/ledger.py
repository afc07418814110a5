"""What a campaign has done and has left, as its folder says: the one truth about it.

The folder has the logs of all trials, the manifest `campaign.json`, and a hidden folder with the
records of attempts. Engines, drivers and `algoperf campaign status` read the same.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import algoperf
from algoperf import files, logs
from algoperf.campaign.plan import Plan, in_order
from algoperf.campaign.records import BEGAN, ENDED, RETRIED, Records
from algoperf.campaign.verdict import (
    Cause,
    State,
    Verdict,
    judge,
)
from algoperf.errors import BadLogs, BadSettings
from algoperf.log_folders import CAMPAIGN_FOLDER
from algoperf.outcome import Outcome, OutcomeRecord
from algoperf.runner.machine import code_digest
from algoperf.runner.plan import TrialPlan
from algoperf.runner.supervision.folder_lock import locked

MANIFEST = "campaign.json"
_CANCEL = "cancel"
# What may change between two runs of a campaign: it may grow, and be described otherwise.
_MAY_CHANGE = {
    "name",
    "folder",
    "submissions",
    "workloads",
    "held_out",
    "held_out_seed",
    "studies",
    "trials",
    "data_dir",
    "hang_seconds",
    "notice_seconds",
    "checkpoints",
    "checkpoint_every",
    "log_to",
}


@dataclass(frozen=True)
class TrialState:
    """A trial of the plan, and what has become of it."""

    plan: TrialPlan
    verdict: Verdict
    record: OutcomeRecord | None = None  # of its last attempt; None: it recorded none

    @property
    def outcome(self) -> Outcome | None:
        """How its last attempt ended."""
        return None if self.record is None else self.record.outcome

    @property
    def key(self) -> str:
        """Its name in the campaign: its folder's path."""
        return key_of(self.plan)


def key_of(plan: TrialPlan) -> str:
    """A trial's name in a campaign."""
    identity = plan.id
    return identity.folder(Path()).as_posix()


class Ledger:
    """Planned trials, and what their folder says about them."""

    def __init__(self, folder: Path, trials: Iterable[TrialPlan]) -> None:
        self.folder = folder
        self.trials = {key_of(trial): trial for trial in trials}

    def records(self, trial: TrialPlan) -> Records:
        """The records of attempts at a trial."""
        return Records(self.folder, trial.id)

    def look(self, key: str) -> TrialState:
        """What has become of one trial by now."""
        trial = self.trials[key]
        ending = logs.read_outcome(trial.folder)
        records = self.records(trial)
        lines = records.read()
        is_open = bool(lines) and lines[-1].get("event") == BEGAN
        is_held = is_open and records.is_held()
        if is_open and not is_held:  # it may have ended between the two looks
            ending = logs.read_outcome(trial.folder)
            lines = records.read()
        return TrialState(trial, judge(ending, lines, is_held=is_held), ending)

    def look_at_all(self) -> list[TrialState]:
        """What has become of every trial."""
        return [self.look(key) for key in self.trials]

    def left(self) -> list[TrialPlan]:
        """The trials that are to run, in the order in which they should start.

        Those that another process still runs are among them: whoever starts one waits for it.
        """
        open_states = (State.WAITING, State.RUNNING)
        states = [s for s in self.look_at_all() if s.verdict.state in open_states]
        return in_order(state.plan for state in states)

    def note_failed_start(self, key: str, reason: str) -> None:
        """Records an attempt that ended before it could record anything itself."""
        records = self.records(self.trials[key])
        records.append(BEGAN)
        records.append(ENDED, cause=Cause.INFRASTRUCTURE.value, reason=reason)

    def retry(self, causes: Iterable[Cause]) -> list[TrialPlan]:
        """Lets failed trials run again; what they have logged is kept, out of the way.

        One that failed by the infrastructure goes on from its last checkpoint.
        """
        wanted, found = set(causes), []
        for state in self.look_at_all():
            verdict = state.verdict
            if verdict.state is State.FAILED and verdict.cause in wanted:
                records = self.records(state.plan)
                with records.held():
                    self._reopen(state.plan, verdict, records)
                found.append(state.plan)
        return found

    def _reopen(self, trial: TrialPlan, verdict: Verdict, records: Records) -> None:
        if trial.folder.exists():
            if verdict.cause is Cause.INFRASTRUCTURE:
                (trial.folder / logs.OUTCOME_FILE).unlink(missing_ok=True)
            else:
                kept = self.folder / CAMPAIGN_FOLDER / "set_aside" / key_of(trial)
                kept = kept.with_name(f"{kept.name}.{time.time_ns()}")
                kept.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(trial.folder, kept)
        records.append(RETRIED)


class Campaign(Ledger):
    """The trials of a plan, which stands in the folder too: in its manifest."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan.folder, plan.trial_plans())
        self.plan = plan

    @classmethod
    def open(cls, folder: Path) -> "Campaign":
        """The campaign whose manifest lies in a folder."""
        content = _read_manifest(folder)["plan"]
        try:
            plan = Plan.from_json(content)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _damaged(folder / MANIFEST, error) from None
        return cls(plan)

    @contextlib.contextmanager
    def driven(self) -> Iterator[None]:
        """Holds the campaign against a second driver; forgets an earlier wish to cancel."""
        try:
            with locked(self.folder / CAMPAIGN_FOLDER / "driver", 0.0):
                self._cancel_file.unlink(missing_ok=True)
                yield
        except BadLogs as error:
            if "in use by another process" not in str(error):
                raise
            raise BadLogs(
                f"Another `algoperf campaign run` is running {self.folder}. Watch it with "
                f"`algoperf campaign status {self.folder}`, or stop it with "
                f"`algoperf campaign cancel {self.folder}`."
            ) from None

    def is_driven(self) -> bool:
        """Whether a driver is running."""
        try:
            with locked(self.folder / CAMPAIGN_FOLDER / "driver", 0.0):
                return False
        except BadLogs:
            return True

    @property
    def _cancel_file(self) -> Path:
        return self.folder / CAMPAIGN_FOLDER / _CANCEL

    def request_cancel(self) -> None:
        """Asks the driver to stop."""
        files.write_atomically(self._cancel_file, "")

    def is_cancelled(self) -> bool:
        """Whether somebody has asked for that."""
        return self._cancel_file.exists()

    def write_manifest(self, **facts: Any) -> Path:
        """Records the plan and the submissions' code; refuses what would mix two campaigns."""
        digests = {
            entry.name: code_digest(entry.path) for entry in self.plan.submissions
        }
        path = self.folder / MANIFEST
        if path.exists():
            self._check_against(_read_manifest(self.folder), digests)
        content = {
            "version": algoperf.__version__,
            "plan": self.plan.as_json(),
            "code": digests,
            **facts,
        }
        files.write_json(path, content)
        return path

    def _check_against(
        self, before: Mapping[str, Any], digests: Mapping[str, str]
    ) -> None:
        # A manifest of an earlier version lacks what was added to plans since.
        defaults = {field.name: field.default for field in dataclasses.fields(Plan)}
        old, new = {**defaults, **before["plan"]}, self.plan.as_json()
        for name in sorted(new.keys() - _MAY_CHANGE):
            if old[name] != new[name]:
                raise BadSettings(
                    f"{self.folder} holds a campaign with {name} = {old[name]!r}; this "
                    f"plan has {new[name]!r}. Their trials cannot be mixed: choose another "
                    "folder."
                )
        entries = {entry["name"]: entry for entry in old["submissions"]}
        for entry in new["submissions"]:
            was = entries.get(entry["name"], entry)
            self._check_entry(was, entry)
            if before.get("code", {}).get(entry["name"], digests[entry["name"]]) != (
                digests[entry["name"]]
            ) and self._has_trials(entry["name"]):
                raise BadSettings(
                    f"The code of submission {entry['name']!r} has changed since its first "
                    f"trials in {self.folder}. Undo the change, or give it another name."
                )

    def _check_entry(self, was: Mapping[str, Any], entry: Mapping[str, Any]) -> None:
        for name in ("framework", "tuning", "search_space"):
            if was[name] != entry[name] and self._has_trials(entry["name"]):
                raise BadSettings(
                    f"Submission {entry['name']!r} in {self.folder} was run with {name} = "
                    f"{was[name]!r}; this plan has {entry[name]!r}. Give it another name."
                )

    def _has_trials(self, name: str) -> bool:
        folder = self.folder / name
        return folder.is_dir() and bool(os.listdir(folder))


def has_manifest(folder: Path) -> bool:
    """Whether a folder is that of a campaign."""
    return (folder / MANIFEST).is_file()


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise BadLogs(
            f"{folder} is not the folder of a campaign: it has no {MANIFEST}. `algoperf "
            "campaign plan` or `campaign run` makes one."
        )
    try:
        content: dict[str, Any] = json.loads(files.read_regular(path))
        if not isinstance(content["plan"], dict):
            raise ValueError("it holds no plan")
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from None
    content["plan"]["folder"] = str(folder.absolute())  # it may have been moved
    return content


def _damaged(path: Path, error: Exception) -> BadLogs:
    return BadLogs(
        f"{path} is damaged ({error!r}). Restore it, or remove it and make it anew with "
        "`algoperf campaign plan`."
    )
