"""Memory columns, and that nothing grows from evaluation to evaluation."""

import dataclasses

import numpy as np
import pytest
import toy_backend

from algoperf import logs, registry
from algoperf.runner import experiment
from algoperf.runner.supervision.memory import DEVICE_COLUMN, HOST_COLUMN, Memory

NUM_EVALUATIONS = 50


def test_host_memory_is_what_the_process_occupies():
    row = Memory(toy_backend.ToyBackend())()
    assert row[HOST_COLUMN] > 1_000_000


def test_a_backend_that_counts_no_memory_leaves_the_column_out():
    backend = toy_backend.ToyBackend()
    backend.device_memory_bytes = lambda: None
    assert set(Memory(backend)()) == {HOST_COLUMN}


@pytest.fixture
def rows(toy, monkeypatch):
    """Memory at 50 evaluations of a target that is never reached."""
    known = {
        name: dataclasses.replace(
            definition, target=dataclasses.replace(definition.target, validation=2.0)
        )
        for name, definition in registry.definitions().items()
    }
    monkeypatch.setattr(registry, "definitions", lambda: known)
    settings = toy(
        num_trials=1, eval_period_steps=2, max_global_steps=2 * NUM_EVALUATIONS - 1
    )
    experiment.run(settings)
    (trial,) = logs.read(settings.experiment_dir)
    return trial.columns


def test_memory_does_not_grow_over_fifty_evaluations(rows):
    for column in (HOST_COLUMN, DEVICE_COLUMN):
        values = rows[column]
        assert len(values) == NUM_EVALUATIONS
        settled = values[10:]  # caches fill first
        slope = np.polyfit(np.arange(len(settled)), settled, 1)[0]
        assert slope / settled.mean() < 1e-3, column
