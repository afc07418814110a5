"""A model's weights from its JAX twin: names and layouts of the usual layers.

Whoever trained or wrote down weights in one framework can go on in the other, and the
tests compare both models on the same weights. Gradients are converted like weights.
"""

import re
from collections.abc import Mapping

import numpy as np

_TO_HEADS = re.compile(r"attention/(query|key|value)/(kernel|bias)$")
_FROM_HEADS = re.compile(r"attention/(out|output)/kernel$")


def from_jax(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Parameters of a `model_jax.py` by path -> those of `model_pytorch.py` by name.

    arrays: keyed by slash-separated path (`block_0/attention/query/kernel`). Modules have
    the same names in both; `kernel`, `scale` and `embedding` are `weight` in PyTorch. A
    model that differs further defines `weights_from_jax(config, arrays)`, usually around
    this function.
    """
    return {_name(path): _in_layout(path, a) for path, a in arrays.items()}


def _name(path: str) -> str:
    module, _, leaf = path.rpartition("/")
    leaf = "weight" if leaf in ("kernel", "scale", "embedding") else leaf
    return f"{module}/{leaf}".removeprefix("/").replace("/", ".")


def _in_layout(path: str, array: np.ndarray) -> np.ndarray:
    """Dense [in, out] -> [out, in]; convolution [*window, in, out] -> [out, in, *window].

    Modules named `...attention` have heads as an axis of their own in JAX: it is merged
    with the one beside it.
    """
    if _TO_HEADS.search(path):
        array = array.reshape(*array.shape[: array.ndim - 2], -1)
    elif _FROM_HEADS.search(path):
        array = array.reshape(-1, array.shape[-1])
    if path.rpartition("/")[2] != "kernel":
        return array
    return np.moveaxis(array, (-1, -2), (0, 1))
