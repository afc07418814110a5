"""Which parameters Muon updates, and as which matrices: by type, never by name."""

import math
from collections.abc import Sequence

from algoperf.spec import ParameterType

_INTO = {  # axes: inputs, then outputs of any rank (heads)
    ParameterType.WEIGHT,
    ParameterType.ATTENTION_Q,
    ParameterType.ATTENTION_K,
    ParameterType.ATTENTION_V,
    ParameterType.ATTENTION_QKV,
    ParameterType.ATTENTION_KV,
}
_SCALE = 0.2  # root mean square of an update that AdamW would make (arXiv 2502.16982)


def matrix_shape(
    type: ParameterType, shape: Sequence[int], *, is_output: bool
) -> tuple[int, int] | None:
    """The matrix that Muon takes a parameter for; None for NadamW's parameters.

    Muon's are the weights of rank 2 in hidden layers, attention's projections among
    them; those may have an axis of heads, which is merged with the one that it is a
    part of. Embeddings, convolutions, biases, scales and the output layer are NadamW's.
    """
    if is_output or len(shape) < 2:
        return None
    if len(shape) == 2 and type in {*_INTO, ParameterType.ATTENTION_OUT}:
        return shape[0], shape[1]
    if type is ParameterType.ATTENTION_OUT:
        return math.prod(shape[:-1]), shape[-1]
    if type in _INTO and type is not ParameterType.WEIGHT:
        return shape[0], math.prod(shape[1:])
    return None


def update_scale(shape: tuple[int, int]) -> float:
    """Gives an orthogonal matrix of that shape the size of an AdamW update.

    Such a matrix has a root mean square of 1 / sqrt(max(shape)).
    """
    return _SCALE * math.sqrt(max(shape))
