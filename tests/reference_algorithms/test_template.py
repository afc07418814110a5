"""The template for submissions runs as it is."""

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_workloads import (
    SoftmaxJax,
    SoftmaxPytorch,
    classification_batch,
    global_mean_gradient,
    hyperparameters,
    start,
    step,
)

import algoperf
import algoperf.submission
from tests.closeness import FLOAT32_SHORT, assert_close

TEMPLATE = Path(algoperf.__file__).parents[1] / "submissions" / "template"
POINT = hyperparameters({"learning_rate": 0.5, "momentum": 0.9, "weight_decay": 0.0})


def losses_of_eleven_steps(file: str, workload, params, batch) -> list[float]:
    """The loss before each step."""
    module = algoperf.submission.load(TEMPLATE / file)
    losses = []
    state = start(module, workload, params, POINT)
    for number in range(11):
        logits = workload.logits(params, batch["inputs"])
        loss = workload.loss_fn(batch["targets"], logits, batch["weights"])
        mean_loss = loss["summed"] / loss["n_valid_examples"]
        losses.append(mean_loss.item())
        state, params = step(module, workload, params, POINT, batch, state, number)
    return losses


def jax_problem():
    pytest.importorskip("jax")
    from algoperf.jax_sharding_utils import replicate

    params = {"kernel": np.zeros((4, 3), "float32"), "bias": np.zeros(3, "float32")}
    return SoftmaxJax(100), replicate(params), classification_batch()


def pytorch_problem():
    torch = pytest.importorskip("torch")
    model = torch.nn.Linear(4, 3)
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    batch = {n: torch.from_numpy(rows) for n, rows in classification_batch().items()}
    return SoftmaxPytorch(100), model, batch


@pytest.fixture(scope="module")
def jax_losses():
    return losses_of_eleven_steps("submission.py", *jax_problem())


@pytest.fixture(scope="module")
def pytorch_losses():
    return losses_of_eleven_steps("submission_pytorch.py", *pytorch_problem())


def test_jax_template_trains(jax_losses):
    assert jax_losses[-1] < 0.5 * jax_losses[0]


def test_pytorch_template_trains(pytorch_losses):
    assert pytorch_losses[-1] < 0.5 * pytorch_losses[0]


def test_templates_take_the_same_steps(jax_losses, pytorch_losses):
    assert_close(jax_losses, pytorch_losses, tolerance=FLOAT32_SHORT)


def test_first_step_follows_the_mean_over_valid_examples():
    workload, params, batch = jax_problem()
    module = algoperf.submission.load(TEMPLATE / "submission.py")
    state = start(module, workload, params, POINT)
    _, params = step(module, workload, params, POINT, batch, state, 0)
    for name, gradient in global_mean_gradient(batch).items():
        assert_close(params[name], -0.5 * gradient, tolerance=FLOAT32_SHORT)


def test_search_space_has_the_hyperparameters_that_the_template_reads():
    space = json.loads((TEMPLATE / "tuning_search_space.json").read_text())
    assert tuple(space) == POINT._fields
