"""Inception-v3 as a value, which both frameworks build (Szegedy and others, 2016; sheet, §2.9)."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from .architectures import IMAGENET_CLASSES, Padding


@dataclass(frozen=True)
class Unit:
    """A convolution without biases, batch norm, and ReLU."""

    features: int
    size: tuple[int, int]  # of the kernel: height, width
    stride: int = 1
    padding: Padding = "SAME"


@dataclass(frozen=True)
class Window:
    """The maximum or the mean over windows of `size` x `size`; padding never counts."""

    kind: Literal["max", "mean"]
    size: int = 3
    stride: int = 1
    padding: Padding = "SAME"


@dataclass(frozen=True)
class Branches:
    """Sequences of steps that all begin at the same place; their channels side by side."""

    branches: tuple[tuple["Step", ...], ...]


Step: TypeAlias = Unit | Window | Branches
BATCH_NORM_MOMENTUM = 0.9997
BATCH_NORM_EPSILON = 1e-3
LABEL_SMOOTHING = 0.1
AUXILIARY_WEIGHT = 0.4  # of the second head's loss, in training only
AUXILIARY_HEAD: tuple[Step, ...] = (
    Window("mean", 5, 3, "VALID"),
    Unit(128, (1, 1)),
    Unit(768, (5, 5), padding="VALID"),
)
_SHRINKING = Window("max", 3, 2, "VALID")


@dataclass(frozen=True)
class InceptionConfig:
    """Inception-v3; see the model files."""

    num_classes: int = IMAGENET_CLASSES
    l2: float = 5e-4
    input_size: int = 224  # of the inputs, in pixels …
    image_size: int = 299  # … which are resized to this, bilinearly


def body() -> tuple[Step, ...]:
    """The steps before the second head branches off: to [17, 17, 768]."""
    stem = (
        Unit(32, (3, 3), 2, "VALID"),
        Unit(32, (3, 3), padding="VALID"),
        Unit(64, (3, 3)),
        _SHRINKING,
        Unit(80, (1, 1)),
        Unit(192, (3, 3), padding="VALID"),
        _SHRINKING,
    )
    fine = tuple(_block_35(of_pool) for of_pool in (32, 64, 64))
    coarse = tuple(_block_17(inner) for inner in (128, 160, 160, 192))
    return (*stem, *fine, _to_17(), *coarse)


def tail() -> tuple[Step, ...]:
    """The steps after that: to [8, 8, 2048]."""
    return (_to_8(), _block_8(), _block_8())


def _block_35(of_pool: int) -> Branches:
    return Branches(
        (
            (Unit(64, (1, 1)),),
            (Unit(48, (1, 1)), Unit(64, (5, 5))),
            (Unit(64, (1, 1)), Unit(96, (3, 3)), Unit(96, (3, 3))),
            (Window("mean"), Unit(of_pool, (1, 1))),
        )
    )


def _to_17() -> Branches:
    shrinking = Unit(96, (3, 3), 2, "VALID")
    return Branches(
        (
            (Unit(384, (3, 3), 2, "VALID"),),
            (Unit(64, (1, 1)), Unit(96, (3, 3)), shrinking),
            (_SHRINKING,),
        )
    )


def _block_17(inner: int) -> Branches:
    row, column = (1, 7), (7, 1)
    return Branches(
        (
            (Unit(192, (1, 1)),),
            (Unit(inner, (1, 1)), Unit(inner, row), Unit(192, column)),
            (
                Unit(inner, (1, 1)),
                Unit(inner, column),
                Unit(inner, row),
                Unit(inner, column),
                Unit(192, row),
            ),
            (Window("mean"), Unit(192, (1, 1))),
        )
    )


def _to_8() -> Branches:
    square = Unit(192, (1, 1)), Unit(192, (1, 7)), Unit(192, (7, 1))
    return Branches(
        (
            (Unit(192, (1, 1)), Unit(320, (3, 3), 2, "VALID")),
            (*square, Unit(192, (3, 3), 2, "VALID")),
            (_SHRINKING,),
        )
    )


def _block_8() -> Branches:
    both = Branches(((Unit(384, (1, 3)),), (Unit(384, (3, 1)),)))
    return Branches(
        (
            (Unit(320, (1, 1)),),
            (Unit(384, (1, 1)), both),
            (Unit(448, (1, 1)), Unit(384, (3, 3)), both),
            (Window("mean"), Unit(192, (1, 1))),
        )
    )
