"""Three steps of the newer rules at a constant rate, against numbers made elsewhere.

Each vector: the first and the seventh of the twelve parameters after the third step, the
sum of all and that of their squares.
"""

import types
from typing import Any

import numpy as np
import pytest
from tiny_workloads import hyperparameters, submission

from algoperf.spec import ParameterType

RATE = 0.01
SHAPE = (3, 4)
START = 0.5 * np.sin(0.7 * np.arange(12.0) + 0.3).reshape(SHAPE)
GRADIENTS = [
    np.cos(0.9 * np.arange(12.0) + 1.1 * t).reshape(SHAPE) + 0.1 * (-1) ** t
    for t in (1, 2, 3)
]
ADAM = {"one_minus_beta1": 0.1, "beta2": 0.99, "weight_decay": 0.1}
MIXED = {**ADAM, "one_minus_beta3": 0.001, "alpha": 5.0}
OUTER = {"outer_period": 2, "outer_learning_rate": 0.3, "outer_momentum": 0.8}
NORMUON = {**ADAM, "one_minus_momentum": 0.05, "neuron_beta2": 0.95}
MARS = {**ADAM, "one_minus_beta1": 0.05, "gamma": 0.025}
VECTORS: list[tuple[str, str, dict[str, float], tuple[float, ...]]] = [
    (
        "ademamix",
        "ademamix",
        MIXED,
        (0.14584106, -0.50733580, 1.14622004, 1.66334110),
    ),
    (
        "ademamix",
        "ademamix",
        {**MIXED, "ramp_steps": 10},
        (0.14577939, -0.50750043, 1.14669136, 1.66419452),
    ),
    ("normuon", "normuon", NORMUON, (0.14556010, -0.49024281, 1.08864175, 1.57004625)),
    (
        "cautious_nadamw",
        "cautious_nadamw",
        ADAM,
        (0.15289664, -0.51467667, 1.18999120, 1.69031340),
    ),
    ("lion", "lion", ADAM, (0.15732726, -0.49727024, 1.09185616, 1.58925998)),
    (
        "diloco",
        "diloco",
        {**ADAM, **OUTER},
        (0.14955183, -0.49888907, 1.11966763, 1.61977323),
    ),
    (
        "mars_adamw",
        "mars_adamw",
        MARS,
        (0.14663444, -0.50388048, 1.14079522, 1.64857441),
    ),
]


def setup_of(framework: str, params: Any, point: dict[str, float], rate: float) -> Any:
    """What a rule is built from, with a constant rate."""
    if framework == "jax":
        from algoperf.reference_algorithms._shared.factory_jax import Setup
    else:
        from algoperf.reference_algorithms._shared.factory_pytorch import Setup
    workload: Any = types.SimpleNamespace(
        step_hint=100,
        model_params_types={"kernel": ParameterType.WEIGHT},
        is_output_params=lambda key: False,
    )
    return Setup(
        workload=workload,
        params=params,
        model_state=None,
        point=hyperparameters(point),
        schedule=lambda step, xp=np: rate,
    )


def in_jax(
    make_rule: Any,
    point: dict[str, float],
    rate: float = RATE,
    *,
    turned: bool = False,
    dtype: str = "float32",
) -> np.ndarray:
    """make_rule: of a `Setup`; turned: parameters are [columns, rows] for the rule."""
    jnp = pytest.importorskip("jax").numpy
    turn = np.transpose if turned else np.asarray
    params = {"kernel": jnp.asarray(turn(START), dtype)}
    rule = make_rule(setup_of("jax", params, point, rate))
    state = rule.init(params)
    for gradient in GRADIENTS:
        grads = {"kernel": jnp.asarray(turn(gradient), dtype)}
        updates, state = rule.update(grads, state, params)
        params = {"kernel": params["kernel"] + updates["kernel"]}
    return turn(np.asarray(params["kernel"], np.float64))


def in_pytorch(
    make_rule: Any, point: dict[str, float], rate: float = RATE
) -> np.ndarray:
    torch = pytest.importorskip("torch")
    model = torch.nn.Module()
    model.register_parameter("kernel", torch.nn.Parameter(torch.tensor(START)))
    optimizer = make_rule(setup_of("pytorch", model, point, rate))
    for group in optimizer.param_groups:
        group["lr"] = rate
    for gradient in GRADIENTS:
        model.kernel.grad = torch.tensor(gradient)
        optimizer.step()
    return model.kernel.detach().numpy()


def summary(theta: np.ndarray) -> list[float]:
    return [theta[0, 0], theta[1, 2], theta.sum(), (theta**2).sum()]


@pytest.mark.parametrize(("algorithm", "rule", "point", "expected"), VECTORS)
def test_jax_gives_the_vector(algorithm, rule, point, expected):
    make_rule = getattr(submission(algorithm, "jax"), rule)
    # There, neurons are rows; in JAX's layers they are columns.
    theta = in_jax(make_rule, point, turned=algorithm == "normuon")
    np.testing.assert_allclose(summary(theta), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("algorithm", "rule", "point", "expected"), VECTORS)
def test_pytorch_gives_the_vector(algorithm, rule, point, expected):
    make_rule = getattr(submission(algorithm, "pytorch"), rule)
    theta = in_pytorch(make_rule, point)
    np.testing.assert_allclose(summary(theta), expected, rtol=0, atol=1e-7)


def soaps_settings() -> Any:
    from algoperf.reference_algorithms.soap.matrices import Settings

    return Settings(
        b1=0.95,
        b2=0.95,
        statistics_beta=0.95,
        eps=1e-8,
        weight_decay=0.1,
        refresh_every=1,
        sorts=False,
    )


SOAP = (0.13406359, -0.49423961, 1.04190171, 1.57341408)


def test_jax_gives_soaps_vector():
    jax = pytest.importorskip("jax")
    optax = pytest.importorskip("optax")
    module = submission("soap", "jax")

    def make_rule(setup):
        scale = module.scale_by_soap(soaps_settings())
        return optax.chain(scale, optax.scale_by_learning_rate(setup.rate))

    # The gradients are nearly of rank 2, so that float32 does not settle the basis.
    with jax.enable_x64(True):
        theta = in_jax(make_rule, ADAM, dtype="float64")
    np.testing.assert_allclose(summary(theta), SOAP, rtol=0, atol=1e-6)


def test_pytorch_gives_soaps_vector():
    module = submission("soap", "pytorch")

    def make_rule(setup):
        return module.Soap(module.parameter_groups(setup.params), soaps_settings())

    theta = in_pytorch(make_rule, ADAM)
    np.testing.assert_allclose(summary(theta), SOAP, rtol=0, atol=1e-7)


PRODIGY = (0.14776039, -0.48876741, 1.07516726, 1.57154214)


def test_pytorch_gives_prodigys_vector():
    make_rule = submission("prodigy", "pytorch").rule
    theta = in_pytorch(make_rule, {**ADAM, "weight_decay": 0.0}, rate=1.0)
    # It has moved by 3e-7 only, so that the numbers' last digit counts.
    np.testing.assert_allclose(summary(theta), PRODIGY, rtol=0, atol=1.1e-8)


def test_jax_gives_prodigys_vector():
    make_rule = submission("prodigy", "jax").rule
    theta = in_jax(make_rule, {**ADAM, "weight_decay": 0.0}, rate=1.0)
    np.testing.assert_allclose(summary(theta), PRODIGY, rtol=0, atol=1e-6)


SCHEDULE_FREE = {
    "y": (0.15177289, -0.49768972, 1.12242122, 1.61630719),
    "x": (0.15038725, -0.49829409, 1.12171347, 1.61963724),
}


def test_pytorch_gives_schedule_frees_vector():
    module = submission("schedule_free_adamw", "pytorch")
    held: list[Any] = []

    def make_rule(setup):
        held.append((module.rule(setup), setup.params))
        return held[0][0]

    y = in_pytorch(make_rule, ADAM)
    np.testing.assert_allclose(summary(y), SCHEDULE_FREE["y"], rtol=0, atol=1e-7)
    optimizer, model = held[0]
    optimizer.hold_average()
    x = model.kernel.detach().numpy()
    np.testing.assert_allclose(summary(x), SCHEDULE_FREE["x"], rtol=0, atol=1e-7)


def test_jax_gives_schedule_frees_vector():
    module = submission("schedule_free_adamw", "jax")
    states: list[Any] = []

    def make_rule(setup):
        constant = module.WarmupConstant(RATE, 1)
        rule = module.schedule_free_adamw(constant, 0.9, 0.99, 0.1)

        def update(grads, state, params):
            updates, state = rule.update(grads, state, params)
            states.append(state)
            return updates, state

        return types.SimpleNamespace(init=rule.init, update=update)

    y = in_jax(make_rule, ADAM)
    np.testing.assert_allclose(summary(y), SCHEDULE_FREE["y"], rtol=0, atol=1e-6)
    average = module.to_average(states[-1], {"kernel": y.astype("float32")})
    x = np.asarray(average["kernel"], np.float64)
    np.testing.assert_allclose(summary(x), SCHEDULE_FREE["x"], rtol=0, atol=1e-6)
