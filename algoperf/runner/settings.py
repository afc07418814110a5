"""The settings of a run: one value that the command line and the published flags both make."""

import dataclasses
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from algoperf import registry, rulesets
from algoperf.backend import check_framework
from algoperf.definition import WorkloadDefinition
from algoperf.errors import BadSettings, UnknownName
from algoperf.rulesets import Ruleset, TuningRuleset

OnExisting = Literal["refuse", "resume", "overwrite"]
DATA_DIR_VARIABLE = "ALGOPERF_DATA_DIR"
PRECISIONS = ("float32", "bf16")


def default_data_dir() -> Path:
    """`$ALGOPERF_DATA_DIR`, or a folder in the user's cache."""
    given = os.environ.get(DATA_DIR_VARIABLE)
    return Path(given) if given else Path.home() / ".cache" / "algoperf"


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
    precision: str = "float32"
    torch_compile: bool = False
    num_processes: int = 1  # PyTorch: started under torchrun, one per GPU
    allow_partial_data: bool = False
    tensorboard: bool = False
    target_setting: bool = False  # shorter, and does not stop at the targets
    isolate: bool = True  # a process of its own for each trial
    # Evaluates after steps 1, 1 + n, 1 + 2 n …, not by time: for runs that shall be repeated
    # exactly, since seconds differ from run to run.
    eval_period_steps: int | None = None
    # Ends a trial in which nothing moves for so long; None: `watchdog`'s own limits.
    hang_seconds: float | None = None
    # How long a step may go on after SIGTERM, or after its budget is spent.
    notice_seconds: float = 30.0

    def __post_init__(self) -> None:
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
        self._check_counts()

    def _check_counts(self) -> None:
        counts = (
            "num_trials",
            "num_studies",
            "first_study",
            "first_trial",
            "num_processes",
        )
        for name in (*counts, "max_global_steps", "last_trial", "eval_period_steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise BadSettings(f"{name} is {value}; it must be at least 1.")
        for name in ("hang_seconds", "notice_seconds"):
            seconds = getattr(self, name)
            if seconds is not None and not 0 < seconds < math.inf:
                raise BadSettings(
                    f"{name} is {seconds}; it must be a finite number above 0."
                )
        if self.num_processes > 1 and self.framework != "pytorch":
            raise BadSettings(
                f"num_processes is {self.num_processes}, but {self.framework} uses all "
                "devices from one process. Leave num_processes at 1."
            )
        name = self.experiment_name
        if name in ("", ".", "..") or "/" in name:
            raise BadSettings(
                f"experiment_name is {self.experiment_name!r}; it must be a folder's name."
            )

    @property
    def definition(self) -> WorkloadDefinition:
        """The workload's definition."""
        return registry.definition(self.workload)

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables that a trial's process starts with, unless the user has set them."""
        return self.definition.environment.get(self.framework, {})

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
        return {
            name: str(value) if isinstance(value, Path) else value
            for name, value in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Settings":
        """The inverse of `as_json`."""
        paths = ("submission_path", "experiment_dir", "data_dir", "search_space")
        converted: dict[str, Any] = {
            name: Path(value) if name in paths and value is not None else value
            for name, value in values.items()
        }
        return cls(**converted)
