"""The networks of the test problems as values, which both frameworks build.

Sizes, initial values and paddings are those of the published code's first release (sheet
`deepobs.md`, §2). `Glorot` distributions are TensorFlow's: the normal one is cut off at two
deviations and rescaled.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Padding = Literal["SAME", "VALID"]


@dataclass(frozen=True)
class Draw:
    """How the initial values of a kernel are drawn."""

    kind: Literal["glorot_uniform", "glorot_normal", "truncated_normal", "zeros"]
    stddev: float = 0.0  # of a truncated normal, before it is cut off


GLOROT_UNIFORM = Draw("glorot_uniform")
GLOROT_NORMAL = Draw("glorot_normal")


@dataclass(frozen=True)
class Conv:
    """A convolution and, unless it ends the network, ReLU."""

    features: int
    size: int
    stride: int = 1
    padding: Padding = "SAME"
    kernel: Draw = GLOROT_NORMAL
    bias: float = 0.0


@dataclass(frozen=True)
class Dense:
    """A dense layer over all axes but the first, and ReLU unless it is the last."""

    features: int
    kernel: Draw = GLOROT_UNIFORM
    bias: float = 0.0
    is_last: bool = False


@dataclass(frozen=True)
class Pool:
    """The maximum over windows; output positions as with padding "SAME"."""

    size: int
    stride: int


@dataclass(frozen=True)
class Dropout:
    """Drops elements with `share` of the workload's dropout rate."""

    share: float = 1.0


@dataclass(frozen=True)
class MeanOverSpace:
    """The mean over height and width."""


@dataclass(frozen=True)
class Resize:
    """To `side` x `side` pixels, bilinearly."""

    side: int


Layer: TypeAlias = Conv | Dense | Pool | Dropout | MeanOverSpace | Resize


@dataclass(frozen=True)
class StackConfig:
    """Layers one after the other."""

    stack: tuple[Layer, ...]
    input_shape: tuple[int, ...]  # of an example: height, width, channels
    l2: float = 0.0  # times half the sum of squares of the kernels is added to the loss
    has_l2_on_dense: bool = True


def logreg(num_classes: int) -> tuple[Layer, ...]:
    """Multinomial logistic regression, from zeros."""
    return (Dense(num_classes, Draw("zeros"), is_last=True),)


def mlp(num_classes: int) -> tuple[Layer, ...]:
    """Three hidden layers."""
    draw = Draw("truncated_normal", 0.03)
    hidden = (Dense(width, draw) for width in (1000, 500, 100))
    return (*hidden, Dense(num_classes, draw, is_last=True))


def net_2c2d(num_classes: int) -> tuple[Layer, ...]:
    """Two convolutions with pooling, two dense layers."""
    draw, bias = Draw("truncated_normal", 0.05), 0.05
    return (
        Conv(32, 5, kernel=draw, bias=bias),
        Pool(2, 2),
        Conv(64, 5, kernel=draw, bias=bias),
        Pool(2, 2),
        Dense(1024, draw, bias),
        Dense(num_classes, draw, bias, is_last=True),
    )


def net_3c3d(num_classes: int) -> tuple[Layer, ...]:
    """Three convolutions with pooling, three dense layers."""
    return (
        Conv(64, 5, padding="VALID"),
        Pool(3, 2),
        Conv(96, 3, padding="VALID"),
        Pool(3, 2),
        Conv(128, 3),
        Pool(3, 2),
        Dense(512),
        Dense(256),
        Dense(num_classes, is_last=True),
    )


def allcnnc(num_classes: int) -> tuple[Layer, ...]:
    """All-CNN-C: only convolutions, ReLU after the last one too. Dropout rate 0.5."""

    def conv(
        features: int, size: int, stride: int = 1, padding: Padding = "SAME"
    ) -> Conv:
        return Conv(features, size, stride, padding, bias=0.1)

    return (
        Dropout(0.4),  # 0.2 of the input
        conv(96, 3),
        conv(96, 3),
        conv(96, 3, 2),
        Dropout(),
        conv(192, 3),
        conv(192, 3),
        conv(192, 3, 2),
        Dropout(),
        conv(192, 3, padding="VALID"),
        conv(192, 1),
        conv(num_classes, 1),
        MeanOverSpace(),
    )


VGG_DEPTHS = (16, 19)
IMAGENET_CLASSES = 1_001  # one is the background


def vgg(num_classes: int, depth: int) -> tuple[Layer, ...]:
    """VGG of 16 or 19 layers on images of 224 pixels. Dropout rate 0.5."""
    last = 3 if depth == 16 else 4
    layers: list[Layer] = [Resize(224)]
    for features, count in ((64, 2), (128, 2), (256, last), (512, last), (512, last)):
        layers += [Conv(features, 3)] * count + [Pool(2, 2)]
    for _ in range(2):
        layers += [Dense(4096), Dropout()]
    return (*layers, Dense(num_classes, is_last=True))


@dataclass(frozen=True)
class VaeConfig:
    """A variational autoencoder of images of 28 x 28 pixels; see the model files."""

    latent_dim: int = 8


@dataclass(frozen=True)
class WideResnetConfig:
    """A wide residual network of 6 blocks_per_group + 4 layers."""

    num_classes: int
    blocks_per_group: int
    widening: int = 4
    l2: float = 5e-4

    @property
    def groups(self) -> tuple[tuple[int, int], ...]:
        """Features and stride of each group of blocks."""
        return tuple(
            (width * self.widening, stride)
            for width, stride in ((16, 1), (32, 2), (64, 2))
        )


@dataclass(frozen=True)
class CharactersConfig:
    """A recurrent network over the characters of a text."""

    vocab_size: int = 83
    hidden_dim: int = 128
    num_layers: int = 2
    sequence_length: int = 50


PLANES: tuple[Literal["beale", "branin", "rosenbrock"], ...] = (
    "beale",
    "branin",
    "rosenbrock",
)


@dataclass(frozen=True)
class PointConfig:
    """A point that moves in a landscape; see `landscapes`."""

    landscape: Literal["quadratic_deep", "beale", "branin", "rosenbrock"]
