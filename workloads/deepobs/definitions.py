"""The test problems' facts; §2 of the sheet has their sources."""

import dataclasses
import functools
from typing import Any

from algoperf.definition import (
    EVALUATION_SPLITS,
    Modules,
    Splits,
    WorkloadDefinition,
)
from algoperf.spec import LossType

from .._imagenet.config import ENVIRONMENT
from . import architectures as arch
from .building import DATA, Run, mini, of_images, problem, stack
from .inception import InceptionConfig
from .inputs import ImagenetConfig, TextConfig

# Threads do not pay for a hundred parameters, and cost dearly where cores are shared.
_ONE_THREAD = {"pytorch": {"OMP_NUM_THREADS": "1"}}

# Runs of the small forms and their targets. `docs/deepobs.md` has the runs that set them.
_SMALL = {
    "mnist_logreg": Run(128, 8, 0.85),
    "mnist_mlp": Run(128, 8, 0.90),
    "mnist_2c2d": Run(128, 6, 0.94),
    "mnist_vae": Run(64, 4, 54.0),
    "fmnist_logreg": Run(128, 8, 0.75),
    "fmnist_mlp": Run(128, 8, 0.81),
    "fmnist_2c2d": Run(128, 6, 0.80),
    "fmnist_vae": Run(64, 4, 60.0),
    "cifar10_3c3d": Run(128, 6, 0.60),
    "cifar100_3c3d": Run(128, 8, 0.25),
    "svhn_3c3d": Run(128, 6, 0.75),
}


def _small_nets() -> list[WorkloadDefinition]:
    """Networks of MNIST's and Fashion-MNIST's images of 28 x 28 pixels."""
    converged = {"fmnist_2c2d": 0.919809}
    found = []
    for data in ("mnist", "fmnist"):
        for network, title, layers, epochs in (
            ("logreg", "logistic regression", arch.logreg, 50),
            ("mlp", "multi-layer perceptron", arch.mlp, 100),
            ("2c2d", "two convolutions, two dense layers", arch.net_2c2d, 100),
        ):
            name = f"{data}_{network}"
            run, small = Run(128, epochs, converged.get(name)), _SMALL.get(name)
            model = stack(data, layers)
            found.append(of_images(data, network, title, model, run, small=small))
    return found


def _colour_nets() -> list[WorkloadDefinition]:
    """Networks of images of 32 x 32 pixels, with coupled L2."""
    found = []
    for data, converged in (("cifar10", 0.828331), ("cifar100", None), ("svhn", None)):
        model = stack(data, arch.net_3c3d, l2=0.002)
        title, run = "three convolutions, three dense layers", Run(128, 100, converged)
        small = _SMALL.get(f"{data}_3c3d")
        found.append(of_images(data, "3c3d", title, model, run, small=small))
    found.append(
        of_images(
            "cifar100",
            "allcnnc",
            "All-CNN-C",
            stack("cifar100", arch.allcnnc, l2=5e-4),
            Run(256, 350, 0.525604),
            default_dropout_rate=0.5,
        )
    )
    return [*found, *_wide_residual_nets(), *_vggs()]


def _wide_residual_nets() -> list[WorkloadDefinition]:
    modules = Modules("data_images", "metrics_classes", "wide_resnet")
    found = []
    for data, blocks, network, run in (
        ("svhn", 2, "wrn164", Run(128, 160, 0.950199)),
        ("cifar100", 6, "wrn404", Run(128, 200)),
    ):
        wide = arch.WideResnetConfig(DATA[data].num_classes, blocks)
        title = f"wide residual network {network[3:5]}-{network[-1]}"
        found.append(of_images(data, network, title, wide, run, modules=modules))
    return found


def _vggs() -> list[WorkloadDefinition]:
    """C1's regulariser leaves the dense layers out."""
    found = []
    for data in ("cifar10", "cifar100"):
        for depth in arch.VGG_DEPTHS:
            layers = functools.partial(arch.vgg, depth=depth)
            model = stack(data, layers, l2=5e-4, has_l2_on_dense=False)
            name, title = f"vgg{depth}", f"VGG {depth}"
            found.append(
                of_images(data, name, title, model, Run(), default_dropout_rate=0.5)
            )
    return found


def _autoencoders() -> list[WorkloadDefinition]:
    model, found = arch.VaeConfig(), []
    for data, run in (
        ("mnist", Run(64, 50, 73.4982)),
        ("fmnist", Run(64, 100, 92.9776)),
    ):
        images = dataclasses.replace(DATA[data].images, latent_dim=model.latent_dim)
        found.append(
            of_images(
                data,
                "vae",
                "variational autoencoder",
                model,
                run,
                small=_SMALL.get(f"{data}_vae"),
                modules=Modules("data_images", "metrics_vae", "vae"),
                metric="loss",
                loss_type=LossType.MODEL_DEFINED,
                data=images,
                default_dropout_rate=0.2,
            )
        )
    return found


def _points() -> list[WorkloadDefinition]:
    """Landscapes whose data are computed: every run has them at full size."""
    common: dict[str, Any] = {
        "modules": Modules("data_points", "metrics_points", "point"),
        "metric": "loss",
        "loss_type": LossType.MODEL_DEFINED,
        "environment": _ONE_THREAD,
    }
    quadratic = problem(
        "quadratic_deep",
        "DeepOBS, a noisy quadratic of 100 dimensions",
        splits=Splits(1000, 1000, 1000, 1000),
        run=Run(128, 100, 87.7032),
        model=arch.PointConfig("quadratic_deep"),
        data="quadratic_deep",
        # Its validation examples are drawn, not taken from the training examples.
        evaluated_splits=EVALUATION_SPLITS,
        **common,
    )
    others = [
        problem(
            f"two_d_{name}",
            f"DeepOBS, {name.capitalize()}'s function with noise",
            splits=Splits(10_000, 10_000, 10_000, 10_000),
            run=Run(),
            model=arch.PointConfig(name),
            data=name,
            **common,
        )
        for name in arch.PLANES
    ]
    return [quadratic, *others]


def _imagenet() -> list[WorkloadDefinition]:
    """What the original calls test is ImageNet's validation split."""
    common: dict[str, Any] = {
        "dataset": "imagenet",
        "packages": ("simplejpeg",),
        "environment": ENVIRONMENT,
        "splits": Splits(1_281_167, 50_000, 50_000, 10_000),
        "evaluated_splits": ("eval_train", "validation"),
        "data": ImagenetConfig(),
    }
    found = [
        problem(
            f"imagenet_vgg{depth}",
            f"DeepOBS imagenet, VGG {depth}",
            run=Run(),
            model=arch.StackConfig(
                arch.vgg(arch.IMAGENET_CLASSES, depth), (224, 224, 3), 5e-4, False
            ),
            modules=Modules("data_imagenet", "metrics_classes", "stack"),
            loss_type=LossType.SOFTMAX_CROSS_ENTROPY,
            default_dropout_rate=0.5,
            **common,
        )
        for depth in arch.VGG_DEPTHS
    ]
    inception = problem(
        "imagenet_inception_v3",
        "DeepOBS imagenet, Inception-v3",
        run=Run(32, 100),
        model=InceptionConfig(),
        modules=Modules("data_imagenet", "metrics_inception", "inception"),
        loss_type=LossType.MODEL_DEFINED,
        default_dropout_rate=0.8,
        **common,
    )
    return [*found, inception]


def _characters() -> WorkloadDefinition:
    """War and Peace; the small form reads Persuasion instead."""
    # Sequences of 50 of the 2,612,948 and 653,237 characters.
    train, test = 52_258, 13_064
    reduced = mini(
        "DeepOBS, the next character of Persuasion",
        Splits(7_469, 1_867, 1_867, 1_867),
        Run(50, 5, 0.35),
        "tolstoi_mini",
    )
    return problem(
        "tolstoi_char_rnn",
        "DeepOBS, the next character of War and Peace",
        dataset="tolstoi",
        splits=Splits(train, train, test, test),
        run=Run(50, 200, 0.604586),
        model=arch.CharactersConfig(),
        modules=Modules("data_characters", "metrics_characters", "characters"),
        loss_type=LossType.SOFTMAX_CROSS_ENTROPY,
        data=TextConfig(),
        default_dropout_rate=0.2,
        mini=reduced,
    )


DEFINITIONS = (
    *_points(),
    *_small_nets(),
    *_autoencoders(),
    *_colour_nets(),
    _characters(),
    *_imagenet(),
)
