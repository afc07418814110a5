"""The shared training step, through the submission API, in one process."""

import numpy as np
import pytest
from tiny_workloads import (
    PLAIN_DESCENT,
    GivenGradientsJax,
    GivenGradientsPytorch,
    ScalarRecorder,
    SoftmaxJax,
    SoftmaxPytorch,
    classification_batch,
    global_mean_gradient,
    hyperparameters,
    start,
    step,
    submission,
)
from update_rule_oracles import (
    ALGORITHMS,
    CURVATURES,
    POINTS,
    STEP_HINTS,
    random_problem,
)

from tests.closeness import FLOAT32_SHORT, assert_close

FRAMEWORKS = ("jax", "pytorch")


def zero_linear():
    torch = pytest.importorskip("torch")
    model = torch.nn.Linear(4, 3)
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    return model


def softmax_problem(framework: str):
    """Workload, zero parameters and a masked batch, in the framework's arrays."""
    batch = classification_batch()
    if framework == "pytorch":
        torch = pytest.importorskip("torch")
        tensors = {name: torch.from_numpy(rows) for name, rows in batch.items()}
        return SoftmaxPytorch(step_hint=100), zero_linear(), tensors
    jnp = pytest.importorskip("jax").numpy
    params = {"kernel": jnp.zeros((4, 3)), "bias": jnp.zeros(3)}
    return SoftmaxJax(step_hint=100), params, batch


def given_problem(framework: str):
    """Workload, parameters and a batch that holds its gradients."""
    params, gradients = random_problem()
    if framework == "pytorch":
        torch = pytest.importorskip("torch")
        model = torch.nn.Module()
        for name, value in params.items():
            model.register_parameter(name, torch.nn.Parameter(torch.tensor(value)))
        inputs = {name: torch.tensor(g) for name, g in gradients[0].items()}
        return GivenGradientsPytorch(), model, {"inputs": inputs, "targets": None}
    jax = pytest.importorskip("jax")
    from algoperf.jax_sharding_utils import replicate

    arrays = replicate(jax.tree.map(np.float32, params))
    inputs = jax.tree.map(np.float32, gradients[0])
    return GivenGradientsJax(), arrays, {"inputs": inputs, "targets": None}


def arrays_of(params) -> dict[str, np.ndarray]:
    if isinstance(params, dict):
        return {name: np.asarray(value) for name, value in params.items()}
    return {
        "kernel": params.weight.detach().numpy().T,
        "bias": params.bias.detach().numpy(),
    }


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("algorithm", ["adamw", "nadamw", "nesterov", "heavy_ball"])
def test_ten_steps_decrease_the_loss(algorithm, framework):
    workload, params, batch = softmax_problem(framework)
    module = submission(algorithm, framework)
    point = hyperparameters({**POINTS[algorithm], "warmup_factor": 0.0})
    workload.metrics_logger = ScalarRecorder()
    state = start(module, workload, params, point)
    for number in range(10):
        state, params = step(module, workload, params, point, batch, state, number)
    state, params = step(module, workload, params, point, batch, state, 100)

    losses = [row["loss"] for _, row in workload.metrics_logger.rows]
    assert losses[0] == pytest.approx(np.log(3), rel=1e-5)
    assert losses[1] < 0.95 * losses[0]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_gradient_is_the_mean_over_valid_examples_only(framework):
    workload, params, batch = softmax_problem(framework)
    module, point = submission("heavy_ball", framework), hyperparameters(PLAIN_DESCENT)
    state = start(module, workload, params, point)
    _, params = step(module, workload, params, point, batch, state, 0)
    expected = global_mean_gradient(classification_batch())
    for name, value in arrays_of(params).items():
        assert_close(value, -expected[name], tolerance=FLOAT32_SHORT)


@pytest.mark.parametrize("weights", ["absent", "none"])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_without_weights_every_example_counts(framework, weights):
    workload, params, batch = softmax_problem(framework)
    batch = {name: rows for name, rows in batch.items() if name != "weights"}
    if weights == "none":
        batch["weights"] = None
    module, point = submission("heavy_ball", framework), hyperparameters(PLAIN_DESCENT)
    state = start(module, workload, params, point)
    _, params = step(module, workload, params, point, batch, state, 0)
    everyone = {**classification_batch(), "weights": np.ones(16)}
    expected = global_mean_gradient(everyone)
    for name, value in arrays_of(params).items():
        assert_close(value, -expected[name], tolerance=FLOAT32_SHORT)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_regularisation_of_the_point_reaches_the_workload(framework):
    workload, params, batch = given_problem(framework)
    module, point = submission("adamw", framework), hyperparameters(POINTS["adamw"])
    state = start(module, workload, params, point)
    step(module, workload, params, point, batch, state, 0)
    assert workload.forward_calls == [{"update_batch_norm": True, "dropout_rate": 0.1}]
    assert workload.label_smoothings == [0.1]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_absent_keys_mean_default_dropout_and_no_smoothing(framework):
    workload, params, batch = given_problem(framework)
    absent = ("dropout_rate", "label_smoothing")
    point = {key: v for key, v in POINTS["adamw"].items() if key not in absent}
    module, point = submission("adamw", framework), hyperparameters(point)
    state = start(module, workload, params, point)
    step(module, workload, params, point, batch, state, 0)
    assert workload.forward_calls[0]["dropout_rate"] is None
    assert workload.label_smoothings == [0.0]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_loss_and_gradient_norm_are_logged_every_hundredth_step(framework):
    workload, params, batch = given_problem(framework)
    workload.metrics_logger = ScalarRecorder()
    module, point = submission("nadamw", framework), hyperparameters(POINTS["nadamw"])
    state = start(module, workload, params, point)
    for number in (0, 1, 99, 100, 101):
        state, params = step(module, workload, params, point, batch, state, number)
    assert [number for number, _ in workload.metrics_logger.rows] == [0, 100]
    norm = np.sqrt(sum((g**2).sum() for g in random_problem()[1][0].values()))
    for _, row in workload.metrics_logger.rows:
        assert set(row) == {"loss", "grad_norm"}
        assert row["grad_norm"] == pytest.approx(norm, rel=1e-5)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_jax_step_is_traced_once(algorithm):
    workload, params, batch = given_problem("jax")
    module, point = submission(algorithm, "jax"), hyperparameters(POINTS[algorithm])
    workload.step_hint = STEP_HINTS[algorithm]
    workload.curvature = CURVATURES[algorithm]
    state = start(module, workload, params, point)
    state, params = step(module, workload, params, point, batch, state, 0)
    num_traced = len(workload.forward_calls)
    for number in range(1, 5):
        state, params = step(module, workload, params, point, batch, state, number)
    assert 1 <= num_traced == len(workload.forward_calls)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_jax_step_reuses_the_buffers_of_the_old_parameters_and_state(algorithm):
    jax = pytest.importorskip("jax")
    workload, params, batch = given_problem("jax")
    workload.step_hint = STEP_HINTS[algorithm]
    workload.curvature = CURVATURES[algorithm]
    module, point = submission(algorithm, "jax"), hyperparameters(POINTS[algorithm])
    state = start(module, workload, params, point)
    step(module, workload, params, point, batch, state, 1)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(params))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state[0]))


@pytest.mark.parametrize("grad_clip", [None, 1.0])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_pytorch_step_reads_nothing_back_from_the_device(algorithm, grad_clip):
    torch = pytest.importorskip("torch")
    from torch.utils._python_dispatch import TorchDispatchMode

    class NoReads(TorchDispatchMode):
        """Fails on what `.item()`, `float()` and `bool()` of a tensor dispatch to."""

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            assert func is not torch.ops.aten._local_scalar_dense.default
            return func(*args, **(kwargs or {}))

    workload, params, batch = softmax_problem("pytorch")
    workload.metrics_logger = ScalarRecorder()
    point = hyperparameters({**POINTS[algorithm], "grad_clip": grad_clip})
    module = submission(algorithm, "pytorch")
    state = start(module, workload, params, point)
    with NoReads():
        for number in range(1, 4):
            state, params = step(module, workload, params, point, batch, state, number)
    assert workload.metrics_logger.rows == []
