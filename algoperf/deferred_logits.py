"""Logits of a large vocabulary that are not computed until somebody looks at them.

The logits of 64 x 1,024 tokens over 50,257 classes are 13 GB. The softmax loss of both
backends takes `DeferredLogits` part by part, so that they never exist at once; for
everything else they behave as the array that they stand for.
"""

import abc
from typing import Any

# Numbers of float32 logits that exist at once: about 1 GB.
_MOST_AT_ONCE = 2**28
_OPERATORS = (
    *("add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv", "pow"),
    *("matmul", "rmatmul", "neg", "abs", "getitem", "lt", "le", "gt", "ge"),
)


def num_parts(batch: int, length: int, classes: int) -> int:
    """Into how many parts logits [batch, length, classes] are cut along `length`."""
    whole = range(1, length + 1)
    parts = (n for n in whole if length % n == 0)
    fits = (n for n in parts if batch * (length // n) * classes <= _MOST_AT_ONCE)
    return next(fits, length)


class DeferredLogits(abc.ABC):
    """The products of hidden states with the rows of a table: [batch, length, classes].

    hidden: [batch, length, width]; table: [classes, width]; both arrays of a framework.
    """

    def __init__(self, hidden: Any, table: Any) -> None:
        self.hidden = hidden
        self.table = table

    @abc.abstractmethod
    def compute(self) -> Any:
        """The logits as an array, float32 or wider."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the logits."""
        return (*self.hidden.shape[:-1], self.table.shape[0])

    @property
    def ndim(self) -> int:
        """Number of axes of the logits."""
        return len(self.shape)

    @property
    def num_parts(self) -> int:
        """See the function `num_parts`."""
        batch, length, classes = self.shape
        return num_parts(batch, length, classes)

    def __getattr__(self, name: str) -> object:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.compute(), name)


def _operator(name: str) -> object:
    def apply(self: DeferredLogits, *others: Any) -> object:
        return getattr(self.compute(), name)(*others)

    return apply


for _name in _OPERATORS:
    setattr(DeferredLogits, f"__{_name}__", _operator(f"__{_name}__"))
