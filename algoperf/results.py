"""Results of trials as Python values, tables of pandas, and a leaderboard: `algoperf.load`."""

import importlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from algoperf import logs, registry
from algoperf.errors import BadLogs, MissingDependency
from algoperf.logs import STEP, SUBMISSION_SECONDS, Trial
from algoperf.rulesets import DEFAULT_RULESET

if TYPE_CHECKING:
    import pandas

__all__ = ["Leaderboard", "Results", "load", "trial_row"]


def load(*directories: str | Path) -> "Results":
    """The results below one or more folders of logs.

    directories: each as for `algoperf score`: a folder of submissions, or one submission's.
    BadLogs names the folder or file that cannot be read.
    """
    if not directories:
        raise BadLogs('Give the folder that holds the logs: load("experiments").')
    found = [logs.scan(Path(directory)) for directory in directories]
    trials = [trial for scan in found for trial in scan.trials]
    seen: dict[logs.TrialId, Trial] = {}
    for trial in trials:
        if (other := seen.setdefault(trial.id, trial)) is not trial:
            raise BadLogs(
                f"{other.folder} and {trial.folder} hold the same trial. Give each folder "
                "once, and submissions names of their own."
            )
    left_out = [phrase for scan in found for phrase in scan.left_out]
    return Results(tuple(trials), tuple(left_out))


@dataclass(frozen=True)
class Results:
    """Trials that were read from logs."""

    trials: tuple[Trial, ...]
    left_out: tuple[str, ...] = ()  # a phrase for each folder that was passed over

    def __len__(self) -> int:
        """Number of trials."""
        return len(self.trials)

    def __iter__(self) -> Iterator[Trial]:
        """The trials in order of submission, workload, framework, study and number."""
        return iter(self.trials)

    def to_pandas(self) -> "pandas.DataFrame":
        """A row for each trial; see `trial_row` for the columns."""
        return _pandas().DataFrame([trial_row(trial) for trial in self.trials])

    def curves(self) -> "pandas.DataFrame":
        """A row for each evaluation of each trial.

        Columns: submission, workload, framework, study, trial, global_step, seconds (of
        submission time), and every metric that was logged, such as validation/accuracy.
        """
        parts = [_curve(trial) for trial in self.trials if trial.num_evaluations]
        if not parts:
            return _pandas().DataFrame(columns=[*_KEYS, STEP, "seconds"])
        return _pandas().concat(parts, ignore_index=True)

    def leaderboard(
        self, rules: str = DEFAULT_RULESET, **options: Any
    ) -> "Leaderboard":
        """Ranks the submissions, as `algoperf score` does.

        rules: name of the ruleset to score by.
        options: tuning, targets, held_out, num_studies, reference, compat and strict, as the
        options of `algoperf score`.
        """
        score = registry.scoring_module("leaderboard").score
        return Leaderboard(
            score(list(self.trials), rules, left_out=self.left_out, **options)
        )


class Leaderboard:
    """A ranking of submissions."""

    def __init__(self, board: Any) -> None:
        self.board = (
            board  # `algoperf.scoring.leaderboard.Leaderboard`, with all details
        )

    def to_pandas(self) -> "pandas.DataFrame":
        """A row for each submission, best first: rank, scores, and seconds by workload.

        Seconds are the median time to target of a workload's studies; NaN for a miss.
        """
        return _pandas().DataFrame(
            [_entry_row(e) for e in self.as_dict()["submissions"]]
        )

    def as_dict(self) -> dict[str, Any]:
        """As `algoperf score --json` writes it; None for a miss."""
        content: dict[str, Any] = self.board.as_dict()
        return content

    @property
    def warnings(self) -> tuple[str, ...]:
        """What may mislead in this ranking."""
        return tuple(self.board.pool.warnings)

    def __str__(self) -> str:
        """As `algoperf score` prints it."""
        return str(self.board.text())


_KEYS = ("submission", "workload", "framework", "study", "trial")


def trial_row(trial: Trial) -> dict[str, Any]:
    """What is known of a trial, flat.

    submission, workload, framework, study, trial; outcome, reason; step and seconds of its last
    evaluation; metric, target, best (of the validation metric), seconds_to_validation_target and
    seconds_to_test_target (None: not reached); verified; marks (what to know before comparing
    it); folder; and a column `hyperparameters/<name>` for each.
    """
    row = {
        **_identity(trial),
        "outcome": trial.outcome.value if trial.outcome else None,
        "reason": trial.reason,
        "step": int(trial.columns[STEP][-1]) if trial.num_evaluations else None,
        "seconds": _last(trial, SUBMISSION_SECONDS),
        **_against_target(trial),
        "verified": trial.verification.status.value if trial.verification else None,
        "marks": "; ".join(trial.ended.caveats) if trial.ended else "",
        "folder": str(trial.folder),
    }
    points = trial.hyperparameters or {}
    return row | {f"hyperparameters/{name}": value for name, value in points.items()}


def _identity(trial: Trial) -> dict[str, Any]:
    return {name: getattr(trial.id, name) for name in _KEYS}


def _last(trial: Trial, column: str) -> float | None:
    return float(trial.columns[column][-1]) if trial.num_evaluations else None


def _against_target(trial: Trial) -> dict[str, Any]:
    target = trial.meta.target
    if target is None:  # published logs do not record it
        known = registry.definitions().get(trial.id.workload)
        target = known.target if known else None
    if target is None:
        return dict.fromkeys(_OF_TARGET)
    values = [float(v) for v in trial.metric(f"validation/{target.metric}")]
    finite = [value for value in values if math.isfinite(value)]
    return {
        "metric": target.metric,
        "target": target.validation,
        "best": min(finite, key=target.cost) if finite else None,
        "seconds_to_validation_target": _seconds_to(trial, "validation", target),
        "seconds_to_test_target": _seconds_to(trial, "test", target),
    }


_OF_TARGET = (
    "metric",
    "target",
    "best",
    "seconds_to_validation_target",
    "seconds_to_test_target",
)


def _seconds_to(trial: Trial, split: str, target: Any) -> float | None:
    """When the trial reached its target on a split; None: never, or it does not count."""
    bound = target.bound(split)
    if bound is None or not trial.num_evaluations or not trial.counts:
        return None
    values = trial.metric(f"{split}/{target.metric}")
    seconds = trial.columns[SUBMISSION_SECONDS]
    hits = (
        s for v, s in zip(values, seconds, strict=True) if target.is_better(v, bound)
    )
    return next((float(second) for second in hits), None)


def _curve(trial: Trial) -> "pandas.DataFrame":
    metrics = {name: trial.columns[name] for name in trial.columns if "/" in name}
    frame = _pandas().DataFrame(
        {
            STEP: trial.columns[STEP].astype(int),
            "seconds": trial.columns[SUBMISSION_SECONDS],
            **metrics,
        }
    )
    for place, (name, value) in enumerate(_identity(trial).items()):
        frame.insert(place, name, value)
    return frame


def _entry_row(entry: dict[str, Any]) -> dict[str, Any]:
    row = {k: entry[k] for k in ("rank", "submission", "score", "score_by_steps")}
    for name, measured in entry["workloads"].items():
        seconds = measured["seconds"]
        row[f"seconds/{name}"] = math.nan if seconds is None else seconds
    return row


def _pandas() -> Any:
    try:
        return importlib.import_module("pandas")
    except ImportError:
        raise MissingDependency(
            "Tables need the package pandas, which cannot be found. Run: pip install "
            "'algoperf[pandas]'. Without it, `for trial in results` and `as_dict` work."
        ) from None
