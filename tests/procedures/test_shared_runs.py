"""Many trials in one process: the results are those of a process of its own, bit for bit."""

import json
import subprocess

import numpy as np
import pytest

from algoperf import logs, pipeline, registry
from algoperf.campaign import shared
from algoperf.errors import BadData
from algoperf.outcome import Outcome
from algoperf.procedures import shared_runs
from algoperf.runner import setup
from algoperf.runner.launch import launch
from algoperf.runner.plan import TrialPlan
from algoperf.runner.settings import Settings

FRAMEWORK_PACKAGES = {"jax": "flax", "pytorch": "torch"}
FAMILY = registry.wing_folder("reference_algorithms") / "crowded_valley"
STEPS = 14  # two epochs
POINTS = [
    {"optimizer": "adam", "learning_rate": 0.03},
    {"optimizer": "lookahead_momentum", "learning_rate": 0.002, "rho": 0.9},
]


def plans_in(folder, framework, points=POINTS, workload="quadratic_deep"):
    space = folder / "points.json"
    folder.mkdir(parents=True, exist_ok=True)
    space.write_text(json.dumps([{"optimizer": "sgd"}]))
    settings = Settings(
        FAMILY / f"submission_{framework}.py",
        framework,
        workload,
        folder,
        "family",
        data_dir=folder / "data",
        search_space=space,
        max_global_steps=STEPS,
        save_checkpoints=False,
        keep_evidence=False,
    )
    return [
        TrialPlan(settings, 42, number, 7, point)
        for number, point in enumerate(points, start=1)
    ]


def metrics_of(plan) -> dict[str, np.ndarray]:
    columns = logs.read_trial(plan.id, plan.folder).columns
    return {name: values for name, values in columns.items() if "/" in name}


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORK_PACKAGES)
def test_results_are_those_of_single_runs_bit_for_bit(tmp_path, framework):
    pytest.importorskip(FRAMEWORK_PACKAGES[framework])
    together_plans = plans_in(tmp_path / "shared", framework)
    text = "".join(f"{plan.dumps()}\n" for plan in together_plans)
    process = subprocess.run(
        [*shared.COMMAND, shared.SHARED], input=text, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    assert len(process.stdout.splitlines()) == len(shared)
    for plan, single in zip(
        shared, plans_in(tmp_path / "single", framework), strict=True
    ):
        assert launch(single).outcome is Outcome.NOT_REACHED
        together, alone = metrics_of(plan), metrics_of(single)
        assert len(together["test/loss"]) == 3
        assert together.keys() == alone.keys()
        for name, values in alone.items():
            np.testing.assert_array_equal(together[name], values, err_msg=name)


@pytest.fixture(scope="module")
def backend(tmp_path_factory):
    pytest.importorskip("torch")
    (plan, _) = plans_in(tmp_path_factory.mktemp("backend"), "pytorch")
    return setup.load_backend(plan.settings)


def test_a_trial_is_logged_whole_and_says_that_its_times_mean_nothing(
    backend, tmp_path
):
    (plan, other) = plans_in(tmp_path, "pytorch")
    told = []
    runs = shared_runs.SharedRuns(backend)
    for one in (plan, other):
        told.append(runs.run(one).outcome)
    assert told == [Outcome.NOT_REACHED] * 2
    trial = logs.read_trial(plan.id, plan.folder)
    assert trial.hyperparameters == plan.point
    assert (trial.meta.seed, trial.meta.study, trial.meta.trial) == (7, 42, 1)
    assert trial.columns["global_step"].tolist() == [0, 7, 14]
    assert trial.ended.caveats == (shared_runs.CAVEAT,)
    first, second = metrics_of(plan), metrics_of(other)
    assert first["test/loss"][0] == second["test/loss"][0]
    assert first["test/loss"][2] != second["test/loss"][2]
    assert shared_runs.is_finished(plan)


def test_a_trial_that_fails_is_logged_and_the_next_one_runs(backend, tmp_path):
    points = [{"optimizer": "sgdd"}, {"optimizer": "sgd"}]
    (bad, good) = plans_in(tmp_path, "pytorch", points)
    runs = shared_runs.SharedRuns(backend)
    assert runs.run(bad).outcome is Outcome.SUBMISSION_CRASHED
    assert "sgdd" in (bad.folder / "traceback.txt").read_text()
    assert runs.run(good).outcome is Outcome.NOT_REACHED


def test_a_trial_that_diverges_ends_there(backend, tmp_path):
    (plan,) = plans_in(
        tmp_path, "pytorch", [{"optimizer": "sgd", "learning_rate": 1e30}]
    )
    assert shared_runs.SharedRuns(backend).run(plan).outcome is Outcome.DIVERGED
    assert len(metrics_of(plan)["test/loss"]) == 2


class Data:
    """Counts how often batches are opened."""

    def __init__(self, *, num_batches=3):
        self.opened, self.num_batches = 0, num_batches

    def open_batches(self, request):
        self.opened += 1
        return Numbers(None if request.is_training else self.num_batches)


class Numbers:
    is_at_hand = False

    def __init__(self, num_batches):
        self.num_batches = num_batches

    def batch(self, index):
        return {"inputs": np.full(4, index, np.float32)}


def request(tmp_path, split, seed=0):
    from algoperf.definition import Splits

    return pipeline.DataRequest(tmp_path, split, Splits(4, 4, 4, 4), 4, seed)


def test_batches_of_evaluations_are_kept_by_all_that_decides_them(tmp_path):
    data = Data()
    kept = shared_runs.KeptBatches(data, is_computed=True)
    for seed in (1, 1, 2, 1):
        batches = kept.open_batches(request(tmp_path, "test", seed))
        assert [batches.batch(i)["inputs"][0] for i in range(3)] == [0, 1, 2]
    assert data.opened == 2
    kept.open_batches(request(tmp_path, "train"))
    kept.open_batches(request(tmp_path, "train"))
    assert data.opened == 4


def test_no_more_is_kept_than_memory_allows(tmp_path, monkeypatch):
    monkeypatch.setattr(shared_runs, "_MOST_KEPT_BYTES", 100)
    kept = shared_runs.KeptBatches(Data(), is_computed=True)
    for seed in range(5):
        kept.open_batches(request(tmp_path, "test", seed))  # 48 bytes each
        assert kept.num_bytes <= 100
    large = shared_runs.KeptBatches(Data(num_batches=9), is_computed=True)
    large.open_batches(request(tmp_path, "test"))
    assert large.num_bytes == 0


@pytest.mark.parametrize("is_at_hand", [True, False])
def test_a_queue_without_threads_draws_the_same(is_at_hand):
    batches = Numbers(None)
    batches.is_at_hand = is_at_hand
    queue = pipeline.InputQueue(batches, lambda batch: batch["inputs"][0], start=5)
    assert [next(queue) for _ in range(4)] == [5, 6, 7, 8]
    assert queue.position == 9
    assert bool(queue.threads) is not is_at_hand
    queue.close()


def test_a_queue_without_threads_ends_and_fails_like_one_with_them():
    batches = Numbers(2)
    batches.is_at_hand = True
    assert len(list(pipeline.InputQueue(batches, dict))) == 2

    def fail(index):
        raise ZeroDivisionError

    batches.batch = fail
    queue = pipeline.InputQueue(batches, dict)
    with pytest.raises(BadData, match="Batch 0 could not be read"):
        next(queue)
    assert isinstance(queue.failure, BadData)
