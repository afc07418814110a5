"""How far `algoperf run` is: three lines on a terminal, one per evaluation elsewhere."""

import math
import sys
import time
from collections.abc import Sequence
from typing import Any, TextIO

from algoperf import console, registry
from algoperf.campaign.plan import budget_seconds
from algoperf.evaluations import EvaluationRow
from algoperf.outcome import OutcomeRecord
from algoperf.runner.clock import Phase
from algoperf.runner.observers import Best, evaluation_line, losses
from algoperf.runner.plan import TrialPlan
from algoperf.runner.supervision.heartbeat import Sign
from algoperf.runner.trial_observers import TrialInfo, TrialObserver

_BAR = 20  # characters
_ACTIVITIES = {
    Phase.SETUP: "setting up",
    Phase.SUBMISSION: "training",
    Phase.EVALUATION: "evaluating",
    Phase.LOGGING: "logging",
    Phase.CHECKPOINT: "saving a checkpoint",
    Phase.INSTRUMENTS: "measuring",
}


class RunProgress(TrialObserver):
    """Where a run stands: its trials, and the one that is running."""

    def __init__(self, plans: Sequence[TrialPlan]) -> None:
        self._plans = {plan.folder: plan for plan in plans}
        self._studies = _counts((p.settings.workload, 0, p.study) for p in plans)
        self._trials = _counts((p.settings.workload, p.study, p.trial) for p in plans)
        self._num_done, self._done_seconds = 0, 0.0  # of wall time
        self._budgets = {plan.folder: budget_seconds(plan.settings) for plan in plans}
        self._began = time.monotonic()

    def on_start(self, trial: TrialInfo) -> None:
        """A trial begins: nothing is known of it yet."""
        self._trial = trial
        self._plan = self._plans[trial.folder]
        self._best = Best(trial.target)
        self._row: EvaluationRow | None = None
        self._row_steps = 0  # steps of this process at that evaluation
        self._sign: Sign | None = None
        self._began = time.monotonic()

    def on_heartbeat(self, sign: Sign) -> None:
        """The trial has moved on."""
        self._sign = sign

    def on_evaluation(self, row: EvaluationRow) -> None:
        """The trial was evaluated."""
        self._best.note(row)
        self._row = row
        self._row_steps = self._sign.step if self._sign else 0

    def on_end(self, record: OutcomeRecord | None) -> None:
        """The trial has ended."""
        self._num_done += 1
        self._done_seconds += time.monotonic() - self._began
        self._budgets.pop(self._trial.folder, None)

    @property
    def label(self) -> str:
        """Such as `mnist_mini (jax), study 1 of 2, trial 3 of 5`."""
        t, plan = self._trial, self._plan
        place = (plan.settings.workload, plan.study)
        studies, trials = self._studies[plan.settings.workload, 0], self._trials[place]
        return (
            f"{t.workload} ({t.framework}), study {t.study} of {max(studies)}, "
            f"trial {t.trial} of {max(trials)}"
        )

    @property
    def step(self) -> int:
        """Steps done; a resumed trial's process counts from its checkpoint."""
        since = max(0, self._sign.step - self._row_steps) if self._sign else 0
        return since + (self._row.step if self._row else 0)

    @property
    def activity(self) -> str:
        """What the trial is doing now."""
        sign = self._sign
        if sign is None or sign.phase is None:
            return "starting" if self.step == 0 else "training"
        if sign.phase is Phase.SUBMISSION and sign.step == 0:
            return "compiling, first step"
        return _ACTIVITIES[sign.phase]

    @property
    def seconds(self) -> float:
        """Seconds of the budget that are spent."""
        return self._sign.submission_seconds if self._sign else 0.0

    @property
    def budget(self) -> float:
        """Seconds that the trial may take."""
        return self._budgets.get(self._trial.folder, math.inf)

    def trial_seconds_left(self) -> float:
        """Seconds that the trial still takes at most: by its budget, or by its step limit."""
        left = max(0.0, self.budget - self.seconds)
        limit = self._plan.settings.max_global_steps
        if limit is not None and self.step:
            by_steps = (limit - self.step) * self.seconds / self.step
            left = min(left, max(0.0, by_steps))
        return left

    def run_seconds_left(self) -> float:
        """Seconds until all trials are done, by those that are, else by the budgets."""
        others = [
            b for folder, b in self._budgets.items() if folder != self._trial.folder
        ]
        if not self._num_done:
            return self.trial_seconds_left() + sum(others)
        mean = self._done_seconds / self._num_done
        running = max(0.0, mean - (time.monotonic() - self._began))
        return running + mean * len(others)

    def lines(self) -> list[str]:
        """What a terminal shows."""
        values = [f"{name} {value:.4g}" for name, value in self._losses()]
        progress = [f"step {self.step:,}", *values, self._best.words()]
        share = min(1.0, self.seconds / self.budget) if self.budget else 0.0
        filled = round(share * _BAR)
        bar = "#" * filled + "." * (_BAR - filled)
        times = [
            f"[{bar}] {self.seconds:,.1f} of {self.budget:,.0f} s",
            f"at most {_duration(self.trial_seconds_left())} left",
        ]
        if len(self._plans) > 1:
            times.append(f"all trials: {_duration(self.run_seconds_left())}")
        return [
            f"{self.label}: {self.activity}",
            ", ".join(word for word in progress if word),
            ", ".join(times),
        ]

    def _losses(self) -> list[tuple[str, float]]:
        return losses(self._row)[:1] if self._row else []


class RunScreen(RunProgress):
    """Draws the lines on a terminal, one state over the other, cut to its width."""

    def __init__(self, plans: Sequence[TrialPlan], stream: TextIO) -> None:
        super().__init__(plans)
        self._stream = stream
        self._live: Any = None

    def on_start(self, trial: TrialInfo) -> None:
        """See `TrialObserver`."""
        from rich.console import Console
        from rich.live import Live

        super().on_start(trial)
        self._live = Live(
            self._draw(),
            console=Console(file=self._stream),
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def on_heartbeat(self, sign: Sign) -> None:
        """See `TrialObserver`."""
        super().on_heartbeat(sign)
        self._live.update(self._draw(), refresh=True)

    def on_end(self, record: OutcomeRecord | None) -> None:
        """Clears the lines, so that what comes next stands where they were."""
        super().on_end(record)
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _draw(self) -> Any:
        from rich.text import Text

        return Text("\n".join(self.lines()), no_wrap=True, overflow="ellipsis")


class RunLines(RunProgress):
    """Prints a line for each evaluation."""

    def on_evaluation(self, row: EvaluationRow) -> None:
        """See `TrialObserver`."""
        super().on_evaluation(row)
        console.tell(evaluation_line(self.label, row, self.budget, self._best))


def progress_of(plans: Sequence[TrialPlan]) -> RunProgress:
    """What suits stderr: a terminal that can move its cursor, or anything else."""
    from rich.console import Console

    if Console(stderr=True).is_terminal and not Console(stderr=True).is_dumb_terminal:
        return RunScreen(plans, sys.stderr)
    return RunLines(plans)


def _counts(places: Any) -> dict[Any, set[int]]:
    """The last member of each place, by the members before it."""
    found: dict[Any, set[int]] = {}
    for *key, number in places:
        found.setdefault(tuple(key), set()).add(number)
    return found


def _duration(seconds: float) -> str:
    text: str = registry.scoring_module("tables").duration(seconds)
    return text
