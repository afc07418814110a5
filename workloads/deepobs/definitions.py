"""The test problems' facts; §2 of the sheet has their sources."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from algoperf.definition import (
    EVALUATION_SPLITS,
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
from .inputs import ImagesConfig, TextConfig

_RULESETS = ("v0.5", "v0.6", "v1.0")
# No published budget exists: epochs end a run. The largest published run took 5.5 hours.
_BUDGET_SECONDS = 7 * 86_400.0
_EVALUATED: tuple[Split, ...] = ("eval_train", "test")
# Threads do not pay for a hundred parameters, and cost dearly where cores are shared.
_ONE_THREAD = {"pytorch": {"OMP_NUM_THREADS": "1"}}
_UNKNOWN_EPOCHS = 100  # where no default was ever published
_UNKNOWN_BATCH = 128


@dataclass(frozen=True)
class _Data:
    """A data set as a problem uses it: all training examples, no validation split."""

    dataset: str
    train: int
    test: int
    eval_train: int
    mini: Splits
    input_shape: tuple[int, ...] = ()
    num_classes: int = 0
    images: ImagesConfig | None = None
    prepared_name: str = ""

    @property
    def splits(self) -> Splits:
        """The splits; what is prepared as validation split is the test split."""
        return Splits(self.train, self.eval_train, self.test, self.test)


_MINI_OF_4000 = Splits(4000, 1000, 1000, 1000)  # validation is test
_MINI_OF_3000 = Splits(3000, 1000, 1000, 1000)
_DATA = {
    "mnist": _Data(
        "mnist",
        60_000,
        10_000,
        10_000,
        _MINI_OF_4000,
        (28, 28, 1),
        10,
        ImagesConfig("mnist"),
        "mnist_60k",
    ),
    "fmnist": _Data(
        "fashion_mnist",
        60_000,
        10_000,
        10_000,
        _MINI_OF_4000,
        (28, 28, 1),
        10,
        ImagesConfig("fashion_mnist"),
    ),
    "cifar10": _Data(
        "cifar10",
        50_000,
        10_000,
        10_000,
        _MINI_OF_3000,
        (32, 32, 3),
        10,
        ImagesConfig("cifar10", standardised=True, augmented=True, flipped=True),
    ),
    "cifar100": _Data(
        "cifar100",
        50_000,
        10_000,
        10_000,
        _MINI_OF_3000,
        (32, 32, 3),
        100,
        ImagesConfig("cifar100", standardised=True, augmented=True, flipped=True),
    ),
    # The published code trains on the first 64,000 of the 73,257 images.
    "svhn": _Data(
        "svhn",
        64_000,
        26_032,
        26_032,
        _MINI_OF_3000,
        (32, 32, 3),
        10,
        ImagesConfig("svhn", standardised=True, augmented=True),
    ),
}


@dataclass(frozen=True)
class _Run:
    """How a problem is trained by default, and the performance that counts as converged."""

    batch: int = _UNKNOWN_BATCH
    epochs: int = _UNKNOWN_EPOCHS
    converged: float | None = None  # a test accuracy, or a test loss


def _problem(
    name: str,
    title: str,
    *,
    splits: Splits,
    run: _Run,
    model: Any,
    modules: Modules,
    metric: str = "accuracy",
    dataset: str = "",
    evaluated_splits: tuple[Split, ...] = _EVALUATED,
    **fields: Any,
) -> WorkloadDefinition:
    better, worst = ("higher", 1.0) if metric == "accuracy" else ("lower", 0.0)
    # Where nothing was published, a target that is never reached: it ends no run anyway.
    bound = worst if run.converged is None else run.converged
    steps = splits.train // run.batch * run.epochs
    return WorkloadDefinition(
        name=name,
        title=title,
        dataset=dataset,
        folder="deepobs",
        target=Target(metric, bound, bound, better),  # type: ignore[arg-type]
        splits=splits,
        limits=dict.fromkeys(_RULESETS, Limits(_BUDGET_SECONDS, steps)),
        eval_period_seconds=_BUDGET_SECONDS,
        eval_batch_size=run.batch,
        default_batch_size=run.batch,
        model=model,
        modules=modules,
        tier="deepobs",
        epochs=Epochs(run.epochs),
        drop_last_batch=True,
        evaluated_splits=evaluated_splits,
        **fields,
    )


def _mini(
    name: str, splits: Splits, run: _Run, prepared_name: str, **fields: Any
) -> Variant:
    """The small form: fewer examples and epochs, the same network."""
    assert run.converged is not None
    metric, better = fields.pop("target_of")
    steps = splits.train // run.batch * run.epochs
    return Variant(
        target=Target(metric, run.converged, run.converged, better),
        fields={
            "title": name,
            "splits": splits,
            "limits": dict.fromkeys(_RULESETS, Limits(600.0, steps)),
            "eval_batch_size": run.batch,
            "default_batch_size": run.batch,
            "epochs": Epochs(run.epochs),
            "tier": "deepobs",
            "prepared_name": prepared_name,
            **fields,
        },
    )


def _images(
    data_name: str,
    network: str,
    title: str,
    model: Any,
    run: _Run,
    *,
    module: str = "stack",
    dropout_rate: float | None = None,
    mini: _Run | None = None,
) -> WorkloadDefinition:
    """A network that tells the classes of images."""
    data = _DATA[data_name]
    prepared = data.prepared_name or data.dataset
    small = None
    if mini is not None:
        small = _mini(
            f"{title}, small form",
            data.mini,
            mini,
            f"{prepared}_mini",
            target_of=("accuracy", "higher"),
        )
    return _problem(
        f"{data_name}_{network}",
        title,
        dataset=data.dataset,
        prepared_name=prepared,
        splits=dataclasses.replace(data.splits),
        run=run,
        model=model,
        modules=Modules("data_images", "metrics_classes", module),
        loss_type=LossType.SOFTMAX_CROSS_ENTROPY,
        data=data.images,
        default_dropout_rate=dropout_rate,
        mini=small,
    )


def _stack(data_name: str, layers: Any, l2: float = 0.0) -> arch.StackConfig:
    data = _DATA[data_name]
    return arch.StackConfig(layers(data.num_classes), data.input_shape, l2)


def _small_nets() -> list[WorkloadDefinition]:
    """Networks of MNIST's and Fashion-MNIST's images of 28 x 28 pixels."""
    of_2c2d = {"mnist": _Run(128, 100), "fmnist": _Run(128, 100, 0.919809)}
    minis: dict[tuple[str, str], _Run] = {
        ("fmnist", "2c2d"): _Run(128, 6, 0.80),
        ("mnist", "mlp"): _Run(128, 8, 0.90),
        ("fmnist", "logreg"): _Run(128, 8, 0.75),
    }
    found = []
    for data in ("mnist", "fmnist"):
        for network, title, layers, run in (
            ("logreg", "logistic regression", arch.logreg, _Run(128, 50)),
            ("mlp", "multi-layer perceptron", arch.mlp, _Run(128, 100)),
            (
                "2c2d",
                "two convolutions, two dense layers",
                arch.net_2c2d,
                of_2c2d[data],
            ),
        ):
            mini = minis.get((data, network))
            model = _stack(data, layers)
            name = f"DeepOBS {data}, {title}"
            found.append(_images(data, network, name, model, run, mini=mini))
    return found


def _colour_nets() -> list[WorkloadDefinition]:
    """Networks of images of 32 x 32 pixels, with coupled L2."""
    found = []
    for data, converged, mini in (
        ("cifar10", 0.828331, _Run(128, 6, 0.60)),
        ("cifar100", None, None),
        ("svhn", None, None),
    ):
        model = _stack(data, arch.net_3c3d, l2=0.002)
        title = f"DeepOBS {data}, three convolutions, three dense layers"
        run = _Run(128, 100, converged)
        found.append(_images(data, "3c3d", title, model, run, mini=mini))
    allcnnc = _stack("cifar100", arch.allcnnc, l2=5e-4)
    found.append(
        _images(
            "cifar100",
            "allcnnc",
            "DeepOBS cifar100, All-CNN-C",
            allcnnc,
            _Run(256, 350, 0.525604),
            dropout_rate=0.5,
        )
    )
    for data, blocks, network, run in (
        ("svhn", 2, "wrn164", _Run(128, 160, 0.950199)),
        ("cifar100", 6, "wrn404", _Run(128, 200)),
    ):
        wide = arch.WideResnetConfig(_DATA[data].num_classes, blocks)
        title = f"DeepOBS {data}, wide residual network {network[3:5]}-{network[-1]}"
        found.append(_images(data, network, title, wide, run, module="wide_resnet"))
    for data in ("cifar10", "cifar100"):
        for depth in (16, 19):
            config = arch.StackConfig(
                arch.vgg(_DATA[data].num_classes, depth),
                _DATA[data].input_shape,
                l2=5e-4,
                has_l2_on_dense=False,
            )
            title = f"DeepOBS {data}, VGG {depth}"
            name = f"vgg{depth}"
            found.append(_images(data, name, title, config, _Run(), dropout_rate=0.5))
    return found


def _autoencoders() -> list[WorkloadDefinition]:
    found = []
    for name, run, mini in (
        ("mnist", _Run(64, 50, 73.4982), None),
        ("fmnist", _Run(64, 100, 92.9776), _Run(64, 4, 60.0)),
    ):
        data, model = _DATA[name], arch.VaeConfig()
        assert data.images is not None
        prepared = data.prepared_name or data.dataset
        title = f"DeepOBS {name}, variational autoencoder"
        small = None
        if mini is not None:
            small = _mini(
                f"{title}, small form",
                data.mini,
                mini,
                f"{prepared}_mini",
                target_of=("loss", "lower"),
            )
        found.append(
            _problem(
                f"{name}_vae",
                title,
                dataset=data.dataset,
                prepared_name=prepared,
                splits=data.splits,
                run=run,
                model=model,
                modules=Modules("data_images", "metrics_vae", "vae"),
                metric="loss",
                loss_type=LossType.MODEL_DEFINED,
                data=dataclasses.replace(data.images, latent_dim=model.latent_dim),
                default_dropout_rate=0.2,
                mini=small,
            )
        )
    return found


def _points() -> list[WorkloadDefinition]:
    """Landscapes whose data are computed: every run has them at full size."""
    modules = Modules("data_points", "metrics_points", "point")
    quadratic = _problem(
        "quadratic_deep",
        "DeepOBS, a noisy quadratic of 100 dimensions",
        splits=Splits(1000, 1000, 1000, 1000),
        run=_Run(128, 100, 87.7032),
        model=arch.PointConfig("quadratic_deep"),
        modules=modules,
        metric="loss",
        loss_type=LossType.MODEL_DEFINED,
        data="quadratic_deep",
        environment=_ONE_THREAD,
        # Its validation examples are drawn, not taken from the training examples.
        evaluated_splits=EVALUATION_SPLITS,
    )
    others = [
        _problem(
            f"two_d_{name}",
            f"DeepOBS, {name.capitalize()}'s function with noise",
            splits=Splits(10_000, 10_000, 10_000, 10_000),
            run=_Run(128, 100),
            model=arch.PointConfig(name),
            modules=modules,
            metric="loss",
            loss_type=LossType.MODEL_DEFINED,
            data=name,
            environment=_ONE_THREAD,
        )
        for name in ("beale", "branin", "rosenbrock")
    ]
    return [quadratic, *others]


def _characters() -> WorkloadDefinition:
    """War and Peace; the small form reads Persuasion instead."""
    train, test = (
        52_258,
        13_064,
    )  # sequences of 50 of the 2,612,948 and 653,237 characters
    mini = Splits(7_469, 1_867, 1_867, 1_867)
    return _problem(
        "tolstoi_char_rnn",
        "DeepOBS, the next character of War and Peace",
        dataset="tolstoi",
        splits=Splits(train, train, test, test),
        run=_Run(50, 200, 0.604586),
        model=arch.CharactersConfig(),
        modules=Modules("data_characters", "metrics_characters", "characters"),
        loss_type=LossType.SOFTMAX_CROSS_ENTROPY,
        data=TextConfig(),
        default_dropout_rate=0.2,
        mini=_mini(
            "DeepOBS, the next character of Persuasion",
            mini,
            _Run(50, 5, 0.35),
            "tolstoi_mini",
            target_of=("accuracy", "higher"),
        ),
    )


DEFINITIONS = (
    *_points(),
    *_small_nets(),
    *_autoencoders(),
    *_colour_nets(),
    _characters(),
)
