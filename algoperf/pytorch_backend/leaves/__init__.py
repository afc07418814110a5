"""Nested values to arrays and JSON, and back: what checkpoints are made of.

A tree may hold dicts, lists, tuples, namedtuples, deques, dataclasses; tensors, NumPy
arrays and plain values; objects with a state (see `stateful`). Functions and other
constants are left out and come from the template, which is the same tree made anew. An
object that occurs twice, a module's parameters included, is saved once and is one
object again.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from algoperf.backend import Arrays
from algoperf.errors import BadCheckpoint
from algoperf.pytorch_backend.leaves.reader import Reader
from algoperf.pytorch_backend.leaves.writer import Writer


def to_leaves(tree: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays by path, and the skeleton as JSON: a copy, which no later step changes."""
    writer = Writer()
    skeleton = writer.write(tree, "")
    return writer.arrays, {"tree": skeleton}


def from_leaves(
    template: Any, arrays: Arrays, rest: Mapping[str, Any], device: torch.device
) -> Any:
    """`template` with what `to_leaves` saved; restored in place where possible.

    device: where tensors go that were on the accelerator and that the template lacks.
    Raises `BadCheckpoint` for missing or extra paths, other shapes and other dtypes.
    """
    reader = Reader(arrays, device)
    restored = reader.read(rest["tree"], template, "")
    extra = sorted(set(arrays) - reader.used)
    if extra:
        raise BadCheckpoint(
            f"The checkpoint has {len(extra)} array(s) too many; the first is "
            f"{extra[0]!r}. It was written for something else, or is damaged."
        )
    return restored
