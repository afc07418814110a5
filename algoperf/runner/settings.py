"""The settings of a run: one value that the command line and the published flags both make."""

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import platformdirs

from algoperf import paths, registry, rulesets
from algoperf.definition import WorkloadDefinition, in_steps
from algoperf.errors import BadSettings, UnknownName
from algoperf.frameworks import check_framework
from algoperf.rulesets import Ruleset, TuningRuleset
from algoperf.runner.checkpoints.schedule import AUTO, Period
from algoperf.runner.fairness import environment

OnExisting = Literal["refuse", "resume", "overwrite"]
DATA_DIR_VARIABLE = "ALGOPERF_DATA_DIR"
PRECISIONS = ("float32", "bf16")
# Far above all that is of use; beyond them a number is a mistake, and would take all memory.
_MAX_TRIALS = 100_000  # of a run
_MAX_STEPS = 1_000_000_000
_MAX_PROCESSES = 4_096
_MAX_SEED = 2**63 - 1
_MAX_SECONDS = 31_536_000.0  # a year
EVALUATIONS_BY_STEPS = 50  # of a run by steps that misses the target: a grid of 2 %
_MAX_NAME_BYTES = 255  # of a file or folder, on all usual file systems
_COUNTS = {  # field: (option of `algoperf run`, largest value)
    "num_trials": ("--trials", _MAX_TRIALS),
    "num_studies": ("--studies", _MAX_TRIALS),
    "first_study": ("--first-study", _MAX_TRIALS),
    "first_trial": ("--first-trial", _MAX_TRIALS),
    "last_trial": ("--last-trial", _MAX_TRIALS),
    "max_global_steps": ("--max-steps", _MAX_STEPS),
    "eval_period_steps": ("--eval-every-steps", _MAX_STEPS),
    "num_processes": ("--num-processes", _MAX_PROCESSES),
}
_PATHS = (
    "submission_path",
    "experiment_dir",
    "data_dir",
    "search_space",
    "profile_dir",
)


def default_data_dir() -> Path:
    """`$ALGOPERF_DATA_DIR`, or a folder in the user's cache, wherever the system keeps that."""
    given = os.environ.get(DATA_DIR_VARIABLE)
    try:
        return paths.expanded(given or platformdirs.user_cache_dir("algoperf", False))
    except BadSettings as error:
        cause = f"{DATA_DIR_VARIABLE}: {error}" if given else str(error)
        raise BadSettings(
            f"{cause} Or say where the prepared data is with --data-dir."
        ) from None


def default_experiment_name(submission: Path) -> str:
    """The name of the folder that a submission lies in; its links are followed."""
    return (
        Path(os.path.realpath(paths.absolute(submission))).parent.name or "submission"
    )


@dataclass(frozen=True)
class Settings:
    """Everything that `algoperf run` can be told."""

    submission_path: Path
    framework: str
    workload: str
    experiment_dir: Path
    experiment_name: str
    data_dir: Path = dataclasses.field(default_factory=default_data_dir)
    ruleset: str = rulesets.DEFAULT_RULESET
    tuning: TuningRuleset = "external"
    search_space: Path | None = None
    num_trials: int | None = None  # of a study; None: what the ruleset says
    num_studies: int | None = None
    first_study: int = 1
    first_trial: int = 1  # of each study: lets several machines share one
    last_trial: int | None = None
    seed: int = 0
    max_global_steps: int | None = None
    on_existing: OnExisting = "refuse"
    save_checkpoints: bool = True
    checkpoint_every: str = AUTO  # see `Period.parse`
    # The parameters of the first evaluations at the targets, for `algoperf verify`.
    keep_evidence: bool = True
    precision: str = "float32"
    torch_compile: bool = False
    num_processes: int = 1  # PyTorch: started under torchrun, one per GPU
    allow_partial_data: bool = False
    log_to: tuple[str, ...] = ()  # names of loggers, or MODULE:FUNCTION of an observer
    target_setting: bool = False  # shorter, and does not stop at the targets
    # Ends at the validation target or the step hint, whatever the time it takes, and evaluates
    # nothing but the validation split: for comparisons of steps; see `definition.in_steps`.
    by_steps: bool = False
    isolate: bool = True  # a process of its own for each trial
    # Evaluates after steps 1, 1 + n, 1 + 2 n …, not by time: for runs that shall be repeated
    # exactly, since seconds differ from run to run.
    eval_period_steps: int | None = None
    # Ends a trial in which nothing moves for so long; None: `watchdog`'s own limits.
    hang_seconds: float | None = None
    # How long a step may go on after SIGTERM, or after its budget is spent.
    notice_seconds: float = 30.0

    # Instruments: a configuration or a list of quantities, and their schedule; see `cockpit`.
    cockpit: str | None = None
    cockpit_every: str = "10"
    cockpit_adapt_bins: str | None = None  # a schedule; None: histograms' ranges stay
    cockpit_curvature: str = "ggn_mc"
    cockpit_batch_norm: str = "refuse"
    # Trials with these are never scored: where to write profiles of which steps; a debugger.
    profile_dir: Path | None = None
    profile_steps: str = "10:20"
    pdb: bool = False

    def __post_init__(self) -> None:
        for name in _PATHS:
            if getattr(self, name) is not None:
                # Frozen; a submission may change the current directory.
                object.__setattr__(self, name, paths.absolute(getattr(self, name)))
        check_framework(self.framework)
        if self.tuning not in rulesets.TUNING_RULESETS:
            raise UnknownName(
                f"No tuning ruleset named {self.tuning!r}. "
                f"Choose one of: {', '.join(rulesets.TUNING_RULESETS)}."
            )
        if self.precision not in PRECISIONS:
            raise UnknownName(
                f"No precision named {self.precision!r}. Choose one of: {', '.join(PRECISIONS)}."
            )
        if self.tuning == "external" and self.search_space is None:
            raise BadSettings(
                "External tuning needs a search space: give a JSON file with --search-space, "
                "or choose self-tuning with --tuning-ruleset self."
            )
        if self.tuning == "self" and self.search_space is not None:
            raise BadSettings(
                f"Self-tuning takes no search space, but got {self.search_space}. Leave it "
                "out, or choose --tuning-ruleset external."
            )
        Period.parse(self.checkpoint_every)
        self._check_counts()
        self._check_name()
        if self.by_steps:
            self._limit_steps()

    def _limit_steps(self) -> None:
        """Fills in where a run by steps ends, and after how many steps it is evaluated."""
        hint = self.definition.limits_of(self.rules).step_hint
        last = min(hint, self.max_global_steps or hint)
        period = self.eval_period_steps or max(1, hint // EVALUATIONS_BY_STEPS)
        object.__setattr__(self, "max_global_steps", last)
        object.__setattr__(self, "eval_period_steps", period)

    @property
    def is_unscored(self) -> bool:
        """Whether trials are slowed down on purpose, so that they must not be ranked."""
        return self.profile_dir is not None or self.pdb

    def _check_counts(self) -> None:
        for name, (option, largest) in _COUNTS.items():
            value = getattr(self, name)
            if value is not None and value < 1:
                raise BadSettings(f"{option} is {value}; it must be at least 1.")
            if value is not None and value > largest:
                raise BadSettings(f"{option} is {value}; it must be at most {largest}.")
        if self.last_trial is not None and self.last_trial < self.first_trial:
            raise BadSettings(
                f"--last-trial {self.last_trial} comes before --first-trial "
                f"{self.first_trial}; no trial lies between them."
            )
        trials = (self.num_trials or 1) * (self.num_studies or 1)
        if trials > _MAX_TRIALS:
            raise BadSettings(
                f"--trials {self.num_trials} in --studies {self.num_studies} makes {trials:,} "
                f"trials; a run has at most {_MAX_TRIALS:,}."
            )
        if not 0 <= self.seed <= _MAX_SEED:
            raise BadSettings(
                f"--seed is {self.seed}; it must be a number from 0 to {_MAX_SEED}."
            )
        for option in ("hang_seconds", "notice_seconds"):
            seconds = getattr(self, option)
            if seconds is not None and not 0 < seconds <= _MAX_SECONDS:
                raise BadSettings(
                    f"--{option.replace('_', '-')} is {seconds:g}; it must be above 0 and at "
                    f"most {_MAX_SECONDS:,.0f} (a year)."
                )
        known = check_framework(self.framework)
        if self.num_processes > 1 and not known.uses_processes:
            raise BadSettings(
                f"--num-processes is {self.num_processes}, but {self.framework} uses all "
                "devices from one process. Leave --num-processes out."
            )

    def _check_name(self) -> None:
        name = self.experiment_name
        is_good = name.isprintable() and "/" not in name and not name.startswith(".")
        if not name or not is_good or len(os.fsencode(name)) > _MAX_NAME_BYTES:
            raise BadSettings(
                f"--experiment-name is {paths.shown(name)}; it must be a folder's name: "
                f"printable, without '/', at most {_MAX_NAME_BYTES} bytes, and not "
                "beginning with '.', since scoring passes over hidden folders."
            )

    @property
    def definition(self) -> WorkloadDefinition:
        """The workload's definition, in the form in which it is run."""
        definition = registry.definition(self.workload)
        return in_steps(definition) if self.by_steps else definition

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables that a trial's process starts with, unless the user has set them."""
        own = self.definition.environment.get(self.framework, {})
        return {**environment.for_trial(self.framework), **own}

    @property
    def rules(self) -> Ruleset:
        """The ruleset's value."""
        return rulesets.ruleset(self.ruleset)

    @property
    def data_folder(self) -> Path:
        """Where the workload's prepared data lies."""
        return self.data_dir / self.definition.prepared_name

    def as_json(self) -> dict[str, Any]:
        """Plain values, for logs and for the process that runs a trial."""
        values = {
            name: str(value) if isinstance(value, Path) else value
            for name, value in dataclasses.asdict(self).items()
        }
        return {**values, "log_to": list(self.log_to)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Settings":
        """The inverse of `as_json`."""
        converted: dict[str, Any] = {
            name: Path(value) if name in _PATHS and value is not None else value
            for name, value in values.items()
        }
        if converted.pop("tensorboard", False):  # as logs of version 0.1 have it
            converted["log_to"] = ("tensorboard",)
        converted["log_to"] = tuple(converted.get("log_to", ()))
        return cls(**converted)
