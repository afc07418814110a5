"""Word error rate and CTC loss per token: what is evaluated in both workloads."""

import functools
from collections.abc import Callable
from pathlib import Path

from .outputs import outputs
from .wer import summarise

__all__ = ["outputs", "summarise", "summariser"]


def summariser(data_folder: Path) -> Callable[..., dict[str, float]]:
    """`summarise` with the tokenizer of the prepared data."""
    return functools.partial(summarise, data_folder=data_folder)
