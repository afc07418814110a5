"""What a workload is, as frozen values: no framework, no code that runs a workload.

Every `workloads/<name>/definition.py` holds one `DEFINITION`. Scoring, the command line and the
runner read the same value. A variant is written as its difference from the base.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from algoperf.errors import BadSettings, UnknownName, near
from algoperf.rulesets import Ruleset
from algoperf.spec import LossType

Split = Literal["train", "eval_train", "validation", "test"]
EVALUATION_SPLITS: tuple[Split, ...] = ("eval_train", "validation", "test")
# The prefix under which a split's metrics are logged (the published names).
SPLIT_PREFIX: Mapping[Split, str] = {
    "eval_train": "train",
    "validation": "validation",
    "test": "test",
}


Direction: TypeAlias = Literal["higher", "lower"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)


@dataclass(frozen=True)
class Target:
    """The metric values that end a run; reached when strictly better, never by NaN.

    `test` is None where a workload has no test target: then there is nothing more to reach.
    """

    metric: str
    validation: float
    test: float | None
    better: Direction = "higher"

    def is_better(self, value: float, than: float) -> bool:
        """Whether `value` is strictly better than `than`; NaN never is."""
        return math.isfinite(value) and bool(self.cost(value) < self.cost(than))

    def cost(self, values: Any) -> Any:
        """`values` of the metric, a number or an array, turned so that less is better.

        Its own inverse: the cost of a cost is the value again.
        """
        return -values if self.better == "higher" else values

    @property
    def comparison(self) -> str:
        """`>` or `<`: how a value that beats the target compares with it."""
        return ">" if self.better == "higher" else "<"

    def bound(self, split: Literal["validation", "test"]) -> float | None:
        """The value to beat on that split; None where there is none."""
        return self.validation if split == "validation" else self.test

    def reached(
        self, metrics: Mapping[str, float], split: Literal["validation", "test"]
    ) -> bool:
        """Whether `metrics` (keys like `validation/accuracy`) beat the target on `split`."""
        bound = self.bound(split)
        if bound is None:
            return True
        value = metrics.get(f"{split}/{self.metric}", math.nan)
        return self.is_better(float(value), bound)


@dataclass(frozen=True)
class Splits:
    """Number of examples of each split."""

    train: int
    eval_train: int
    validation: int
    test: int

    def size(self, split: Split) -> int:
        """Number of examples of `split`."""
        return int(getattr(self, split))


def materialised(split: Split) -> Split:
    """The split whose files hold the examples of `split`: eval_train is drawn from train."""
    return "train" if split == "eval_train" else split


@dataclass(frozen=True)
class Limits:
    """What a ruleset's column says about a run's length and its evaluations."""

    budget_seconds: float
    step_hint: int
    # None: the definition's.
    eval_period_seconds: float | None = None


@dataclass(frozen=True)
class Epochs:
    """A run that lasts so many passes over the training data, and is evaluated by them.

    It is evaluated before training, at step 0, and after every epoch; its targets end nothing.
    Every epoch has as many full batches as the training data fill.
    """

    number: int


@dataclass(frozen=True)
class Modules:
    """The files of a workload's folder that are its own; `model` gets `_jax` or `_pytorch`.

    A folder that holds a family of workloads names them by what they do.
    """

    data: str = "data"
    metrics: str = "metrics"
    model: str = "model"


@dataclass(frozen=True)
class Variant:
    """The difference from the base workload; misspelt fields fail when it is applied."""

    target: Target
    model: Mapping[str, Any] = field(default_factory=dict)  # fields of the model config
    data: Mapping[str, Any] = field(default_factory=dict)  # fields of the data config
    fields: Mapping[str, Any] = field(default_factory=dict)  # fields of the definition


Tier = Literal["full", "mini", "deepobs", "development"]


@dataclass(frozen=True)
class WorkloadDefinition:
    """All facts of one workload."""

    name: str
    title: str
    # The folder under datasets/ that prepares and reads its data; empty where they are
    # computed and nothing is prepared.
    dataset: str
    target: Target
    loss_type: LossType
    splits: Splits
    limits: Mapping[str, Limits]  # keyed by Ruleset.limits
    eval_period_seconds: float  # where a ruleset's limits say nothing else
    eval_batch_size: int | Mapping[str, int]  # global; a mapping is keyed by framework
    default_batch_size: (
        int  # used, and logged, where a submission does not know a _mini
    )
    model: (
        Any  # frozen config dataclass that model_jax.build and model_pytorch.build take
    )
    data: Any = None  # frozen config dataclass for data.py
    default_dropout_rate: float | None = None
    ignores_label_smoothing: bool = False
    train_mean: tuple[float, ...] | None = None
    train_stddev: tuple[float, ...] | None = None
    tier: Tier = "full"
    epochs: Epochs | None = None  # None: evaluated by time, until a target is reached
    # Training epochs and evaluations leave out what does not fill a batch.
    drop_last_batch: bool = False
    evaluated_splits: tuple[Split, ...] = EVALUATION_SPLITS
    draws_in_evaluation: bool = False  # its forward pass gets a key in evaluation too
    modules: Modules = field(default_factory=Modules)
    # Packages that batches and metrics import late, beside the framework's.
    packages: tuple[str, ...] = ()
    # Variables that a trial's process starts with, keyed by framework.
    environment: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    # PyTorch on GPUs: tries cuDNN's algorithms for each shape, and takes the fastest.
    cudnn_benchmark: bool = True
    variants: Mapping[str, Variant] = field(default_factory=dict)
    mini: Variant | None = None
    base_name: str = ""  # set on variants; equals `name` on a base workload
    folder: str = ""  # the folder under workloads/; the base name, but in a family
    prepared_name: str = ""  # the folder under the data directory; `dataset` if empty

    def __post_init__(self) -> None:
        for name, value in (
            ("base_name", self.name),
            ("folder", self.name),
            ("prepared_name", self.dataset),
        ):
            if not getattr(self, name):
                object.__setattr__(self, name, value)

    @property
    def needs_data(self) -> bool:
        """Whether data must be prepared; else they are computed."""
        return bool(self.dataset)

    def evaluated(self, split: Split, batch_size: int) -> int:
        """How many examples of `split` an evaluation in batches of that size counts."""
        size = self.splits.size(split)
        return size // batch_size * batch_size if self.drop_last_batch else size

    @property
    def is_base(self) -> bool:
        """Whether this is a base workload, not a variant or mini form of one."""
        return self.name == self.base_name

    @property
    def is_mini(self) -> bool:
        """Whether this is the small form of a base workload."""
        return self.name == f"{self.base_name}_mini"

    def eval_batch_size_for(self, framework: str) -> int:
        """Global evaluation batch size; the largest one for a framework that is not listed."""
        if isinstance(self.eval_batch_size, int):
            return self.eval_batch_size
        return self.eval_batch_size.get(framework, max(self.eval_batch_size.values()))

    def limits_of(self, ruleset: Ruleset) -> Limits:
        """Its limits under that ruleset; an error where the ruleset does not have it."""
        if ruleset.limits not in self.limits:
            raise BadSettings(
                f"{self.name} is no workload of ruleset {ruleset.name}: it has limits for "
                f"{', '.join(self.limits)}. Choose one of those rulesets."
            )
        return self.limits[ruleset.limits]

    def eval_period_for(self, ruleset: Ruleset) -> float:
        """Seconds between two evaluations under that ruleset."""
        return self.limits_of(ruleset).eval_period_seconds or self.eval_period_seconds

    def names(self) -> list[str]:
        """Names of the base, its variants and its mini form."""
        suffixes = list(self.variants) + (["mini"] if self.mini else [])
        return [self.name, *(f"{self.name}_{suffix}" for suffix in suffixes)]

    def named(self, name: str) -> "WorkloadDefinition":
        """The base itself, a variant (`<base>_<variant>`) or the mini form (`<base>_mini`)."""
        if name == self.name:
            return self
        suffix = name.removeprefix(self.name + "_")
        if suffix == "mini" and self.mini is not None:
            mini = {"tier": "mini", "prepared_name": f"{self.dataset}_mini"}
            return self._apply(name, self.mini, mini)
        if suffix in self.variants:
            return self._apply(name, self.variants[suffix], {})
        raise UnknownName(
            f"{self.name} has no variant {name!r}.{near(name, self.names())} "
            f"It has: {', '.join(self.names())}."
        )

    def _apply(
        self, name: str, variant: Variant, implied: Mapping[str, Any]
    ) -> "WorkloadDefinition":
        fields = {**implied, **variant.fields}
        data = (
            dataclasses.replace(self.data, **variant.data)
            if variant.data
            else self.data
        )
        return dataclasses.replace(
            self,
            name=name,
            target=variant.target,
            model=dataclasses.replace(self.model, **variant.model),
            data=data,
            base_name=self.base_name,
            variants={},
            mini=None,
            **fields,
        )


# Of a run by steps: enough for a machine that is shared by many.
_PATIENCE = 100.0


def in_steps(definition: WorkloadDefinition) -> WorkloadDefinition:
    """The form in which runs are compared by steps: it ends at the validation target alone.

    Nothing but the validation split is evaluated, since evaluations of mini workloads cost as
    much as many steps. The budget in seconds is so large that only what hangs reaches it.
    """
    return dataclasses.replace(
        definition,
        target=dataclasses.replace(definition.target, test=None),
        evaluated_splits=("validation",),
        limits={
            name: dataclasses.replace(
                limits, budget_seconds=_PATIENCE * limits.budget_seconds
            )
            for name, limits in definition.limits.items()
        },
    )
