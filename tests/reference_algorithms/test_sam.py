"""SAM's second gradient: where it is taken, and what it leaves alone."""

import pytest
from tiny_workloads import (
    GivenGradientsJax,
    GivenGradientsPytorch,
    hyperparameters,
    start,
    step,
    submission,
)
from update_rule_oracles import POINTS

from tests.closeness import FLOAT32_SHORT, assert_close

POINT = hyperparameters({**POINTS["sam"], "warmup_factor": 0.0})


def recording(base):
    """A workload of `base` that remembers the rng of every forward pass."""

    class Recording(base):
        def __init__(self) -> None:
            super().__init__(step_hint=100)
            self.rngs = []

        def model_fn(self, params, batch, model_state, mode, rng, **options):
            self.rngs.append(rng)
            return super().model_fn(params, batch, model_state, mode, rng, **options)

    return Recording()


def problem(framework: str, gradient: float):
    """Workload, one parameter vector (1, 1), a batch with its gradient."""
    if framework == "jax":
        jnp = pytest.importorskip("jax").numpy
        batch = {"inputs": {"bias": jnp.full(2, gradient)}, "targets": None}
        return recording(GivenGradientsJax), {"bias": jnp.ones(2)}, batch
    torch = pytest.importorskip("torch")
    model = torch.nn.Module()
    model.register_parameter("bias", torch.nn.Parameter(torch.ones(2)))
    batch = {"inputs": {"bias": torch.full((2,), gradient)}, "targets": None}
    return recording(GivenGradientsPytorch), model, batch


@pytest.mark.parametrize("framework", ["jax", "pytorch"])
def test_second_pass_has_the_same_rng_and_leaves_the_statistics(framework):
    workload, params, batch = problem(framework, 1.0)
    module = submission("sam", framework)
    state = start(module, workload, params, POINT)
    step(module, workload, params, POINT, batch, state, 1)
    assert [call["update_batch_norm"] for call in workload.forward_calls] == [
        True,
        False,
    ]
    assert workload.rngs[0] is workload.rngs[1]


@pytest.mark.parametrize("framework", ["jax", "pytorch"])
def test_a_gradient_of_zero_leaves_finite_parameters(framework):
    workload, params, batch = problem(framework, 0.0)
    module = submission("sam", framework)
    state = start(module, workload, params, POINT)
    _, params = step(module, workload, params, POINT, batch, state, 1)
    bias = params["bias"] if framework == "jax" else params.bias.detach().numpy()
    decayed = 1.0 - POINT.learning_rate * POINT.weight_decay
    assert_close(bias, [decayed, decayed], tolerance=FLOAT32_SHORT)


def test_pytorch_moves_the_parameters_back_to_the_last_bit():
    torch = pytest.importorskip("torch")
    workload, model, batch = problem("pytorch", 0.3)
    point = hyperparameters({**POINTS["sam"], "warmup_factor": 0.5})
    module = submission("sam", "pytorch")
    state = start(module, workload, model, point)
    step(module, workload, model, point, batch, state, 1)  # the first rate is 0
    torch.testing.assert_close(model.bias.detach(), torch.ones(2), rtol=0, atol=0)
