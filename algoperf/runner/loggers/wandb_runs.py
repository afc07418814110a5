"""Weights & Biases: a run for each trial, online or offline."""

import os
from collections.abc import Mapping
from typing import Any

from algoperf.errors import BadSettings
from algoperf.evaluations import EvaluationRow
from algoperf.outcome import Outcome, OutcomeRecord
from algoperf.runner.trial_observers import TrialInfo, TrialObserver
from algoperf.trial_meta import target_to_json

_PROJECT = "algoperf"  # unless WANDB_PROJECT says otherwise
_STEP = "global_step"
_FAILED = (
    Outcome.DIVERGED,
    Outcome.INVALID,
    Outcome.SUBMISSION_CRASHED,
    Outcome.INFRASTRUCTURE_CRASHED,
)


class WeightsAndBiases(TrialObserver):
    """Logs each trial as a run; the variables `WANDB_*` say where, and `WANDB_MODE` how."""

    def __init__(self) -> None:
        self._run: Any = None

    def on_start(self, trial: TrialInfo) -> None:
        """Starts a run. BadSettings where it cannot be started, such as without a login."""
        import wandb

        try:
            self._run = wandb.init(
                name=trial.name,
                group=f"{trial.submission}, {trial.workload} ({trial.framework})",
                job_type="resumed trial" if trial.is_resumed else "trial",
                config={
                    "hyperparameters": dict(trial.hyperparameters),
                    "settings": dict(trial.settings),
                    "target": target_to_json(trial.target),
                    "study": trial.study,
                    "trial": trial.trial,
                },
                settings=_settings(wandb),
            )
        except Exception as error:
            raise BadSettings(
                f"--log-to wandb: the run could not be started ({error}). Log in with "
                "`wandb login`, or set WANDB_MODE=offline and run `wandb sync` later."
            ) from None
        self._run.define_metric("*", step_metric=_STEP)

    def on_evaluation(self, row: EvaluationRow) -> None:
        """Logs all of its columns."""
        self._run.log(row.to_json())

    def on_scalars(self, scalars: Mapping[str, float], step: int) -> None:
        """Logs what the submission has logged."""
        self._run.log({**scalars, _STEP: step})

    def on_end(self, record: OutcomeRecord | None) -> None:
        """Keeps the outcome in the run's summary, and ends the run."""
        run, self._run = self._run, None
        if run is None:
            return
        if record is not None:
            run.summary["outcome"] = record.outcome.value
            run.summary["reason"] = record.reason
            for phase, seconds in record.seconds.items():
                run.summary[f"seconds/{phase}"] = seconds
        is_failure = record is None or record.outcome in _FAILED
        run.finish(exit_code=1 if is_failure else 0)


def _settings(wandb: Any) -> Any:
    """Nothing that would measure or patch while a trial is timed."""
    return wandb.Settings(
        project=os.environ.get("WANDB_PROJECT", _PROJECT),
        console="off",
        silent=True,
        x_disable_stats=True,
        x_save_requirements=False,
        disable_code=True,
        disable_git=True,
    )
