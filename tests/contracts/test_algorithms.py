"""Every reference algorithm takes ten steps on every mini workload."""

import both_frameworks as both
import numpy as np
import pytest

from algoperf import backend as backends
from algoperf import registry, submission
from algoperf.runner.randomness import key_numbers
from algoperf.runner.tuning import as_hyperparameters, load_search_space

FRAMEWORK_PACKAGES = {"jax": "flax", "pytorch": "torch"}
WORKLOADS = [n for n, d in registry.definitions().items() if d.tier == "mini"]
FOLDER = registry.wing_folder("reference_algorithms")
ALGORITHMS = sorted(path.parent.name for path in FOLDER.glob("*/submission_jax.py"))
NUM_STEPS = 10
BATCH_SIZE = 4
LARGER_BATCH_SIZES = {"ogbg": 16}  # has room for the largest graph


@pytest.fixture(scope="module", autouse=True)
def compile_quickly():
    """Ten steps on four examples take less time than XLA's optimizations."""
    jax = pytest.importorskip("jax")
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


def gentle_point(algorithm):
    """Of five in the published search space, the one with the smallest learning rate."""
    space = load_search_space(FOLDER / algorithm / "tuning_search_space.json")
    points = space.points(seed=0, study=1, num_trials=5)
    return as_hyperparameters(min(points, key=lambda point: point["learning_rate"]))


class Run:
    """One algorithm on one workload, called as the runner calls it."""

    def __init__(self, algorithm, workload, backend, train):
        self.workload, self.backend, self.train = workload, backend, train
        path = FOLDER / algorithm / f"submission_{backend.name}.py"
        self.submission = submission.load(path)
        self.point = gentle_point(algorithm)
        self.rng = backend.keys(key_numbers(0, "init"))[0]
        self.params, self.state = workload.init_model_fn(self.rng)
        self.optimizer_state = self.submission.init_optimizer_state(
            workload, self.params, self.state, self.point, self.rng
        )

    def step(self, index):
        batch = self.submission.data_selection(
            self.workload,
            iter([self.backend.place(self.train.batch(index))]),
            self.optimizer_state,
            self.params,
            self.state,
            self.point,
            index,
            self.rng,
        )
        self.optimizer_state, self.params, self.state = self.submission.update_params(
            workload=self.workload,
            current_param_container=self.params,
            current_params_types=self.workload.model_params_types,
            model_state=self.state,
            hyperparameters=self.point,
            batch=batch,
            loss_type=self.workload.loss_type,
            optimizer_state=self.optimizer_state,
            eval_results=[],
            global_step=index,
            rng=self.rng,
        )

    def parameters(self):
        """By name, copied: the next step may reuse their memory."""
        if self.backend.name == "jax":
            arrays = both.flat(self.params)
        else:
            named = self.params.named_parameters()
            arrays = {name: value.detach().numpy() for name, value in named}
        return {name: np.copy(value) for name, value in arrays.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", WORKLOADS)
@pytest.mark.parametrize("framework", FRAMEWORK_PACKAGES)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_ten_steps_on_every_mini_workload(
    name, framework, algorithm, prepared, data_dir
):
    pytest.importorskip(FRAMEWORK_PACKAGES[framework])
    backend, definition = backends.load(framework), prepared(name)
    batch_size = LARGER_BATCH_SIZES.get(definition.folder, BATCH_SIZE)
    train = both.batches(definition, data_dir, "train", batch_size=batch_size)
    run = Run(algorithm, both.bound(definition, backend), backend, train)
    start = run.parameters()
    for index in range(NUM_STEPS):
        run.step(index)
    end = run.parameters()
    assert all(np.isfinite(values).all() for values in end.values())
    unmoved = [path for path in start if np.array_equal(start[path], end[path])]
    # A scale of 1 hides the first, tiny steps of a long warm-up from float32.
    assert not [path for path in unmoved if (start[path] != 1).any()]
    assert len(unmoved) < len(start)
