"""An engine without machines: each attempt ends as a script says, in this process."""

from collections.abc import Callable, Mapping, Sequence

from algoperf import exit_status, logs
from algoperf.campaign import attempt
from algoperf.campaign.attempt import Job
from algoperf.campaign.engines import Ended
from algoperf.outcome import Outcome, OutcomeRecord
from algoperf.runner.outcomes import Ending

REACHED = Ending(Outcome.REACHED, "targets reached")
PREEMPTED = Ending(Outcome.PREEMPTED, "SIGTERM")
KILLED = Ending(Outcome.INFRASTRUCTURE_CRASHED, "the process was killed by SIGKILL")


class Vanish(BaseException):
    """Stands for the death of an attempt's process."""


class FakeEngine:
    """Runs `attempt.run` with a scripted launch when it is asked what has ended.

    script: by key, what each attempt comes to: an `Ending`, `Vanish`, or an error. The last entry
    is repeated; trials that are not in it reach their targets.
    """

    name = "fake"

    def __init__(
        self,
        monkeypatch,
        script: Mapping[str, Sequence[object]] | None = None,
        slots: int = 2,
        at_start: Callable[[str], None] = lambda key: None,
    ) -> None:
        self.slots = slots
        self.started: list[str] = []
        self.most_running = 0
        self.is_stopped = self.is_closed = False
        self._script = {key: list(steps) for key, steps in (script or {}).items()}
        self._running: dict[str, Job] = {}
        self._at_start = at_start
        monkeypatch.setattr(attempt, "launch", self._launch)

    def _launch(self, plan):
        key = plan.id.folder(plan.folder.__class__()).as_posix()
        steps = self._script.get(key, [REACHED])
        step = steps.pop(0) if len(steps) > 1 else steps[0]
        if not isinstance(step, Ending):
            raise step
        logs.write_outcome(plan.folder, OutcomeRecord(step.outcome, step.reason))
        return step

    def start(self, key: str, job: Job) -> None:
        assert key not in self._running, "a trial was started twice at the same time"
        self.started.append(key)
        self._at_start(key)
        self._running[key] = Job.loads(job.dumps())
        self.most_running = max(self.most_running, len(self._running))

    def ended(self, seconds: float) -> list[Ended]:
        if not self._running:
            return []
        key, job = next(iter(self._running.items()))
        del self._running[key]
        try:
            status = attempt.run(job)
        except Vanish:
            status = exit_status.FAILED
        return [Ended(key, f"status {status}")]

    def stop(self) -> None:
        self.is_stopped = True
        for key in self._running:
            self._script[key] = [PREEMPTED]

    def close(self) -> None:
        self.is_closed = True


class Notes:
    """A watcher that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, bool]] = []

    def started(self, key: str) -> None:
        pass

    def ended(self, state, *, is_left: bool) -> None:
        self.lines.append((state.key, state.verdict.state.value, is_left))

    def looked(self) -> None:
        pass
