"""How tensors are cut into the blocks that Distributed Shampoo preconditions.

The same for every framework: arrays are only reshaped, indexed and handed to the
framework's own concatenation.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Limits:
    """Sizes of the archived published version; `skipped_above` of the official code."""

    merged: int = 4096  # axes are merged as long as their product is not above
    block: int = 1024  # longer axes are cut
    skipped_above: int = 4096  # tensors with a longer axis are not preconditioned


@dataclass(frozen=True)
class Constants:
    """What the published spaces leave fixed."""

    beta2: float = 0.999
    update_roots_every: int = 20
    start_preconditioning_step: int = 101  # counted from 1; grafting alone before it
    initial_statistic: float = 1e-6  # times the identity
    epsilon: float = 1e-8  # of the grafting direction's root
    smallest_norm: float = 1e-25  # added to norms that are divided by
    ridge: float = 1e-6  # of the largest eigenvalue, added before a root is taken
    largest_error: float = 0.1  # of a root that is used
    limits: Limits = Limits()

    @classmethod
    def at(cls, hyperparameters: Any) -> "Constants":
        """Those of a point: its `beta2`, and its `block_size` where it has one."""
        block = getattr(hyperparameters, "block_size", Limits.block)
        return cls(beta2=hyperparameters.beta2, limits=Limits(block=int(block)))


def merged_shape(shape: Sequence[int], largest: int) -> Shape:
    """The shape with neighbouring axes merged from the left, up to a length."""
    merged = [1]
    for size in shape:
        if merged[-1] * size <= largest:
            merged[-1] *= size
        elif merged[-1] == 1:
            merged[-1] = size
        else:
            merged.append(size)
    return tuple(merged)


def cut_lengths(size: int, block: int) -> list[int]:
    """Lengths of the pieces of an axis: all of `block` but for the last."""
    full, rest = divmod(size, block)
    return [block] * full + ([rest] if rest else [])


class Blocks:
    """The blocks of some tensors; those of one shape make a group."""

    def __init__(self, shapes: Sequence[Sequence[int]], limits: Limits) -> None:
        self._shapes = [merged_shape(shape, limits.merged) for shape in shapes]
        self._originals = [tuple(shape) for shape in shapes]
        self._cuts = [
            [cut_lengths(size, limits.block) for size in shape]
            for shape in self._shapes
        ]
        self.preconditioned = [
            i
            for i, shape in enumerate(self._shapes)
            if max(shape) <= limits.skipped_above
        ]
        self.counts: dict[Shape, int] = {}  # blocks in each group, by their shape
        for i in self.preconditioned:
            for shape in itertools.product(*self._cuts[i]):
                self.counts[shape] = self.counts.get(shape, 0) + 1

    def cut(self, tensors: Sequence[Any]) -> dict[Shape, list[Any]]:
        """The blocks of each group; tensors in the order of the shapes given."""
        blocks: dict[Shape, list[Any]] = {shape: [] for shape in self.counts}
        for i in self.preconditioned:
            tensor = tensors[i].reshape(self._shapes[i])
            for where in itertools.product(*map(_slices, self._cuts[i])):
                shape = tuple(part.stop - part.start for part in where)
                blocks[shape].append(tensor[where])
        return blocks

    def join(
        self,
        blocks: Mapping[Shape, Sequence[Any]],
        concatenate: Callable[[list[Any], int], Any],
    ) -> dict[int, Any]:
        """The preconditioned tensors by index, from what `cut` would return of them."""
        sources = {shape: iter(group) for shape, group in blocks.items()}
        return {
            i: _assemble(self._cuts[i], (), sources, concatenate).reshape(
                self._originals[i]
            )
            for i in self.preconditioned
        }


def _slices(lengths: Sequence[int]) -> list[slice]:
    ends = list(itertools.accumulate(lengths))
    return [slice(end - size, end) for end, size in zip(ends, lengths, strict=True)]


def _assemble(
    cuts: Sequence[Sequence[int]],
    shape: Shape,
    sources: Mapping[Shape, Iterator[Any]],
    concatenate: Callable[[list[Any], int], Any],
) -> Any:
    """Takes blocks in the order of `cut`; `shape` are the lengths along outer axes."""
    axis = len(shape)
    if axis == len(cuts):
        return next(sources[shape])
    parts = [
        _assemble(cuts, (*shape, size), sources, concatenate) for size in cuts[axis]
    ]
    return parts[0] if len(parts) == 1 else concatenate(parts, axis)


# Coupled Newton: eigenvalues far below 1 grow by (1 + 1/p)^p >= 2.25 an iteration. With
# the ridge the smallest starts above 1e-6 / sqrt(1024), so that 21 iterations bring it to
# about 1; from there convergence is quadratic.
NUM_ROOT_ITERATIONS = 30
NUM_SQUARINGS = 6  # of a matrix, on the way to its largest eigenvalue
ROOT_TOLERANCE = 1e-6  # a root's error, below which it is not improved any more
ALLOWED_GROWTH = 1.2  # of the error in one iteration; beyond it the last root stays


def start_vector(size: int) -> list[float]:
    """Where the power iteration starts, the same in every framework; [size], not 0.

    Irregular: a constant vector is orthogonal to every gradient that sums to 0.
    """
    vector = [math.sin(1.0 + 12.9898 * i * (1.0 + i)) for i in range(size)]
    norm = math.sqrt(sum(x * x for x in vector))
    return [x / norm for x in vector]
