"""Runs one planned trial in a process of its own, and says how it ended whatever happens to it.

The launcher loads no code of a submission. Launcher and trial share a temporary folder, the
office: the plan, a board per process (see `heartbeat`), stacks of a trial that hung, how each
process of the trial ended, and the caches of compilers, which are removed with it.
"""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from algoperf import exit_status, logs
from algoperf.errors import AlgoPerfError
from algoperf.frameworks import check_framework
from algoperf.logs import Outcome
from algoperf.runner import loggers
from algoperf.runner.checkpoints import files as checkpoint_files
from algoperf.runner.fairness import judgement
from algoperf.runner.fairness.stamps import STAMPS_FILE, Recorder
from algoperf.runner.outcomes import STACKS_FILE, Ending
from algoperf.runner.plan import TrialPlan
from algoperf.runner.settings import Settings
from algoperf.runner.supervision.heartbeat import Sign, read_sign
from algoperf.runner.supervision.preemption import StopRequest
from algoperf.runner.supervision.processes import ProcessTree
from algoperf.runner.supervision.watchdog import (
    GRACE_SECONDS,
    outlasted_notice,
    spent_in_step,
)
from algoperf.runner.trial_observers import Audience, TrialObserver

TRIAL_MODULE = "algoperf.runner.trial_process"
_LOOK_SECONDS = 1.0
# The trial's own watchdog comes first.
_PATIENCE_SECONDS = 2 * GRACE_SECONDS
# Signals that native code of a submission's making brings upon its process. Others, such as
# SIGKILL from a host without memory or SIGBUS from a full disk, come from the machine.
_CRASH_SIGNALS = {
    signal.SIGABRT,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGSEGV,
    signal.SIGTRAP,
}
# Where compilers keep what they made: a trial must not find what another has paid for.
_CACHE_VARIABLES = (
    "TORCHINDUCTOR_CACHE_DIR",
    "TRITON_CACHE_DIR",
    "TORCH_EXTENSIONS_DIR",
    "CUDA_CACHE_PATH",
    "NUMBA_CACHE_DIR",
)
_OPTIONAL_CACHE_VARIABLES = ("JAX_COMPILATION_CACHE_DIR",)  # setting it switches it on


class WrongInput(AlgoPerfError):
    """What was given is wrong, as the trial's process found out; nothing was logged."""


@dataclass(frozen=True)
class Office:
    """The folder that a launcher and the processes of its trial share."""

    folder: Path

    @property
    def plan_file(self) -> Path:
        """The trial's plan, as JSON."""
        return self.folder / "plan.json"

    @property
    def pipe(self) -> Path:
        """Through which the trial tells the launcher of its phases and rows."""
        return self.folder / "stamps"

    @property
    def launch_file(self) -> Path:
        """The launcher's process id and the moment of the launch."""
        return self.folder / "launch.json"

    def board_file(self, rank: int) -> Path:
        """The board of one process."""
        return self.folder / f"board_{rank}"

    def stacks_file(self, rank: int) -> Path:
        """What every thread of a process was doing when it hung."""
        return self.folder / STACKS_FILE.format(rank=rank)

    def tell(self, rank: int, **what: Any) -> None:
        """Leaves the last word of a process; the first one counts."""
        path = self.folder / f"last_word_{rank}.json"
        if not path.exists():
            content = {"rank": rank, "at": time.perf_counter(), **what}
            logs.write_atomically(path, json.dumps(content))

    def last_words(self) -> list[dict[str, Any]]:
        """What processes have left, in the order of time."""
        words = [
            json.loads(p.read_text()) for p in self.folder.glob("last_word_*.json")
        ]
        return sorted(words, key=lambda word: float(word["at"]))

    def own_folders(self) -> dict[str, str]:
        """Variables that give compilers and temporary files folders of this trial."""
        optional = [name for name in _OPTIONAL_CACHE_VARIABLES if name in os.environ]
        temporary = self.folder / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        return {"TMPDIR": str(temporary)} | {
            name: str(self.folder / "caches" / name.lower())
            for name in (*_CACHE_VARIABLES, *optional)
        }


def launch(plan: TrialPlan, observers: Sequence[TrialObserver] = ()) -> Ending:
    """Runs the trial to its end; raises `WrongInput` if it could not even begin.

    Also tells `observers`, and the loggers that the settings name, how it goes.
    """
    with tempfile.TemporaryDirectory(
        prefix="algoperf-", ignore_cleanup_errors=True
    ) as folder:
        office = Office(Path(folder))
        variables = environment(plan, office)  # before a logger sets any
        audience = Audience(plan, [*loggers.make(plan.settings.log_to), *observers])
        stop, record = StopRequest(), None
        with stop.listen():  # a logger may take long to start
            audience.start()
        try:
            ending = _launch(plan, office, variables, audience, stop)
            record = logs.read_outcome(plan.folder) or ending.record()
            return ending
        finally:
            audience.end(record)


def _launch(
    plan: TrialPlan,
    office: Office,
    variables: Mapping[str, str],
    audience: Audience,
    stop: StopRequest,
) -> Ending:
    office.plan_file.write_text(plan.dumps())
    launch = {"launcher": os.getpid(), "at": time.perf_counter()}
    office.launch_file.write_text(json.dumps(launch))
    recorder = Recorder(office.pipe) if hasattr(os, "mkfifo") else None
    before = judgement.rows_before(plan.folder)
    is_resumed = (plan.folder / checkpoint_files.FOLDER).is_dir()
    part = len(list(plan.folder.glob("meta_data_*.json")))
    tree = ProcessTree(_command(plan.settings, office), variables)
    try:
        with stop.listen(then=lambda: tree.notify(TRIAL_MODULE)):
            if stop.is_set:
                tree.notify(TRIAL_MODULE)
            death = _wait(tree, office, plan.settings, stop, audience)
    finally:
        tree.end()
        if recorder is not None:
            recorder.close()
    ending = _ending(plan, office, death, stop)
    if recorder is None or not plan.folder.is_dir():
        return ending
    logs.write_json(plan.folder / STAMPS_FILE.format(part=part), recorder.to_json())
    found = judgement.breaches(recorder, before, plan.folder, is_resumed=is_resumed)
    return _judged(plan, ending, found, judgement.long_phases(recorder.stamps))


def _command(settings: Settings, office: Office) -> list[str]:
    # -P: a folder `algoperf` of the current one is not ours.
    module = [TRIAL_MODULE, str(office.folder)]
    if settings.num_processes == 1:
        return [sys.executable, "-P", "-m", *module]
    starter = check_framework(settings.framework).process_starter
    assert starter is not None  # Settings have seen to it
    count = str(settings.num_processes)
    return [sys.executable, "-P", "-m", starter, count, *module]


def environment(plan: TrialPlan, office: Office) -> dict[str, str]:
    """What a trial's process starts with: the user's variables win over the definition's."""
    return {
        **plan.settings.environment,
        **os.environ,
        **office.own_folders(),
        "PYTHONSAFEPATH": "1",
    }


@dataclass(frozen=True)
class _Death:
    """How a trial's processes ended, and what the board of the first one said last."""

    status: int | None  # None: ended from here
    sign: Sign
    is_overtime: bool = False  # a step outlasted the budget or the notice
    rank: int = 0


def _wait(
    tree: ProcessTree,
    office: Office,
    settings: Settings,
    stop: StopRequest,
    audience: Audience,
) -> _Death:
    """Waits for the end, and looks whether it has to be brought about from here."""
    board, stopped_at = office.board_file(0), None
    allowed = settings.notice_seconds + _PATIENCE_SECONDS
    while True:
        try:
            status = tree.process.wait(_LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            sign, now = read_sign(board), time.perf_counter()
            audience.heartbeat(sign)
            if stop.is_set and stopped_at is None:
                stopped_at = now
            is_late = stopped_at is not None and now - stopped_at > allowed
            if is_late or sign.is_over_budget(allowed):
                return _Death(None, sign, is_overtime=True)
            if sign.silent_seconds > sign.quiet_limit + 6 * GRACE_SECONDS:
                return _Death(None, sign)
        else:
            rank, status = _first_failure(office, status)
            return _Death(status, read_sign(office.board_file(rank)), rank=rank)


def _first_failure(office: Office, status: int) -> tuple[int, int]:
    """Rank and exit status of the process to blame; `status` is the one that was waited for.

    Of several that failed, as the starter of several processes tells it, one without a last
    word: the others noticed that it was gone, and said so.
    """
    try:
        content = json.loads((office.folder / "failed.json").read_text())
    except (OSError, ValueError):
        return 0, status
    failed = {int(rank): int(code) for rank, code in content.items()}
    spoke = {word["rank"] for word in office.last_words()}
    rank = min(failed.keys() - spoke or failed)
    return rank, failed[rank]


def _ending(
    plan: TrialPlan, office: Office, death: _Death, stop: StopRequest
) -> Ending:
    """The recorded ending; where there is none, or another process failed first, records it."""
    words = office.last_words()
    wrong = [word for word in words if "wrong_input" in word]
    if wrong:
        raise WrongInput(wrong[0]["wrong_input"])
    _keep_stacks(plan, office)
    record = logs.read_outcome(plan.folder)
    is_silent = death.rank and death.rank not in {word["rank"] for word in words}
    if words and not is_silent:
        ending = _told(words[0])
        if record is not None and not (ending.is_failure and words[0]["rank"]):
            return Ending(record.outcome, record.reason)
    elif record is not None and not is_silent:
        return Ending(record.outcome, record.reason)
    else:
        ending = _unexplained(plan.settings, office, death, stop)
    logs.write_outcome(plan.folder, ending.record())
    return ending


def _judged(
    plan: TrialPlan, ending: Ending, found: Sequence[str], caveats: Sequence[str]
) -> Ending:
    """The ending after the stamps were compared; records what they change."""
    record = logs.read_outcome(plan.folder) or ending.record()
    if found and ending.outcome is not Outcome.INVALID:
        reason = f"as the launcher measured it: {judgement.said(found)}"
        ending = Ending(Outcome.INVALID, reason)
    if (
        found
        or caveats
        or (record.outcome, record.reason)
        != (
            ending.outcome,
            ending.reason,
        )
    ):
        changed = dataclasses.replace(
            record,
            outcome=ending.outcome,
            reason=ending.reason,
            caveats=(*record.caveats, *caveats),
        )
        logs.write_outcome(plan.folder, changed)
    return ending


def _told(word: Mapping[str, Any]) -> Ending:
    """What a process said of its end."""
    where = f"in process {word['rank']}: " if word["rank"] else ""
    return Ending(Outcome(word["outcome"]), f"{where}{word['reason']}")


def _unexplained(
    settings: Settings, office: Office, death: _Death, stop: StopRequest
) -> Ending:
    """Whose fault it is that a process ended without an outcome."""
    sign, status = death.sign, death.status
    if stop.is_set:
        reason = (
            outlasted_notice(settings.notice_seconds)
            if death.is_overtime
            else "SIGTERM ended it before its first step"
        )
        return Ending(Outcome.PREEMPTED, reason)
    if death.is_overtime:
        reason = spent_in_step(sign.budget_seconds, sign.step)
        return Ending(Outcome.NOT_REACHED, reason)
    stacks = office.stacks_file(death.rank)
    has_stacks = stacks.is_file() and stacks.stat().st_size > 0
    if status is None:
        reason = "the process was unresponsive and was killed"
        return Ending(Outcome.INFRASTRUCTURE_CRASHED, reason)
    if status == exit_status.FAILED and has_stacks:
        reason = f"it hung in native code; {stacks.name} shows what every thread did"
        return Ending(Outcome.INFRASTRUCTURE_CRASHED, reason)
    is_own_doing = status >= 0 or -status in _CRASH_SIGNALS
    if sign.is_in_submission and is_own_doing:
        return Ending(
            Outcome.SUBMISSION_CRASHED,
            f"while a function of the submission ran after step {sign.step}, {_died(status)}",
        )
    return Ending(Outcome.INFRASTRUCTURE_CRASHED, _died(status))


def _died(status: int) -> str:
    if status < 0:
        known = {number.value for number in signal.Signals}
        name = signal.Signals(-status).name if -status in known else f"signal {-status}"
        hint = "; often this means that the host ran out of memory"
        return f"the process was killed by {name}{hint if name == 'SIGKILL' else ''}"
    return f"the process exited with status {status} and recorded no outcome"


def _keep_stacks(plan: TrialPlan, office: Office) -> None:
    for path in office.folder.glob(STACKS_FILE.format(rank="*")):
        if path.stat().st_size:
            plan.folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, plan.folder / path.name)


def read_launch(office: Office) -> Mapping[str, Any]:
    """`launcher`: its process id; `at`: when it launched, on the clock of `perf_counter`."""
    content: dict[str, Any] = json.loads(office.launch_file.read_text())
    return content
