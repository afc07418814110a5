"""The Crowded Valley family: rules against transcriptions, schedules, and what is refused."""

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
from valley_oracles import RULES, trajectory

from algoperf.reference_algorithms.crowded_valley import family
from algoperf.reference_algorithms.crowded_valley.schedules import factors
from algoperf.reference_algorithms.crowded_valley.spaces import MEMBERS
from tests.closeness import FLOAT32_SHORT, assert_close

NUM_STEPS, NUM_EPOCHS = 24, 12  # two steps an epoch
# Beside the defaults, values far from them: what hides at beta2 = 0.999 shows at 0.8.
OTHER = {
    "learning_rate": 0.03,
    "rho": 0.7,
    "beta1": 0.6,
    "beta2": 0.81,
    "epsilon": 1e-3,
    "initial_accumulator": 0.4,
    "final_lr": 0.02,
    "gamma": 0.05,
    "k": 3,
    "alpha": 0.3,
}
each_rule = pytest.mark.parametrize("name", RULES)


@functools.cache
def problem() -> tuple[np.ndarray, list[np.ndarray]]:
    """A start, and gradients of very different sizes: [7] each."""
    random = np.random.default_rng(3)
    scales = np.array([1e-6, 1e-3, 0.1, 1.0, 1.0, 10.0, 1e3])
    gradients = [scales * random.normal(size=7) for _ in range(NUM_STEPS)]
    return random.normal(size=7), gradients


def values_of(name: str, which: str) -> dict[str, float]:
    defaults = MEMBERS[name].defaults
    return {
        key: OTHER[key] if which == "other" else value
        for key, value in defaults.items()
    }


def a_point(name: str, values, schedule: str = "ltr"):
    return hyperparameters(
        {**values, "optimizer": name, "schedule": schedule, "num_epochs": NUM_EPOCHS}
    )


def run_jax(point, theta, gradients):
    jax = pytest.importorskip("jax")
    module, workload = submission("crowded_valley", "jax"), GivenGradientsJax(NUM_STEPS)
    params = {"bias": jax.numpy.asarray(theta, "float32")}
    state, path = start(module, workload, params, point), []
    for number, gradient in enumerate(gradients):
        batch = {"inputs": {"bias": np.float32(gradient)}, "targets": None}
        state, params = step(module, workload, params, point, batch, state, number)
        path.append(np.array(params["bias"]))
    return path


def run_pytorch(point, theta, gradients, dtype="float64"):
    torch = pytest.importorskip("torch")
    kind = getattr(torch, dtype)
    workload = GivenGradientsPytorch(NUM_STEPS)
    module, model = submission("crowded_valley", "pytorch"), torch.nn.Module()
    model.register_parameter(
        "bias", torch.nn.Parameter(torch.tensor(theta, dtype=kind))
    )
    state, path = start(module, workload, model, point), []
    for number, gradient in enumerate(gradients):
        inputs = {"bias": torch.tensor(gradient, dtype=kind)}
        batch = {"inputs": inputs, "targets": None}
        state, model = step(module, workload, model, point, batch, state, number)
        path.append(model.bias.detach().numpy().copy())
    return path


def expected(name, values):
    rates = values["learning_rate"] * np.repeat(factors("ltr", NUM_EPOCHS), 2)
    return trajectory(name, *problem(), values, lambda number: rates[number])


def assert_paths_agree(found, wanted, tolerance):
    for number, (ours, theirs) in enumerate(zip(found, wanted, strict=True)):
        moved = theirs - problem()[0]
        assert_close(ours - problem()[0], moved, f"step {number}", tolerance=tolerance)


@pytest.mark.parametrize("which", ["defaults", "other"])
@each_rule
def test_pytorch_follows_the_transcription_in_double_precision(name, which):
    values = values_of(name, which)
    path = run_pytorch(a_point(name, values), *problem())
    assert_paths_agree(path, expected(name, values), 1e-10)


@pytest.mark.parametrize("which", ["defaults", "other"])
@each_rule
def test_jax_follows_the_transcription(name, which):
    values = values_of(name, which)
    path = run_jax(a_point(name, values), *problem())
    if which == "other":  # the defaults' way is lost in the rounding of float32
        assert_paths_agree(path, expected(name, values), 3e-3)
    assert_close(path[-1], expected(name, values)[-1], name, tolerance=FLOAT32_SHORT)


@each_rule
def test_the_frameworks_agree_in_float32(name):
    point = a_point(name, values_of(name, "other"), "cosine_wr")
    in_pytorch = run_pytorch(point, *problem(), dtype="float32")
    for ours, theirs in zip(run_jax(point, *problem()), in_pytorch, strict=True):
        assert_close(ours, theirs, name, tolerance=FLOAT32_SHORT)


@each_rule
def test_every_rule_differs_from_every_other(name):
    """A rule that fell back on another one would pass no unnoticed test but this."""
    paths = {other: expected(other, values_of(other, "other")) for other in RULES}
    others = [paths[other][-1] for other in RULES if other != name]
    assert min(np.abs(paths[name][-1] - other).max() for other in others) > 1e-4


@each_rule
def test_the_rules_go_on_beyond_the_step_hint(name):
    theta, gradients = problem()
    point = a_point(name, values_of(name, "other"))
    path = run_jax(point, theta, [*gradients, *gradients[:6]])
    assert np.isfinite(path[-1]).all()
    assert (path[-1] != path[-2]).any()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"optimizer": "adamm"}, "optimizer is 'adamm'"),
        ({}, "optimizer is None"),
        ({"optimizer": "sgd", "schedule": "linear"}, "schedule is 'linear'"),
        ({"optimizer": "sgd", "schedule_form": "good"}, "schedule_form is 'good'"),
        ({"optimizer": "sgd", "schedule": "cosine"}, "num_epochs"),
    ],
)
def test_a_point_that_chooses_nothing_known_is_refused(words, message):
    point = hyperparameters({"learning_rate": 0.1, **words})
    with pytest.raises(ValueError, match=message):
        family.choice(point)


def test_self_tuning_says_what_is_missing():
    with pytest.raises(ValueError, match="external tuning"):
        family.choice(None)


def test_hyperparameters_of_other_members_are_passed_over():
    chosen = family.choice(hyperparameters({"optimizer": "sgd", "beta1": 0.5}))
    assert chosen.values == {"learning_rate": 0.01}


def test_the_family_has_the_published_defaults():
    defaults = {name: member.defaults for name, member in MEMBERS.items()}
    rates = {name: values["learning_rate"] for name, values in defaults.items()}
    hundredth = {"amsgrad", "adagrad", "lookahead_momentum", "momentum", "nag", "sgd"}
    assert {name for name, rate in rates.items() if rate == 1e-2} == hundredth
    assert all(rates[name] == 1e-3 for name in rates.keys() - hundredth)
    assert defaults["adabelief"]["epsilon"] == 1e-14
    assert defaults["rmsprop"] == {"learning_rate": 1e-3, "rho": 0.9, "epsilon": 1e-10}
    assert defaults["adadelta"]["rho"] == 0.95
    assert {defaults[n]["epsilon"] for n in ("nadam", "radam")} == {1e-7}
    assert {defaults[n]["rho"] for n in ("momentum", "nag")} == {0.99}
    assert defaults["lookahead_radam"]["k"] == 5


@pytest.mark.parametrize(
    ("schedule", "num_epochs", "values"),
    [
        ("cosine", 100, {0: 1, 1: 0.99975, 50: 0.5, 99: 0.000247}),
        ("cosine_wr", 350, {0: 1, 10: 1, 30: 1, 70: 1, 150: 1, 310: 1, 20: 0.5}),
        ("cosine_wr", 50, {49: 0.5 * (1 + np.cos(np.pi * 19 / 40)), 9: 0.024472}),
        ("ltr", 100, {0: 1, 1: 0.1, 2: 0.2, 10: 1, 50: 1, 90: 1, 91: 0.9091}),
        ("ltr", 100, {92: 0.8182, 99: 0.1818}),
        ("ltr", 50, {46: 0.833, 47: 0.667, 48: 0.5, 49: 0.333}),
        ("constant", 7, {0: 1, 3: 1, 6: 1}),
    ],
)
def test_factors_have_the_published_values(schedule, num_epochs, values):
    found = factors(schedule, num_epochs)
    assert len(found) == num_epochs
    for epoch, value in values.items():
        assert found[epoch] == pytest.approx(value, abs=5e-4 if value > 0.01 else 5e-6)


@pytest.mark.parametrize(
    ("schedule", "mean"), [("constant", 1.0), ("cosine", 0.505), ("ltr", 0.91)]
)
def test_factors_have_the_published_means(schedule, mean):
    assert factors(schedule, 100).mean() == pytest.approx(mean, abs=0.006)


def test_the_clean_trapezoid_warms_up_from_the_first_epoch():
    clean, faithful = factors("ltr", 100, "clean"), factors("ltr", 100)
    assert clean[:3] == pytest.approx([0.1, 0.2, 0.3])
    assert faithful[:3] == pytest.approx([1.0, 0.1, 0.2])
    assert clean[10:].tolist() == faithful[10:].tolist()
    for other in ("cosine", "cosine_wr"):
        same = factors(other, 100, "clean").tolist() == factors(other, 100).tolist()
        assert same


def test_a_rate_changes_with_the_epoch_and_stays_after_the_last():
    point = a_point("sgd", {"learning_rate": 2.0}, "cosine")
    schedule = family.schedule_of(point, NUM_STEPS)
    by_step = [float(schedule(number)) for number in range(NUM_STEPS + 3)]
    wanted = 2.0 * np.repeat(factors("cosine", NUM_EPOCHS), 2)
    assert by_step == pytest.approx([*wanted, *wanted[-1:].repeat(3)])
