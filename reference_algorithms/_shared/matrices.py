"""What Muon and its relatives orthogonalise, and how: for every framework.

Parameters are chosen by type and shape, never by name.
"""

import math
from collections.abc import Sequence

from algoperf.spec import ParameterType

Shape = tuple[int, int]  # rows, columns

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of Newton-Schulz' odd quintic polynomial
NUM_ITERATIONS = 5
SMALLEST_NORM = 1e-7  # of a matrix, that it is divided by

_INTO = {  # axes: inputs, then outputs of any rank (heads)
    ParameterType.WEIGHT,
    ParameterType.ATTENTION_Q,
    ParameterType.ATTENTION_K,
    ParameterType.ATTENTION_V,
    ParameterType.ATTENTION_QKV,
    ParameterType.ATTENTION_KV,
}
UPDATE_SIZE = (
    0.2  # root mean square of an update that AdamW would make (arXiv 2502.16982)
)


def matrix_shape(
    type: ParameterType, shape: Sequence[int], *, is_output: bool
) -> Shape | None:
    """The matrix that Muon takes a parameter for; None if it leaves it to another rule.

    Muon's are the weights of rank 2 in hidden layers, attention's projections among
    them; those may have an axis of heads, which is merged with the one that it is a
    part of. Embeddings, convolutions, biases, scales and the output layer are not.
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


def update_scale(shape: Shape) -> float:
    """Gives an orthogonal matrix of that shape the size of an AdamW update.

    Such a matrix has a root mean square of 1 / sqrt(max(shape)).
    """
    return UPDATE_SIZE * math.sqrt(max(shape))
