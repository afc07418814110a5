"""Seeds and step keys as pure functions of what they are for."""

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from algoperf import spec
from algoperf.backend import Backend

_STEPS_PER_CHUNK = 16
KEYS_PER_STEP = 3  # data selection, update, preparing for an evaluation


def seed_for(*purpose: str | int) -> int:
    """A seed in 0 … 2**63 - 1: the same for the same words and numbers, on every machine."""
    digest = hashlib.sha256("\x1f".join(map(str, purpose)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def trial_seed(campaign_seed: int, workload: str, study: int, trial: int) -> int:
    """The seed of one trial, from which all its random numbers come."""
    return seed_for("trial", campaign_seed, workload, study, trial)


def key_numbers(seed: int, purpose: str, chunk: int = 0, count: int = 1) -> np.ndarray:
    """Numbers for keys, uint32 [count, 2]."""
    words = np.random.SeedSequence(seed_for(seed, purpose, chunk)).generate_state(
        2 * count, np.uint32
    )
    return words.reshape(count, 2)


class ProcessRandomness:
    """The global generators of Python, NumPy and the framework.

    The harness draws from none of them. Submissions may, so they are seeded when a trial starts
    and kept in checkpoints.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend: Any = backend
        self._has_own = hasattr(backend, "rng_state")

    def seed(self, seed: int) -> None:
        """Starts all of them from the trial's seed."""
        random.seed(seed_for(seed, "python"))
        np.random.seed(seed_for(seed, "numpy") % 2**32)
        if self._has_own:
            self._backend.seed(seed_for(seed, "framework"))

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays, and what is not an array as JSON."""
        kind, keys, position, has_gauss, gauss = np.random.get_state()
        arrays = {"numpy": np.asarray(keys)}
        if self._has_own:
            arrays |= {
                f"framework/{k}": v for k, v in self._backend.rng_state().items()
            }
        rest = {
            "python": json.dumps(random.getstate()),
            "numpy": [kind, position, has_gauss, gauss],
        }
        return arrays, rest

    def restore(
        self, arrays: Mapping[str, np.ndarray], rest: Mapping[str, Any]
    ) -> None:
        """The inverse of `state`."""
        version, words, gauss = json.loads(rest["python"])
        random.setstate((version, tuple(words), gauss))
        kind, *numbers = rest["numpy"]
        np.random.set_state((kind, arrays["numpy"], *numbers))
        if self._has_own:
            own = {
                name.removeprefix("framework/"): array
                for name, array in arrays.items()
                if name.startswith("framework/")
            }
            self._backend.set_rng_state(own)


class StepKeys:
    """The keys of each step: a pure function of (seed, step), made a chunk at a time."""

    def __init__(self, backend: Backend, seed: int) -> None:
        self._backend = backend
        self._seed = seed
        self._chunk = -1
        self._keys: Sequence[spec.RandomState] = ()

    def __call__(self, step: int) -> Sequence[spec.RandomState]:
        """`KEYS_PER_STEP` keys for a step, counted from 0."""
        chunk, offset = divmod(step, _STEPS_PER_CHUNK)
        if chunk != self._chunk:
            count = _STEPS_PER_CHUNK * KEYS_PER_STEP
            numbers = key_numbers(self._seed, "step", chunk, count)
            self._keys = self._backend.keys(numbers)
            self._chunk = chunk
        first = offset * KEYS_PER_STEP
        return self._keys[first : first + KEYS_PER_STEP]
