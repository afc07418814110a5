import os
import subprocess
import sys

import numpy as np

from algoperf.runner import randomness
from algoperf.runner.randomness import KEYS_PER_STEP, StepKeys, key_numbers, seed_for

CHUNK = randomness._STEPS_PER_CHUNK
PRINT_SEEDS = """
from algoperf.runner.randomness import key_numbers, seed_for, trial_seed
print(seed_for("data", 7), trial_seed(7, "mnist", 1, 2), key_numbers(7, "init").tolist())
"""


class CountingBackend:
    """Turns numbers into keys and counts how often it was asked."""

    def __init__(self) -> None:
        self.num_calls = 0

    def keys(self, numbers):
        self.num_calls += 1
        return list(numbers)


def as_tuples(keys) -> list[tuple[int, ...]]:
    return [tuple(int(word) for word in key) for key in keys]


def test_trial_seeds_are_unique():
    seeds = {
        randomness.trial_seed(campaign, workload, study, trial)
        for campaign in range(4)
        for workload in ("mnist", "mnist_mini", "wmt", "ogbg")
        for study in range(1, 26)
        for trial in range(1, 101)
    }
    assert len(seeds) == 4 * 4 * 25 * 100


def test_numbers_that_write_alike_when_joined_give_different_seeds():
    assert seed_for("trial", 1, 11) != seed_for("trial", 11, 1)
    assert seed_for("trial", 1, 23) != seed_for("trial", 12, 3)


def test_a_seed_fits_a_signed_64_bit_integer():
    seeds = [seed_for("range", number) for number in range(1000)]
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_seeds_do_not_depend_on_the_hash_seed_of_the_process():
    outputs = {
        subprocess.run(
            [sys.executable, "-c", PRINT_SEEDS],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_seeds_stay_the_same_from_version_to_version():
    assert seed_for("trial", 0, "mnist", 1, 1) == 6975263749266691033


def test_key_numbers_are_pairs_of_32_bit_words():
    numbers = key_numbers(3, "init", count=5)
    assert (numbers.shape, numbers.dtype) == ((5, 2), np.dtype(np.uint32))


def test_key_numbers_of_different_purposes_differ():
    numbers = [key_numbers(3, purpose).tolist() for purpose in ("init", "step", "data")]
    assert len(set(map(str, numbers))) == 3


def test_keys_of_a_step_are_the_same_whatever_was_asked_before():
    steps = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK - 1, 3 * CHUNK]
    in_order = StepKeys(CountingBackend(), seed=5)
    expected = {step: as_tuples(in_order(step)) for step in range(3 * CHUNK + 1)}
    shuffled = StepKeys(CountingBackend(), seed=5)
    for step in [*reversed(steps), *steps]:
        assert as_tuples(shuffled(step)) == expected[step]
        fresh = StepKeys(CountingBackend(), seed=5)
        assert as_tuples(fresh(step)) == expected[step]


def test_every_step_has_keys_of_its_own():
    keys = StepKeys(CountingBackend(), seed=5)
    steps = 2 * CHUNK + 10
    found = {key for step in range(steps) for key in as_tuples(keys(step))}
    assert len(found) == steps * KEYS_PER_STEP


def test_other_seeds_give_other_keys():
    first, second = (StepKeys(CountingBackend(), seed=seed) for seed in (5, 6))
    assert as_tuples(first(0)) != as_tuples(second(0))


def test_the_backend_is_asked_once_a_chunk():
    backend = CountingBackend()
    keys = StepKeys(backend, seed=5)
    for step in range(CHUNK + 1):
        keys(step)
    assert backend.num_calls == 2
