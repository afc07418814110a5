"""Every reference algorithm against a numpy transcription of its published rule."""

import functools

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
    ALGORITHMS,
    CURVATURES,
    POINTS,
    SOAPS_SHAPES,
    STEP_HINTS,
    Params,
    clipped,
    random_problem,
    trajectory,
)

from algoperf.spec import ParameterType
from tests.closeness import FLOAT32_SHORT, assert_close


@functools.cache
def problem(algorithm: str):
    """Start parameters and gradients: more steps where more must happen."""
    if algorithm == "soap":
        return random_problem(shapes=SOAPS_SHAPES)
    if algorithm == "prodigy":
        # Small parameters: its first steps would be lost in the rounding of larger ones.
        params, gradients = random_problem()
        return {name: 1e-5 * x for name, x in params.items()}, gradients
    return random_problem(num_steps=130 if algorithm == "distributed_shampoo" else 20)


def jax_workload(algorithm: str) -> GivenGradientsJax:
    workload = GivenGradientsJax(STEP_HINTS[algorithm])
    workload.curvature = CURVATURES[algorithm]
    return workload


def pytorch_workload(algorithm: str) -> GivenGradientsPytorch:
    workload = GivenGradientsPytorch(STEP_HINTS[algorithm])
    workload.curvature = CURVATURES[algorithm]
    return workload


def run_jax(
    algorithm: str, params: Params, gradients, *, workload=None, **extra: float
) -> list[Params]:
    """Parameters after each step of the JAX version, in float32."""
    jax = pytest.importorskip("jax")
    module, workload = submission(algorithm, "jax"), workload or jax_workload(algorithm)
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
    algorithm: str,
    params: Params,
    gradients,
    dtype: str = "float64",
    *,
    workload=None,
    **extra: float,
) -> list[Params]:
    """Parameters after each step of the PyTorch version."""
    pytest.importorskip("torch")
    module = submission(algorithm, "pytorch")
    workload = workload or pytorch_workload(algorithm)
    point = hyperparameters({**POINTS[algorithm], **extra})
    model, path = torch_module(params, dtype), []
    state = start(module, workload, model, point)
    for number, grads in enumerate(gradients):
        batch = torch_batch(grads, dtype)
        state, model = step(module, workload, model, point, batch, state, number)
        path.append({n: p.detach().numpy().copy() for n, p in model.named_parameters()})
    return path


def assert_paths_agree(path, expected, tolerance: float = FLOAT32_SHORT) -> None:
    assert len(path) == len(expected)
    for number, (ours, theirs) in enumerate(zip(path, expected, strict=True)):
        for name in theirs:
            what = f"step {number}, {name}"
            assert_close(ours[name], theirs[name], what, tolerance=tolerance)


RUNS = {"jax": (run_jax, jax_workload), "pytorch": (run_pytorch, pytorch_workload)}


def curvatures(framework: str):
    """1 and 10, as the framework's array [2, 1]."""
    if framework == "jax":
        return np.array([[1.0], [10.0]], np.float32)
    import torch

    return torch.tensor([[1.0], [10.0]])


@functools.cache
def jax_path(algorithm: str) -> list[Params]:
    return run_jax(algorithm, *problem(algorithm))


@functools.cache
def expected_path(algorithm: str, framework: str) -> list[Params]:
    return trajectory(algorithm, *problem(algorithm), framework)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_pytorch_follows_the_published_rule(algorithm):
    path = run_pytorch(algorithm, *problem(algorithm))
    # Shampoo's roots are iterated to 1e-6, the oracle's are exact.
    rtol = 1e-5 if algorithm == "distributed_shampoo" else 1e-10
    assert_paths_agree(path, expected_path(algorithm, "pytorch"), rtol)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_jax_follows_the_published_rule(algorithm):
    path = jax_path(algorithm)
    assert_paths_agree(path, expected_path(algorithm, "jax"))


# NorMuon: other axes are neurons, see `test_normuon.py`.
@pytest.mark.parametrize("algorithm", sorted({*ALGORITHMS} - {"normuon"}))
def test_frameworks_agree_in_float32(algorithm):
    in_pytorch = run_pytorch(algorithm, *problem(algorithm), dtype="float32")
    assert_paths_agree(jax_path(algorithm), in_pytorch)


@pytest.mark.parametrize("algorithm", sorted({*ALGORITHMS} - {"schedule_free_adamw"}))
def test_first_step_changes_nothing_because_its_rate_is_zero(algorithm):
    params, gradients = problem(algorithm)
    first = run_pytorch(algorithm, params, gradients[:1])[0]
    np.testing.assert_array_equal(first["kernel"], params["kernel"])


@pytest.mark.parametrize("algorithm", ["nadamw", "heavy_ball"])
@pytest.mark.parametrize("run", [run_jax, run_pytorch])
def test_gradients_are_clipped_by_global_norm_when_asked_to(run, algorithm):
    params, gradients = problem(algorithm)
    path = run(algorithm, params, gradients, grad_clip=3.5)
    expected = trajectory(algorithm, params, [clipped(g, 3.5) for g in gradients])
    assert_paths_agree(path, expected)


def test_nadamw_is_not_the_rule_of_optax():
    """Guards the reason for a rule of our own: were they equal, optax's would do."""
    optax = pytest.importorskip("optax")
    from algoperf.reference_algorithms._shared.nadamw_jax import nadamw

    grads = np.array([1.0, -2.0], np.float32)
    ours = nadamw(lambda _: 1.0, b1=0.9, b2=0.99, eps=1e-8, weight_decay=0.0)
    theirs = optax.nadamw(1.0, b1=0.9, b2=0.99, eps=1e-8, weight_decay=0.0)
    steps = [rule.update(grads, rule.init(grads), grads)[0] for rule in (ours, theirs)]
    assert np.abs(np.asarray(steps[0] - steps[1])).min() > 0.1


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_jax_run_continues_from_a_checkpoints_leaves(algorithm):
    jax = pytest.importorskip("jax")
    from algoperf.jax_backend import leaves

    params, gradients = problem(algorithm)
    module, workload = submission(algorithm, "jax"), jax_workload(algorithm)
    point = hyperparameters(POINTS[algorithm])
    theta = jax.tree.map(lambda x: jax.numpy.asarray(x, "float32"), params)
    state = start(module, workload, theta, point)
    for number, grads in enumerate(gradients):
        if number == 9:
            saved = leaves.to_leaves((state, theta))
            template = start(module, workload, theta, point)
            state, theta = leaves.from_leaves((template, theta), *saved)
        batch = {"inputs": jax.tree.map(np.float32, grads), "targets": None}
        state, theta = step(module, workload, theta, point, batch, state, number)
    expected = jax_path(algorithm)[-1]
    np.testing.assert_array_equal(np.asarray(theta["kernel"]), expected["kernel"])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_jax_state_can_be_saved_when_the_first_parameters_are_gone(algorithm):
    jax = pytest.importorskip("jax")
    from algoperf.jax_backend import leaves

    params, _ = problem(algorithm)
    module, workload = submission(algorithm, "jax"), jax_workload(algorithm)
    theta = jax.tree.map(lambda x: jax.numpy.array(x, "float32"), params)
    state = start(module, workload, theta, hyperparameters(POINTS[algorithm]))
    _, before = leaves.to_leaves(state)
    for parameter in jax.tree.leaves(theta):
        parameter.delete()  # as a step does that donates them
    _, after = leaves.to_leaves(state)
    assert after["needs"] == before["needs"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_pytorch_run_continues_from_a_checkpoints_leaves(algorithm):
    torch = pytest.importorskip("torch")
    from algoperf.pytorch_backend import leaves

    params, gradients = problem(algorithm)
    module, workload = submission(algorithm, "pytorch"), pytorch_workload(algorithm)
    point = hyperparameters(POINTS[algorithm])
    model = torch_module(params, "float64")
    state = start(module, workload, model, point)
    for number, grads in enumerate(gradients):
        if number == 9:
            arrays, rest = leaves.to_leaves({"state": state, "model": model})
            model = torch_module(params, "float64")
            template = {
                "state": start(module, workload, model, point),
                "model": model,
            }
            device = torch.device("cpu")
            restored = leaves.from_leaves(template, arrays, rest, device)
            state, model = restored["state"], restored["model"]
        batch = torch_batch(grads, "float64")
        state, model = step(module, workload, model, point, batch, state, number)
    expected = run_pytorch(algorithm, params, gradients)[-1]
    np.testing.assert_array_equal(model.kernel.detach().numpy(), expected["kernel"])


def leaves_of(framework: str, state):
    """Of a checkpoint: arrays by path, and the rest."""
    if framework == "jax":
        from algoperf.jax_backend import leaves as jax_leaves

        return jax_leaves.to_leaves(state)
    from algoperf.pytorch_backend import leaves

    return leaves.to_leaves(state)


@pytest.mark.parametrize("framework", ["jax", "pytorch"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_checkpoint_needs_nothing_that_a_new_state_lacks(algorithm, framework):
    """As the harness checks; functions in the state must hold no donated parameters."""
    pytest.importorskip("jax" if framework == "jax" else "torch")
    params, gradients = problem(algorithm)
    module = submission(algorithm, framework)
    _, make = RUNS[framework]
    workload, point = make(algorithm), hyperparameters(POINTS[algorithm])
    if framework == "jax":
        jax = pytest.importorskip("jax")
        theta = jax.tree.map(lambda x: jax.numpy.asarray(x, "float32"), params)
        batch = {"inputs": jax.tree.map(np.float32, gradients[0]), "targets": None}
    else:
        theta = torch_module(params, "float64")
        batch = torch_batch(gradients[0], "float64")
    state = start(module, workload, theta, point)
    _, new = leaves_of(framework, {"state": state, "params": theta})
    for number in range(3):
        state, theta = step(module, workload, theta, point, batch, state, number)
    arrays, old = leaves_of(framework, {"state": state, "params": theta})
    lacking = {
        path: what
        for path, what in old.get("needs", {}).items()
        if new.get("needs", {}).get(path) != what
    }
    assert lacking == {}
    if framework == "jax":
        assert len(arrays) == len(jax.tree.leaves((state[0], theta)))


@pytest.mark.parametrize("framework", ["jax", "pytorch"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_quadratic_in_two_dimensions_is_solved(algorithm, framework):
    """f = (a^2 + 10 b^2) / 2 from (1, 1), as a matrix of two rows."""
    pytest.importorskip("jax" if framework == "jax" else "torch")
    rates = {"nesterov": 0.03, "heavy_ball": 0.03, "muon": 0.4, "normuon": 0.4}
    rates |= {"prodigy": 1.0}
    rate = rates.get(algorithm, 0.1)
    easy = {"learning_rate": rate, "weight_decay": 0.0, "warmup_factor": 0.05}
    if algorithm == "sam":
        easy["rho"] = 0.01
    if algorithm == "diloco":
        easy |= {"outer_learning_rate": 0.8, "outer_momentum": 0.2}
    start_at = {"kernel": np.ones((2, 1))}
    run, make = RUNS[framework]
    zeros = [{"kernel": np.zeros((2, 1))}] * 150
    workload = make(algorithm)
    workload.step_hint, workload.curvature = 150, curvatures(framework)
    workload.model_params_types = {"kernel": ParameterType.WEIGHT}
    final = run(algorithm, start_at, zeros, workload=workload, **easy)
    a, b = final[-1]["kernel"].ravel()
    assert (a**2 + 10 * b**2) / 11 < 1e-3
