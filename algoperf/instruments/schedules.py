"""At which steps a quantity is measured: pure functions of the step, counted from 0."""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from algoperf.errors import BadSettings

_LARGEST_EXPONENT = 18.0  # 10**18 steps; beyond it a number is a mistake
_MOST_STEPS = 1_000_000
_HELP = (
    "Give a number of steps, such as 10, or log:START,END[,STEPS[,BASE]], such as "
    "log:0,5,200: steps BASE^e for STEPS exponents e from START to END, and step 0."
)


class Schedule(Protocol):
    """Says at which steps to measure."""

    def __call__(self, step: int) -> bool:
        """Whether to measure at that step."""
        ...


@dataclass(frozen=True)
class Linear:
    """Every `interval` steps from `offset` on."""

    interval: int = 1
    offset: int = 0

    def __call__(self, step: int) -> bool:
        """See `Schedule`."""
        return step >= self.offset and (step - self.offset) % self.interval == 0

    def __str__(self) -> str:
        start = f", from step {self.offset}" if self.offset else ""
        return f"every {self.interval} steps{start}"


class Logarithmic:
    """The integers base**e for equally spaced exponents e, and step 0."""

    def __init__(
        self, start: float, end: float, steps: int = 300, base: float = 10.0
    ) -> None:
        """start, end: the first and the last exponent; steps: how many exponents."""
        exponents = np.linspace(start, end, steps)
        self._steps = {0, *(int(base**e) for e in exponents)}
        self._text = f"{steps} steps from {base:g}^{start:g} to {base:g}^{end:g}"

    def __call__(self, step: int) -> bool:
        """See `Schedule`."""
        return step in self._steps

    def __str__(self) -> str:
        return self._text


def parse(text: str) -> Schedule:
    """`10`, or `log:0,5[,200[,10]]`; BadSettings for anything else."""
    kind, separator, numbers = text.strip().partition(":")
    if not separator and kind.isascii() and kind.isdigit() and int(kind) > 0:
        return Linear(int(kind))
    if kind == "log" and separator:
        return _logarithmic(text, numbers.split(","))
    raise BadSettings(f"{text!r} is no schedule of instruments. {_HELP}")


def _logarithmic(text: str, words: list[str]) -> Logarithmic:
    try:
        if not 2 <= len(words) <= 4:
            raise ValueError
        start, end = float(words[0]), float(words[1])
        steps = int(words[2]) if len(words) > 2 else 300
        base = float(words[3]) if len(words) > 3 else 10.0
    except ValueError:
        raise BadSettings(f"{text!r} is no schedule of instruments. {_HELP}") from None
    is_finite = all(map(math.isfinite, (start, end, base)))
    if not is_finite or not 0 <= start <= end or not 1 < base <= 1e6:
        raise BadSettings(
            f"{text!r}: exponents must rise from 0 or more, and the base must be above 1. "
            f"{_HELP}"
        )
    if end * math.log10(base) > _LARGEST_EXPONENT or not 1 <= steps <= _MOST_STEPS:
        raise BadSettings(
            f"{text!r} reaches beyond 10^{_LARGEST_EXPONENT:g} steps or has more than "
            f"{_MOST_STEPS:,} of them. {_HELP}"
        )
    return Logarithmic(start, end, steps, base)
