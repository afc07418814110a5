"""Runs what a campaign has left, on an engine, until nothing is left or somebody asks to stop."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from algoperf.campaign.attempt import Job
from algoperf.campaign.engines import Engine
from algoperf.campaign.ledger import Ledger, TrialState, key_of
from algoperf.campaign.verdict import Cause, State
from algoperf.runner.plan import TrialPlan
from algoperf.runner.settings import Settings

_LOOK_SECONDS = 1.0


class Watcher(Protocol):
    """Who is told what happens."""

    def started(self, key: str) -> None:
        """An attempt has been handed to the engine."""
        ...

    def ended(self, state: TrialState, *, is_left: bool) -> None:
        """An attempt has ended; is_left: the trial will run again."""
        ...

    def looked(self) -> None:
        """Called about once a second."""
        ...


@dataclass
class Drive:
    """One run of a campaign's driver."""

    ledger: Ledger
    engine: Engine
    watcher: Watcher
    is_scored: bool = True
    calibrate: Settings | None = None
    should_stop: Callable[[], bool] = bool
    retries: bool = True  # whether trials run again by themselves
    _left: deque[TrialPlan] = field(default_factory=deque)
    _running: dict[str, int] = field(default_factory=dict)  # attempts before this one

    def run(self) -> bool:
        """Runs everything that is left; whether it was not stopped."""
        self._left.extend(self.ledger.left())
        is_stopping = False
        try:
            while self._running or (self._left and not is_stopping):
                if not is_stopping and self.should_stop():
                    is_stopping = True
                    self.engine.stop()
                if not is_stopping:
                    self._fill()
                for ended in self.engine.ended(_LOOK_SECONDS):
                    self._note(ended.key, ended.how, is_stopping)
                self.watcher.looked()
        finally:
            self.engine.close()
        return not is_stopping

    def _fill(self) -> None:
        while self._left and len(self._running) < self.engine.slots:
            plan = self._left.popleft()
            key = key_of(plan)
            state = self.ledger.look(key)
            if state.verdict.state in (State.DONE, State.FAILED):
                continue  # somebody else has seen to it
            self._running[key] = state.verdict.attempts
            self.engine.start(key, self._job(plan))
            self.watcher.started(key)

    def _job(self, plan: TrialPlan) -> Job:
        return Job(
            plan,
            self.ledger.folder,
            self.engine.name,
            self.is_scored,
            self.calibrate,
        )

    def _note(self, key: str, how: str, is_stopping: bool) -> None:
        """What came of an attempt, as its folder says."""
        before = self._running.pop(key)
        state = self.ledger.look(key)
        verdict = state.verdict
        has_begun = verdict.attempts > before
        is_lost = verdict.state is State.WAITING and not has_begun
        if is_lost and self.retries and not is_stopping:
            self.ledger.note_failed_start(key, f"it could not start: {how}")
            state = self.ledger.look(key)
        open_states = (State.WAITING, State.RUNNING)
        is_left = self.retries and state.verdict.state in open_states
        if is_left and state.verdict.cause is Cause.PREEMPTED:
            self._left.appendleft(state.plan)
        elif is_left:  # behind the others: the machine may recover meanwhile
            self._left.append(state.plan)
        self.watcher.ended(state, is_left=is_left)
