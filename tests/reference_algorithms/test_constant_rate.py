"""AdamW with the schedule of momentum: a constant rate, or a linear decay to one."""

import numpy as np
import pytest
from test_update_rules import assert_paths_agree, torch_batch, torch_module
from tiny_workloads import (
    GivenGradientsJax,
    GivenGradientsPytorch,
    hyperparameters,
    start,
    step,
    submission,
)
from update_rule_oracles import Params, random_problem

STEP_HINT = 10
ADAM = {
    "learning_rate": 0.02,
    "one_minus_beta1": 0.1,
    "beta2": 0.999,
    "weight_decay": 0.0,
    "warmup_factor": 0.0,
    "decay_steps_factor": 0.0,
    "end_factor": 1.0,
}


def adam(params: Params, gradients, rates) -> list[Params]:
    """The published rule in float64, with a rate for each step."""
    theta = {name: x.astype(float) for name, x in params.items()}
    first = {name: np.zeros_like(x) for name, x in theta.items()}
    second = {name: np.zeros_like(x) for name, x in theta.items()}
    path = []
    for t, (grads, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        for name, g in grads.items():
            first[name] = 0.9 * first[name] + 0.1 * g
            second[name] = 0.999 * second[name] + 0.001 * g**2
            m, v = first[name] / (1 - 0.9**t), second[name] / (1 - 0.999**t)
            theta[name] = theta[name] - rate * m / (np.sqrt(v) + 1e-8)
        path.append(dict(theta))
    return path


def run_pytorch(params: Params, gradients, point) -> list[Params]:
    pytest.importorskip("torch")
    module = submission("adamw", "constant_pytorch")
    workload, values = GivenGradientsPytorch(STEP_HINT), hyperparameters(point)
    model, path = torch_module(params, "float64"), []
    state = start(module, workload, model, values)
    for number, grads in enumerate(gradients):
        batch = torch_batch(grads, "float64")
        state, model = step(module, workload, model, values, batch, state, number)
        path.append({n: p.detach().numpy().copy() for n, p in model.named_parameters()})
    return path


def run_jax(params: Params, gradients, point) -> list[Params]:
    jax = pytest.importorskip("jax")
    module = submission("adamw", "constant_jax")
    workload, values = GivenGradientsJax(STEP_HINT), hyperparameters(point)
    theta = jax.tree.map(lambda x: jax.numpy.asarray(x, "float32"), params)
    state, path = start(module, workload, theta, values), []
    for number, grads in enumerate(gradients):
        batch = {"inputs": jax.tree.map(np.float32, grads), "targets": None}
        state, theta = step(module, workload, theta, values, batch, state, number)
        path.append(jax.tree.map(np.array, theta))
    return path


@pytest.mark.parametrize(("run", "tolerance"), [(run_pytorch, 1e-10), (run_jax, 1e-4)])
@pytest.mark.parametrize(
    ("changes", "rates"),
    [
        ({}, [0.02] * 6),
        (
            {"decay_steps_factor": 0.4, "end_factor": 0.5},
            [0.02, 0.0175, 0.015, 0.0125, 0.01, 0.01],
        ),
    ],
)
def test_it_is_adam_at_the_rate_of_the_point(run, tolerance, changes, rates):
    params, gradients = random_problem(num_steps=6)
    path = run(params, gradients, {**ADAM, **changes})
    assert_paths_agree(path, adam(params, gradients, rates), tolerance)
