"""How a test problem becomes a definition: data sets, runs, and what all problems share.

The problems themselves are in `definitions.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from algoperf.definition import (
    Direction,
    Epochs,
    Limits,
    Modules,
    Split,
    Splits,
    Target,
    Variant,
    WorkloadDefinition,
)
from algoperf.spec import LossType

from . import architectures as arch
from .inputs import ImagesConfig

_RULESETS = ("v0.5", "v0.6", "v1.0")
# No published budget exists: epochs end a run. The largest published run took 5.5 hours.
_BUDGET_SECONDS = 7 * 86_400.0
# A small form takes minutes; on a crowded machine a tighter budget would end it early.
_MINI_BUDGET_SECONDS = 6 * 3_600.0
_EVALUATED: tuple[Split, ...] = ("eval_train", "test")
_UNKNOWN_EPOCHS = 100  # where no default was ever published
_UNKNOWN_BATCH = 128


@dataclass(frozen=True)
class Data:
    """A data set as a problem uses it: all training examples, no validation split."""

    dataset: str
    train: int
    test: int
    mini: Splits
    input_shape: tuple[int, ...]
    num_classes: int
    images: ImagesConfig
    prepared_name: str = ""  # the name of the data set if empty

    @property
    def splits(self) -> Splits:
        """The splits; what is prepared as validation split is the test split."""
        return Splits(self.train, self.test, self.test, self.test)

    @property
    def prepared(self) -> str:
        """The folder of the prepared data."""
        return self.prepared_name or self.dataset


_MINI_OF_4000 = Splits(4000, 1000, 1000, 1000)  # validation is test
_MINI_OF_3000 = Splits(3000, 1000, 1000, 1000)
_GREY, _COLOUR = (28, 28, 1), (32, 32, 3)
DATA = {
    "mnist": Data(
        "mnist",
        60_000,
        10_000,
        _MINI_OF_4000,
        _GREY,
        10,
        ImagesConfig("mnist"),
        "mnist_60k",
    ),
    "fmnist": Data(
        "fashion_mnist",
        60_000,
        10_000,
        _MINI_OF_4000,
        _GREY,
        10,
        ImagesConfig("fashion_mnist"),
    ),
    "cifar10": Data(
        "cifar10",
        50_000,
        10_000,
        _MINI_OF_3000,
        _COLOUR,
        10,
        ImagesConfig("cifar10", standardised=True, augmented=True, flipped=True),
    ),
    "cifar100": Data(
        "cifar100",
        50_000,
        10_000,
        _MINI_OF_3000,
        _COLOUR,
        100,
        ImagesConfig("cifar100", standardised=True, augmented=True, flipped=True),
    ),
    # The published code trains on the first 64,000 of the 73,257 images.
    "svhn": Data(
        "svhn",
        64_000,
        26_032,
        _MINI_OF_3000,
        _COLOUR,
        10,
        ImagesConfig("svhn", standardised=True, augmented=True),
    ),
}


@dataclass(frozen=True)
class Run:
    """How a problem is trained by default, and the performance that counts as converged."""

    batch: int = _UNKNOWN_BATCH
    epochs: int = _UNKNOWN_EPOCHS
    converged: float | None = None  # a test accuracy, or a test loss


def problem(
    name: str,
    title: str,
    *,
    splits: Splits,
    run: Run,
    model: Any,
    modules: Modules,
    metric: str = "accuracy",
    **fields: Any,
) -> WorkloadDefinition:
    """A definition; `fields` are those that are not the same for all problems."""
    # Where nothing was published, a target that is never reached: it ends no run anyway.
    never = 1.0 if metric == "accuracy" else 0.0
    bound = never if run.converged is None else run.converged
    steps = splits.train // run.batch * run.epochs
    common: dict[str, Any] = {
        "dataset": "",
        "folder": "deepobs",
        "target": _target(metric, bound),
        "limits": dict.fromkeys(_RULESETS, Limits(_BUDGET_SECONDS, steps)),
        "eval_period_seconds": _BUDGET_SECONDS,
        "eval_batch_size": run.batch,
        "default_batch_size": run.batch,
        "tier": "deepobs",
        "epochs": Epochs(run.epochs),
        "drop_last_batch": True,
        "evaluated_splits": _EVALUATED,
    }
    return WorkloadDefinition(
        name=name,
        title=title,
        splits=splits,
        model=model,
        modules=modules,
        **{**common, **fields},
    )


def _target(metric: str, bound: float) -> Target:
    better: Direction = "higher" if metric == "accuracy" else "lower"
    return Target(metric, bound, bound, better)


def mini(
    title: str,
    splits: Splits,
    run: Run,
    prepared_name: str,
    metric: str = "accuracy",
    **fields: Any,
) -> Variant:
    """The small form: fewer examples and epochs, the same network."""
    assert run.converged is not None
    steps = splits.train // run.batch * run.epochs
    return Variant(
        target=_target(metric, run.converged),
        fields={
            "title": title,
            "splits": splits,
            "limits": dict.fromkeys(_RULESETS, Limits(_MINI_BUDGET_SECONDS, steps)),
            "eval_batch_size": run.batch,
            "default_batch_size": run.batch,
            "epochs": Epochs(run.epochs),
            "tier": "deepobs",
            "prepared_name": prepared_name,
            **fields,
        },
    )


def of_images(
    data_name: str,
    network: str,
    title: str,
    model: Any,
    run: Run,
    *,
    small: Run | None = None,
    **fields: Any,
) -> WorkloadDefinition:
    """A network on small images, by default one that tells their classes.

    small: the run of the small form, if there is one. fields: of the definition, and
    `metric`.
    """
    data = DATA[data_name]
    title = f"DeepOBS {data_name}, {title}"
    metric = fields.setdefault("metric", "accuracy")
    reduced = None
    if small is not None:
        name = f"{data.prepared}_mini"
        reduced = mini(f"{title}, small form", data.mini, small, name, metric)
    common: dict[str, Any] = {
        "dataset": data.dataset,
        "prepared_name": data.prepared,
        "modules": Modules("data_images", "metrics_classes", "stack"),
        "loss_type": LossType.SOFTMAX_CROSS_ENTROPY,
        "data": data.images,
        "mini": reduced,
    }
    return problem(
        f"{data_name}_{network}",
        title,
        splits=data.splits,
        run=run,
        model=model,
        **{**common, **fields},
    )


def stack(
    data_name: str,
    layers: Callable[[int], tuple[arch.Layer, ...]],
    l2: float = 0.0,
    *,
    has_l2_on_dense: bool = True,
) -> arch.StackConfig:
    """Layers for the images of a data set; layers: from the number of classes."""
    data = DATA[data_name]
    shape = data.input_shape
    return arch.StackConfig(layers(data.num_classes), shape, l2, has_l2_on_dense)
