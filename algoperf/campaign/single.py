"""A campaign of one submission, without a manifest: what `algoperf run` does.

Trials run one after the other under this very process, and none runs again by itself.
"""

from collections.abc import Callable, Sequence

from algoperf.campaign.attempt import Job
from algoperf.campaign.drive import Drive
from algoperf.campaign.engines import Ended
from algoperf.campaign.ledger import Ledger, TrialState
from algoperf.campaign.plan import in_order
from algoperf.campaign.progress import Lines
from algoperf.campaign.run_progress import progress_of
from algoperf.outcome import Outcome
from algoperf.runner import door, experiment
from algoperf.runner.launch import launch
from algoperf.runner.outcomes import Ending
from algoperf.runner.plan import TrialPlan, plan_trials, trials_left
from algoperf.runner.settings import Settings
from algoperf.runner.supervision.preemption import Preempted, StopRequest
from algoperf.runner.trial_observers import TrialObserver


class Here:
    """An engine whose attempts are launched by this process, when it is asked what has ended."""

    name = "here"
    slots = 1

    def __init__(
        self,
        after_trial: Callable[[TrialPlan], bool],
        observers: Sequence[TrialObserver] = (),
    ) -> None:
        self.is_good = True  # as far as `after_trial` can tell
        self._after_trial = after_trial
        self._observers = observers
        self._waiting: list[tuple[str, Job]] = []

    def start(self, key: str, job: Job) -> None:
        """See `engines.Engine`."""
        self._waiting.append((key, job))

    def ended(self, seconds: float) -> list[Ended]:
        """See `engines.Engine`; raises `WrongInput` for a trial that could not even begin."""
        if not self._waiting:
            return []
        key, job = self._waiting.pop()
        launch(job.plan, self._observers)
        self.is_good &= self._after_trial(job.plan)
        return [Ended(key)]

    def stop(self) -> None:
        """Nothing to do: SIGTERM reaches `launch`."""

    def close(self) -> None:
        """Nothing is left."""


class _Endings(Lines):
    """Says how each trial ended, and remembers it."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(say)
        self.endings: list[Ending] = []

    def ended(self, state: TrialState, *, is_left: bool) -> None:
        """See `drive.Watcher`."""
        super().ended(state, is_left=is_left)
        outcome = state.outcome or Outcome.INFRASTRUCTURE_CRASHED
        self.endings.append(Ending(outcome, state.verdict.reason))

    @property
    def is_preempted(self) -> bool:
        """Whether the last trial was."""
        return bool(self.endings) and self.endings[-1].outcome is Outcome.PREEMPTED


def run(
    settings: Sequence[Settings],
    say: Callable[[str], None] = print,
    after_trial: Callable[[TrialPlan], bool] = lambda plan: True,
    observers: Sequence[TrialObserver] = (),
) -> bool:
    """Runs all trials of a submission on some workloads; True if none of them failed.

    `after_trial` is called after each one that has a process of its own; False is a failure.
    `observers` are told how trials go, besides progress on stderr and the settings' loggers.
    SIGTERM stops the running trial at its next step, with a checkpoint, and raises `Preempted`.
    """
    for one in settings:
        door.check_before_start(one)
    if experiment.is_under_torchrun():
        return all([experiment.run(one, say) for one in settings])
    plans = in_order(plan for one in settings for plan in plan_trials(one))
    with StopRequest().listen() as stop:
        left = trials_left(plans, settings[0], say)
        ledger = Ledger(settings[0].experiment_dir, left)
        watcher = _Endings(say)
        engine = Here(after_trial, [progress_of(left), *observers])
        Drive(
            ledger,
            engine,
            watcher,
            should_stop=lambda: stop.is_set or watcher.is_preempted,
            retries=False,
        ).run()
        if watcher.is_preempted or (stop.is_set and left):
            raise Preempted
    is_failure = any(ending.is_failure for ending in watcher.endings)
    return engine.is_good and not is_failure
