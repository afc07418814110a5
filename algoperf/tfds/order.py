"""The order in which tensorflow-datasets stores examples: by a hash of their keys."""

import hashlib
from collections.abc import Iterable

import numpy as np


def stored_order(keys: Iterable[str | int], split: str) -> np.ndarray:
    """Places, among `keys`, of the examples in their stored order: int64 [n].

    keys: what the builder yields with each example, in its order. split: the split's
    name, which is hashed first, so that equal keys of two splits have other places.
    """
    salt = hashlib.md5(split.encode(), usedforsecurity=False)
    hashes = bytearray()
    for key in keys:
        hasher = salt.copy()
        hasher.update(str(key).encode())
        hashes += hasher.digest()
    # 128-bit numbers, the most significant byte first, are sorted as two of 64 bits.
    halves = np.frombuffer(bytes(hashes), ">u8").reshape(-1, 2).astype(np.uint64)
    return np.lexsort((halves[:, 1], halves[:, 0]))
