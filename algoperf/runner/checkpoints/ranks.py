"""The states of all processes in one checkpoint: the first's, and where others differ.

With data parallelism most of a state is the same everywhere; a submission that shards its
optimizer state, or draws from its process's generator, has parts that are not.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from algoperf.backend import Backend

_PREFIX = "harness/rank "  # of the arrays of a checkpoint


def join(
    backend: Backend, arrays: Mapping[str, np.ndarray], rest: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
    """To be called by all processes, each with its arrays and JSON.

    Returns the arrays to save, complete on the first process, and for each rank what
    `of_rank` needs (JSON).
    """
    if backend.num_processes == 1:
        return dict(arrays), [{"rest": rest}]
    own = {name: _digest(array) for name, array in arrays.items()}
    first = backend.processes.broadcast(own)
    changed = {n: a for n, a in arrays.items() if own[n] != first.get(n)}
    absent = sorted(set(first) - set(own))
    states = backend.processes.gather(
        {"changed": changed, "absent": absent, "rest": rest}
    )
    joined = dict(arrays) if backend.rank == 0 else {}
    for rank, state in enumerate(states):
        for name, array in state["changed"].items():
            joined[f"{_PREFIX}{rank}/{name}"] = array
    ranks = [{"absent": s["absent"], "rest": s["rest"]} for s in states]
    for one in ranks[1:]:
        if one["rest"] == ranks[0]["rest"]:
            del one["rest"]  # the structure of a state is mostly the same everywhere
    return joined, ranks


def of_rank(
    rank: int, arrays: Mapping[str, np.ndarray], ranks: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and JSON of one process."""
    absent = set(ranks[rank].get("absent", ()))
    own = {
        name: array
        for name, array in arrays.items()
        if not name.startswith(_PREFIX) and name not in absent
    }
    prefix = f"{_PREFIX}{rank}/"
    changed = {n: a for n, a in arrays.items() if n.startswith(prefix)}
    own |= {n.removeprefix(prefix): a for n, a in changed.items()}
    return own, ranks[rank].get("rest", ranks[0]["rest"])


def _digest(array: np.ndarray) -> bytes:
    digest = hashlib.blake2b(f"{array.dtype} {array.shape}".encode())
    digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.digest()
