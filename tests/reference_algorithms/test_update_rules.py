"""Every reference algorithm against a numpy transcription of its published rule."""

import numpy as np
import pytest
from tiny_workloads import (
    GivenGradientsJax,
    GivenGradientsPytorch,
    hyperparameters,
    start,
    step,
    submission,
)
from update_rule_oracles import (
    POINTS,
    STEP_HINT,
    Params,
    clipped,
    random_problem,
    trajectory,
)

ALGORITHMS = ("adamw", "nadamw", "nesterov", "heavy_ball")


def run_jax(algorithm: str, params: Params, gradients, **extra: float) -> list[Params]:
    """Parameters after each step of the JAX version, in float32."""
    jax = pytest.importorskip("jax")
    module, workload = submission(algorithm, "jax"), GivenGradientsJax(STEP_HINT)
    point = hyperparameters({**POINTS[algorithm], **extra})
    theta = jax.tree.map(lambda x: jax.numpy.asarray(x, "float32"), params)
    state, path = start(module, workload, theta, point), []
    for number, grads in enumerate(gradients):
        batch = {"inputs": jax.tree.map(np.float32, grads), "targets": None}
        state, theta = step(module, workload, theta, point, batch, state, number)
        path.append(jax.tree.map(np.array, theta))
    return path


def torch_module(params: Params, dtype: str):
    import torch

    module = torch.nn.Module()
    for name, value in params.items():
        tensor = torch.tensor(value, dtype=getattr(torch, dtype))
        module.register_parameter(name, torch.nn.Parameter(tensor))
    return module


def torch_batch(grads: Params, dtype: str):
    import torch

    inputs = {n: torch.tensor(g, dtype=getattr(torch, dtype)) for n, g in grads.items()}
    return {"inputs": inputs, "targets": None}


def run_pytorch(
    algorithm: str, params: Params, gradients, dtype: str = "float64", **extra: float
) -> list[Params]:
    """Parameters after each step of the PyTorch version."""
    pytest.importorskip("torch")
    module = submission(algorithm, "pytorch")
    workload = GivenGradientsPytorch(STEP_HINT)
    point = hyperparameters({**POINTS[algorithm], **extra})
    model, path = torch_module(params, dtype), []
    state = start(module, workload, model, point)
    for number, grads in enumerate(gradients):
        batch = torch_batch(grads, dtype)
        state, model = step(module, workload, model, point, batch, state, number)
        path.append({n: p.detach().numpy().copy() for n, p in model.named_parameters()})
    return path


def assert_paths_agree(path, expected, *, rtol: float, atol: float) -> None:
    assert len(path) == len(expected)
    for number, (ours, theirs) in enumerate(zip(path, expected, strict=True)):
        for name in theirs:
            np.testing.assert_allclose(
                ours[name], theirs[name], rtol, atol, err_msg=f"step {number}, {name}"
            )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_pytorch_follows_the_published_rule(algorithm):
    params, gradients = random_problem()
    path = run_pytorch(algorithm, params, gradients)
    expected = trajectory(algorithm, params, gradients)
    assert_paths_agree(path, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_jax_follows_the_published_rule(algorithm):
    params, gradients = random_problem()
    path = run_jax(algorithm, params, gradients)
    expected = trajectory(algorithm, params, gradients)
    assert_paths_agree(path, expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_frameworks_agree_in_float32(algorithm):
    params, gradients = random_problem(seed=1)
    in_jax = run_jax(algorithm, params, gradients)
    in_pytorch = run_pytorch(algorithm, params, gradients, "float32")
    assert_paths_agree(in_jax, in_pytorch, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_first_step_changes_nothing_because_its_rate_is_zero(algorithm):
    params, gradients = random_problem()
    first = run_pytorch(algorithm, params, gradients[:1])[0]
    np.testing.assert_array_equal(first["kernel"], params["kernel"])


@pytest.mark.parametrize("algorithm", ["nadamw", "heavy_ball"])
@pytest.mark.parametrize("run", [run_jax, run_pytorch])
def test_gradients_are_clipped_by_global_norm_when_asked_to(run, algorithm):
    params, gradients = random_problem()
    path = run(algorithm, params, gradients, grad_clip=3.5)
    expected = trajectory(algorithm, params, [clipped(g, 3.5) for g in gradients])
    assert_paths_agree(path, expected, rtol=1e-5, atol=2e-6)


def test_nadamw_is_not_the_rule_of_optax():
    """Guards the reason for a rule of our own: were they equal, optax's would do."""
    optax = pytest.importorskip("optax")
    from algoperf.reference_algorithms.nadamw.submission_jax import nadamw

    grads = np.array([1.0, -2.0], np.float32)
    ours = nadamw(lambda _: 1.0, b1=0.9, b2=0.99, eps=1e-8, weight_decay=0.0)
    theirs = optax.nadamw(1.0, b1=0.9, b2=0.99, eps=1e-8, weight_decay=0.0)
    steps = [rule.update(grads, rule.init(grads), grads)[0] for rule in (ours, theirs)]
    assert np.abs(np.asarray(steps[0] - steps[1])).min() > 0.1


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_jax_run_continues_from_saved_arrays_and_a_fresh_step_function(algorithm):
    jax = pytest.importorskip("jax")
    params, gradients = random_problem()
    module, workload = submission(algorithm, "jax"), GivenGradientsJax(STEP_HINT)
    point = hyperparameters(POINTS[algorithm])
    theta = jax.tree.map(lambda x: jax.numpy.asarray(x, "float32"), params)
    state = start(module, workload, theta, point)
    for number, grads in enumerate(gradients):
        if number == 9:
            saved = jax.tree.map(np.array, state[0])
            fresh = start(module, workload, theta, point)
            state = (jax.tree.map(jax.numpy.asarray, saved), fresh[1])
        batch = {"inputs": jax.tree.map(np.float32, grads), "targets": None}
        state, theta = step(module, workload, theta, point, batch, state, number)
    expected = run_jax(algorithm, params, gradients)[-1]
    np.testing.assert_array_equal(np.asarray(theta["kernel"]), expected["kernel"])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_pytorch_run_continues_from_saved_state_dicts(algorithm, tmp_path):
    torch = pytest.importorskip("torch")
    params, gradients = random_problem()
    module = submission(algorithm, "pytorch")
    workload = GivenGradientsPytorch(STEP_HINT)
    point = hyperparameters(POINTS[algorithm])
    model = torch_module(params, "float64")
    state = start(module, workload, model, point)
    for number, grads in enumerate(gradients):
        if number == 9:
            saved = {name: member.state_dict() for name, member in state.items()}
            torch.save(saved, tmp_path / "state.pt")
            saved = torch.load(tmp_path / "state.pt", weights_only=True)
            state = start(module, workload, model, point)
            for name, member in state.items():
                member.load_state_dict(saved[name])
        batch = torch_batch(grads, "float64")
        state, model = step(module, workload, model, point, batch, state, number)
    expected = run_pytorch(algorithm, params, gradients)[-1]
    np.testing.assert_array_equal(model.kernel.detach().numpy(), expected["kernel"])
