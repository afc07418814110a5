"""Every reference algorithm takes ten steps on every mini workload."""

import dataclasses
import json
import math

import pytest

from algoperf import cli, logs, registry
from algoperf.logs import Outcome
from algoperf.runner import experiment
from algoperf.runner.settings import Settings

FRAMEWORK_PACKAGES = {"jax": "flax", "pytorch": "torch"}
WORKLOADS = [n for n, d in registry.definitions().items() if d.tier == "mini"]
FOLDER = registry.wing_folder("reference_algorithms")
ALGORITHMS = sorted(path.parent.name for path in FOLDER.glob("*/submission_jax.py"))
NUM_STEPS = 10


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def prepared(data_dir, monkeypatch):
    """Prepares a workload; with a budget that compiling does not spend."""

    def prepare(name):
        definition = registry.definition(name)
        if not (data_dir / definition.prepared_name / "manifest.json").exists():
            assert cli.main(["prepare", name, "--data-dir", str(data_dir)]) == 0
        limits = {
            key: dataclasses.replace(limit, budget_seconds=1e6)
            for key, limit in definition.limits.items()
        }
        unhurried = dataclasses.replace(definition, limits=limits)
        monkeypatch.setattr(registry, "definition", lambda _: unhurried)

    return prepare


@pytest.mark.slow
@pytest.mark.parametrize("workload", WORKLOADS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("framework", FRAMEWORK_PACKAGES)
def test_ten_steps_on_every_mini_workload(
    workload, algorithm, framework, prepared, data_dir, tmp_path
):
    pytest.importorskip(FRAMEWORK_PACKAGES[framework])
    prepared(workload)
    folder = FOLDER / algorithm
    settings = Settings(
        submission_path=folder / f"submission_{framework}.py",
        framework=framework,
        workload=workload,
        experiment_dir=tmp_path,
        experiment_name=algorithm,
        data_dir=data_dir,
        search_space=folder / "tuning_search_space.json",
        num_trials=1,
        num_studies=1,
        max_global_steps=NUM_STEPS,
        eval_period_steps=NUM_STEPS,
        save_checkpoints=False,
        isolate=False,
    )
    experiment.run(settings)
    (trial,) = logs.read(tmp_path)
    assert trial.outcome in (Outcome.NOT_REACHED, Outcome.REACHED), trial.reason
    assert trial.columns[logs.STEP][-1] == NUM_STEPS
    outcome = json.loads((trial.folder / logs.OUTCOME_FILE).read_text())
    assert math.isfinite(outcome["seconds"]["submission"])
