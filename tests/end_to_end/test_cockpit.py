"""Real runs with instruments: the same to the last bit as without, in both frameworks."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from algoperf import cli, instrument_logs, logs, registry
from algoperf.runner import experiment
from algoperf.runner.plan import plan_trials
from algoperf.runner.settings import Settings
from algoperf.workload import Workload

PACKAGES = {"jax": "flax", "pytorch": "torch"}
# A perceptron; batch norm; dropout; graphs.
WORKLOADS = ("mnist_mini", "imagenet_resnet_mini", "imagenet_vit_mini", "ogbg_mini")
STEPS, PERIOD = 5, 2
# Donates its buffers in JAX, steps in place in PyTorch, has momentum and weight decay.
ALGORITHM = "nesterov"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def settings_for(data_dir, tmp_path, monkeypatch):
    """Settings of one short trial in this process, with a budget that nothing exceeds."""

    def make(workload, framework, name, **changes):
        pytest.importorskip(PACKAGES[framework])
        found = registry.definition(workload)
        if not (data_dir / found.prepared_name / "manifest.json").exists():
            assert cli.main(["prepare", workload, "--data-dir", str(data_dir)]) == 0
        limits = {
            column: dataclasses.replace(limit, budget_seconds=1e6)
            for column, limit in found.limits.items()
        }
        unhurried = dataclasses.replace(found, limits=limits)
        monkeypatch.setattr(registry, "definition", lambda name: unhurried)
        folder = registry.wing_folder("reference_algorithms") / ALGORITHM
        values = {
            "submission_path": folder / f"submission_{framework}.py",
            "framework": framework,
            "workload": workload,
            "experiment_dir": tmp_path / "logs",
            "experiment_name": name,
            "data_dir": data_dir,
            "search_space": folder / "tuning_search_space.json",
            "num_trials": 1,
            "num_studies": 1,
            "max_global_steps": STEPS,
            "eval_period_steps": PERIOD,
            "isolate": False,
        }
        return Settings(**{**values, **changes})

    return make


def folder_of(settings: Settings) -> Path:
    return plan_trials(settings)[0].folder


@pytest.fixture
def evaluated(monkeypatch):
    """All parameters that were evaluated, in order, as numpy arrays."""
    seen = []
    original = Workload.evaluation_pass

    def spy(self, params, model_state):
        if isinstance(params, dict):
            import jax

            leaves = jax.tree.leaves((params, model_state))
            seen.append([np.array(leaf) for leaf in leaves])
        else:
            tensors = [*params.parameters(), *params.buffers()]
            seen.append([x.detach().numpy().copy() for x in tensors])
        return original(self, params, model_state)

    monkeypatch.setattr(Workload, "evaluation_pass", spy)
    return seen


def metrics_of(settings):
    (trial,) = logs.read(settings.experiment_dir / settings.experiment_name)
    return {k: v.tolist() for k, v in trial.columns.items() if "/" in k}


@pytest.mark.slow
@pytest.mark.parametrize("framework", PACKAGES)
@pytest.mark.parametrize("workload", WORKLOADS)
def test_instruments_change_no_bit_of_a_run(
    workload, framework, settings_for, evaluated
):
    plain = settings_for(workload, framework, "plain")
    assert experiment.run(plain)
    expected = [evaluated.pop(0) for _ in range(len(evaluated))]
    measured = settings_for(
        workload, framework, "measured", cockpit="full", cockpit_every="1"
    )
    assert experiment.run(measured)
    assert len(evaluated) == len(expected) > 0
    for found, arrays in zip(evaluated, expected, strict=True):
        for a, b in zip(found, arrays, strict=True):
            np.testing.assert_array_equal(a, b)
    assert metrics_of(measured) == metrics_of(plain)
    read = instrument_logs.read(folder_of(measured))
    assert sorted(read.steps) == list(range(STEPS))
    assert {"Loss", "Alpha", "GradNorm", "InnerTest"} <= set(read.steps[0])
    has_batch_norm = "resnet" in workload
    assert ("NormTest" in read.refused) == has_batch_norm
    assert ("NormTest" in read.steps[0]) != has_batch_norm


@pytest.mark.slow
def test_batch_norm_has_coupled_gradients_on_request(settings_for):
    settings = settings_for(
        "imagenet_resnet_mini",
        "pytorch",
        "coupled",
        cockpit="economy",
        cockpit_every="4",
        cockpit_batch_norm="coupled",
        max_global_steps=1,
    )
    assert experiment.run(settings)
    read = instrument_logs.read(folder_of(settings))
    assert not read.refused
    assert read.steps[0]["NormTest"] > 0
    assert "coupled" in read.header["batch_norm"]


@pytest.mark.parametrize("framework", ["pytorch"])
def test_light_instruments_on_digits(framework, settings_for):
    plain = settings_for("mnist_mini", framework, "plain")
    measured = settings_for(
        "mnist_mini", framework, "measured", cockpit="light", cockpit_every="2"
    )
    assert experiment.run(plain) and experiment.run(measured)
    assert metrics_of(measured) == metrics_of(plain)
    read = instrument_logs.read(folder_of(measured))
    assert sorted(read.steps) == [0, 2, 4]


@pytest.mark.slow
def test_two_processes_measure_the_global_batch(settings_for):
    # Every quantity of `full` but those that sampled labels or random vectors decide.
    names = "Alpha,Distance,GradHist1d,GradHist2d,GradNorm,HessMaxEV,InnerTest,Loss"
    names += ",MeanGSNR,NormTest,OrthoTest,UpdateSize"
    found = []
    for number in (1, 2):
        settings = settings_for(
            "mnist_mini",
            "pytorch",
            f"processes_{number}",
            cockpit=names,
            cockpit_every="1",
            cockpit_adapt_bins="1",
            max_global_steps=3,
            num_processes=number,
            isolate=number > 1,
        )
        assert experiment.run(settings)
        found.append(instrument_logs.read(folder_of(settings)))
    one, two = found
    assert not one.refused and not two.refused
    for step in range(2):
        assert set(one.steps[step]) == set(two.steps[step]) == set(names.split(","))
        for name, value in one.steps[step].items():
            other = two.steps[step][name]
            if "Hist" in name:
                counts = np.asarray(value["counts"]), np.asarray(other["counts"])
                assert counts[0].sum() == counts[1].sum()
                # Sums over two processes differ in their last digits.
                assert np.abs(counts[0] - counts[1]).sum() < 1e-3 * counts[0].sum()
                value, other = np.ravel(value["bins"]), np.ravel(other["bins"])
            assert np.asarray(other) == pytest.approx(np.asarray(value), rel=1e-2)
