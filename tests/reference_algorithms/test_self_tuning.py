"""Self-tuning submissions: constants instead of hyperparameters."""

import importlib
import json
from pathlib import Path
from typing import Any

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
from update_rule_oracles import random_problem

import algoperf.submission
from algoperf import registry

FOLDER = registry.wing_folder("reference_algorithms")
SCHEDULE_FREE = {  # of the 2024 competition's submission
    "label_smoothing": 0.2,
    "learning_rate": 0.0025,
    "one_minus_beta1": 0.1,
    "beta2": 0.9955159689799007,
    "weight_decay": 0.08121616522670176,
    "warmup_factor": 0.02,
}


# Of an algorithm with a self-tuning form, the number of its point in `optlist.json`.
PUBLISHED = {
    "ademamix": 0,
    "cautious_nadamw": 0,
    "diloco": 0,
    "lion": 0,
    "muon": 0,
    "nadamw": 4,
}


def after_three_steps(module, framework: str, point) -> tuple[Any, dict[str, Any]]:
    """The workload and the parameters."""
    start_at, gradients = random_problem()
    if framework == "jax":
        jax = pytest.importorskip("jax")
        workload = GivenGradientsJax(step_hint=300)
        params = jax.tree.map(lambda x: jax.numpy.asarray(x, "float32"), start_at)
        to_array = np.float32
    else:
        torch = pytest.importorskip("torch")
        workload = GivenGradientsPytorch(step_hint=300)
        params = torch.nn.Module()
        for name, value in start_at.items():
            params.register_parameter(name, torch.nn.Parameter(torch.tensor(value)))
        to_array = torch.tensor
    state = start(module, workload, params, point)
    for number, grads in enumerate(gradients[:3]):
        inputs = {name: to_array(grad) for name, grad in grads.items()}
        batch = {"inputs": inputs, "targets": None}
        state, params = step(module, workload, params, point, batch, state, number)
    if framework == "jax":
        return workload, {name: np.asarray(value) for name, value in params.items()}
    named = params.named_parameters()
    return workload, {name: value.detach().numpy() for name, value in named}


def assert_same_steps(ours: tuple, theirs: tuple) -> None:
    (workload, params), (other_workload, other_params) = ours, theirs
    assert workload.forward_calls == other_workload.forward_calls
    assert workload.label_smoothings == other_workload.label_smoothings
    for name, value in params.items():
        np.testing.assert_array_equal(value, other_params[name])


@pytest.mark.parametrize("framework", ["jax", "pytorch"])
@pytest.mark.parametrize(("algorithm", "number"), sorted(PUBLISHED.items()))
def test_self_tuning_form_is_a_point_of_the_list(algorithm, number, framework):
    name = f"algoperf.reference_algorithms.{algorithm}.submission_self_tuning"
    pytest.importorskip("jax" if framework == "jax" else "torch")
    module = importlib.import_module(f"{name}_{framework}")
    point = json.loads((FOLDER / algorithm / "optlist.json").read_text())[number]
    assert_same_steps(
        after_three_steps(module, framework, None),
        after_three_steps(
            submission(algorithm, framework), framework, hyperparameters(point)
        ),
    )


@pytest.mark.parametrize("framework", ["jax", "pytorch"])
def test_prodigy_needs_no_hyperparameters(framework):
    pytest.importorskip("jax" if framework == "jax" else "torch")
    module = submission("prodigy", framework)
    point = {"learning_rate": 1.0, "one_minus_beta1": 0.1, "beta2": 0.999}
    point |= {"weight_decay": 0.0, "warmup_factor": 0.02}
    assert_same_steps(
        after_three_steps(module, framework, None),
        after_three_steps(module, framework, hyperparameters(point)),
    )


@pytest.mark.parametrize("framework", ["jax", "pytorch"])
def test_schedule_free_has_constants_of_its_own(framework):
    pytest.importorskip("jax" if framework == "jax" else "torch")
    module = submission("schedule_free_adamw", framework)
    assert_same_steps(
        after_three_steps(module, framework, None),
        after_three_steps(module, framework, hyperparameters(SCHEDULE_FREE)),
    )


@pytest.mark.parametrize("framework", ["jax", "pytorch"])
def test_schedule_free_passes_smoothing_and_no_dropout_rate(framework):
    pytest.importorskip("jax" if framework == "jax" else "torch")
    module = submission("schedule_free_adamw", framework)
    workload, _ = after_three_steps(module, framework, None)
    assert {call["dropout_rate"] for call in workload.forward_calls} == {None}
    assert set(workload.label_smoothings) == {0.2}


@pytest.mark.parametrize(
    "file",
    sorted(p.relative_to(FOLDER).as_posix() for p in FOLDER.glob("*/submission*.py")),
)
def test_every_submission_follows_the_api(file):
    pytest.importorskip("jax" if file.endswith("jax.py") else "torch")
    loaded = algoperf.submission.load(FOLDER / Path(file))
    assert loaded.get_batch_size("wmt") == 128
