"""Seeds and step keys as pure functions of what they are for."""

import hashlib
from collections.abc import Sequence

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
