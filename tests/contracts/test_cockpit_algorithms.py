"""Instruments look at every reference algorithm and change none of its steps."""

import json

import both_frameworks as both
import numpy as np
import pytest
import test_algorithms as algorithms
from test_algorithms import ALGORITHMS, FRAMEWORK_PACKAGES, Run, compile_quickly

from algoperf import backend as backends
from algoperf.instrument_logs import FILE, InstrumentLog
from algoperf.instruments import configurations
from algoperf.instruments.measuring import Options
from algoperf.instruments.recorder import Plan, Recorder
from algoperf.probe import Objective
from algoperf.runner.step_hooks import StepView

__all__ = ["compile_quickly"]  # a fixture
STEPS = 4
QUICK = {"adamw", "schedule_free_adamw"}  # the latter has two sets of weights


class Recording:
    """An algorithm's steps with a recorder around each, as the trial calls it."""

    def __init__(self, run, folder):
        self.run = run
        probe = run.backend.probe(Objective(run.workload))
        plan = Plan(configurations.quantities("economy"))
        log = InstrumentLog(folder, {}, 0)
        self.recorder = Recorder(probe, plan, Options(), log=log)

    def view(self, index, batch):
        run = self.run
        return StepView(
            index, run.params, run.state, run.optimizer_state, batch, run.rng, run.point
        )

    def step(self, index):
        batch = self.run.backend.place(self.run.train.batch(index))
        self.recorder.before_step(self.view(index, batch))
        self.run.step(index)
        self.recorder.after_step(self.view(index, batch))


def cases():
    """All algorithms in both frameworks; JAX compiles each for long."""
    for name in ALGORITHMS:
        for framework in FRAMEWORK_PACKAGES:
            is_quick = framework == "pytorch" and name in QUICK
            marks = [] if is_quick else [pytest.mark.slow]
            yield pytest.param(name, framework, marks=marks, id=f"{name}-{framework}")


@pytest.mark.parametrize(("algorithm", "framework"), list(cases()))
def test_an_algorithm_takes_the_same_steps_under_instruments(
    algorithm, framework, prepared, data_dir, tmp_path
):
    pytest.importorskip(FRAMEWORK_PACKAGES[framework])
    definition = prepared("mnist_mini")
    backend = backends.load(framework)
    workload = both.bound(definition, backend)
    size = algorithms.BATCH_SIZE
    train = both.batches(definition, data_dir, "train", batch_size=size)
    ends = []
    for is_measured in (False, True):
        run = Run(algorithm, workload, backend, train)
        stepping = Recording(run, tmp_path) if is_measured else run
        for index in range(STEPS):
            stepping.step(index)
        ends.append(run.parameters())
        if is_measured:
            stepping.recorder.close()
    for name, array in ends[0].items():
        np.testing.assert_array_equal(array, ends[1][name])
    lines = (tmp_path / FILE).read_text().splitlines()
    alphas = [json.loads(x).get("values", {}).get("Alpha", "") for x in lines]
    assert len([a for a in alphas if a != ""]) == STEPS - 1
