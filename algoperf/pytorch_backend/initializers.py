"""Initial values as in the published JAX models, drawn from an explicit generator.

An initializer is called as `initializer(tensor, generator, fan_in, fan_out)` and fills
the tensor in place. The fans are those of the layer, so that the parts of a fused
weight can be initialised as if they were separate.
"""

import math
from collections.abc import Callable
from typing import Literal

from torch import Generator, Tensor, nn

Initializer = Callable[[Tensor, Generator, int, int], object]

# Standard deviation of a standard normal variable cut off at -2 and 2, as in JAX.
_TRUNCATED_STDDEV = 0.87962566103423978


def constant(value: float) -> Initializer:
    """Every entry is `value`."""

    def fill(tensor: Tensor, generator: Generator, fan_in: int, fan_out: int) -> None:
        nn.init.constant_(tensor, value)

    return fill


def normal(stddev: float) -> Initializer:
    """Normal with mean 0."""

    def fill(tensor: Tensor, generator: Generator, fan_in: int, fan_out: int) -> None:
        nn.init.normal_(tensor, 0.0, stddev, generator=generator)

    return fill


def uniform(low: float, high: float) -> Initializer:
    """Uniform in [low, high)."""

    def fill(tensor: Tensor, generator: Generator, fan_in: int, fan_out: int) -> None:
        nn.init.uniform_(tensor, low, high, generator=generator)

    return fill


def truncated_normal(stddev: float) -> Initializer:
    """Normal of `stddev`, cut off at two of it: the result deviates by 0.88 of it."""

    def fill(tensor: Tensor, generator: Generator, fan_in: int, fan_out: int) -> None:
        bound = 2 * stddev
        nn.init.trunc_normal_(tensor, 0.0, stddev, -bound, bound, generator=generator)

    return fill


def variance_scaling(
    scale: float,
    mode: Literal["fan_in", "fan_out", "fan_avg"],
    distribution: Literal["truncated_normal", "normal", "uniform"],
) -> Initializer:
    """Mean 0 and variance scale / fan."""

    def fill(tensor: Tensor, generator: Generator, fan_in: int, fan_out: int) -> None:
        fans = {
            "fan_in": fan_in,
            "fan_out": fan_out,
            "fan_avg": (fan_in + fan_out) / 2,
        }
        stddev = math.sqrt(scale / fans[mode])
        limit = math.sqrt(3) * stddev
        draw = {
            "truncated_normal": truncated_normal(stddev / _TRUNCATED_STDDEV),
            "normal": normal(stddev),
            "uniform": uniform(-limit, limit),
        }[distribution]
        draw(tensor, generator, fan_in, fan_out)

    return fill


def lecun_normal() -> Initializer:
    """Flax's default for dense and convolution kernels."""
    return variance_scaling(1.0, "fan_in", "truncated_normal")


def xavier_uniform() -> Initializer:
    """Uniform within the square root of 6 / (fan_in + fan_out)."""
    return variance_scaling(1.0, "fan_avg", "uniform")
