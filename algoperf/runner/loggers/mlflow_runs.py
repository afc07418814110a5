"""MLflow: a run for each trial, wherever `MLFLOW_TRACKING_URI` points."""

import math
import os
import time
from collections.abc import Mapping
from typing import Any

from algoperf.errors import BadSettings
from algoperf.evaluations import EvaluationRow
from algoperf.outcome import Outcome, OutcomeRecord
from algoperf.runner.trial_observers import TrialInfo, TrialObserver

_EXPERIMENT = "algoperf"  # unless MLFLOW_EXPERIMENT_NAME says otherwise
_GOOD = (Outcome.REACHED, Outcome.NOT_REACHED)
_ALLOWED = "_-. /"


class MLflow(TrialObserver):
    """Logs each trial as a run of the experiment `algoperf`."""

    def __init__(self) -> None:
        self._client: Any = None
        self._run: str | None = None  # its id

    def on_start(self, trial: TrialInfo) -> None:
        """Starts a run. BadSettings where the tracking store cannot be reached."""
        import mlflow

        try:
            self._client = mlflow.MlflowClient()
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME", _EXPERIMENT)
            known = self._client.get_experiment_by_name(name)
            experiment = (
                known.experiment_id
                if known is not None
                else self._client.create_experiment(name)
            )
            run = self._client.create_run(
                experiment, run_name=trial.name, tags=_tags(trial)
            )
        except Exception as error:
            raise BadSettings(
                f"--log-to mlflow: the run could not be started ({error}). Check "
                "MLFLOW_TRACKING_URI; without it, runs are kept in the current directory."
            ) from None
        self._run = run.info.run_id
        for name, value in trial.hyperparameters.items():
            self._client.log_param(self._run, _name(name), value)

    def on_evaluation(self, row: EvaluationRow) -> None:
        """Logs all of its columns."""
        cells = row.to_json()
        self.on_scalars(cells, cells.pop("global_step"))

    def on_scalars(self, scalars: Mapping[str, float], step: int) -> None:
        """Logs one set of values; stores keep finite numbers only."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [
            Metric(_name(name), float(value), now, step)
            for name, value in scalars.items()
            if math.isfinite(value)
        ]
        self._client.log_batch(self._run, metrics=metrics)

    def on_end(self, record: OutcomeRecord | None) -> None:
        """Keeps the outcome as tags, and ends the run."""
        run, self._run = self._run, None
        if run is None:
            return
        status = "KILLED"
        if record is not None:
            self._client.set_tag(run, "outcome", record.outcome.value)
            self._client.set_tag(run, "reason", record.reason)
            status = "FINISHED" if record.outcome in _GOOD else "FAILED"
        self._client.set_terminated(run, status)


def _tags(trial: TrialInfo) -> dict[str, str]:
    return {
        "submission": trial.submission,
        "workload": trial.workload,
        "framework": trial.framework,
        "study": str(trial.study),
        "trial": str(trial.trial),
        "target": f"{trial.target.metric} {trial.target.comparison} "
        f"{trial.target.validation:g}",
        "logs": str(trial.folder),
        "resumed": str(trial.is_resumed).lower(),
    }


def _name(text: str) -> str:
    """A name that MLflow accepts."""
    return "".join(c if c.isalnum() or c in _ALLOWED else "_" for c in text)
