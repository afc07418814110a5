"""What the transcriptions do not show of the rules published since 2023."""

import numpy as np
import pytest
from test_update_rules import (
    RUNS,
    assert_paths_agree,
    jax_workload,
    run_jax,
    run_pytorch,
)
from tiny_workloads import GIVEN_TYPES, hyperparameters, submission
from update_rule_oracles import POINTS, random_problem

from algoperf.reference_algorithms.ademamix.ramps import Ramps
from algoperf.reference_algorithms.soap.matrices import matrix_shape

FRAMEWORKS = {"jax": run_jax, "pytorch": run_pytorch}


def turned(params):
    """Kernels as the other framework keeps them: [inputs, outputs], [outputs, inputs]."""
    return {name: x.T if x.ndim == 2 else x for name, x in params.items()}


def test_normuon_evens_out_the_same_neurons_in_both_frameworks():
    shapes = {"kernel": (4, 3), "kernel_2": (4, 3), "bias": (3,)}
    params, gradients = random_problem(shapes=shapes)
    workload = jax_workload("normuon")
    workload.model_params_types = {name: GIVEN_TYPES[name] for name in shapes}
    in_jax = run_jax("normuon", params, gradients, workload=workload)
    in_pytorch = run_pytorch(
        "normuon", turned(params), [turned(g) for g in gradients], "float32"
    )
    assert_paths_agree(in_jax, [turned(path) for path in in_pytorch])


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_normuon_gives_every_neuron_an_update_of_about_one_size(framework):
    params, gradients = random_problem(shapes={"kernel": (6, 6)}, num_steps=40)
    gradients = [{"kernel": g["kernel"] * np.arange(1, 7)} for g in gradients]
    point = {"weight_decay": 0.0, "warmup_factor": 0.0}
    run, make_workload = RUNS[framework]
    workload = make_workload("normuon")
    workload.model_params_types = {"kernel": GIVEN_TYPES["kernel"]}
    path = run("normuon", params, gradients[:2], workload=workload, **point)
    moved = path[0]["kernel"] - params["kernel"]
    axis = 0 if framework == "jax" else 1  # of the inputs
    sizes = np.sqrt((moved**2).mean(axis))
    assert sizes.max() / sizes.min() < 1.01


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("switch", [0, 1])
def test_cautious_decay_is_a_switch(framework, switch):
    """An element that is pushed away from 0 decays by itself only without the switch."""
    params = {"bias": np.ones(3)}
    gradients = [{"bias": -np.ones(3)}]
    point = {"weight_decay": 0.5, "warmup_factor": 0.0, "learning_rate": 0.1}
    run = FRAMEWORKS[framework]
    (theta,) = run("cautious_nadamw", params, gradients, cautious_decay=switch, **point)
    look_ahead = 1.0 + (1.0 - POINTS["cautious_nadamw"]["one_minus_beta1"])
    expected = 1.0 + 0.1 * (look_ahead - (0.0 if switch else 0.5))
    np.testing.assert_allclose(theta["bias"], expected, rtol=1e-5)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_without_the_key_decay_is_nadamws(framework):
    params = {"bias": np.ones(3)}
    gradients = [{"bias": np.ones(3)}] * 3  # the masks are all 1
    run = FRAMEWORKS[framework]
    cautious = run("cautious_nadamw", params, gradients, cautious_decay=0)
    assert_paths_agree(cautious, run("nadamw", params, gradients), 1e-6)


def test_ademamixs_ramps_begin_at_beta1_and_end_at_their_values():
    ramps = Ramps(beta1=0.9, beta3=0.9999, alpha=8.0, num_steps=1_000)
    assert ramps.alpha_at(500) == 4.0
    assert ramps.beta3_at(0) == pytest.approx(0.9, rel=1e-6)
    assert 0.9 < ramps.beta3_at(10) < ramps.beta3_at(500) < 0.9999
    # Half way in half-lives: 6,931 steps and 6.6 give 3,469.
    assert np.log(0.5) / np.log(ramps.beta3_at(500)) == pytest.approx(3_469, rel=1e-3)
    for step in (1_000, 5_000):
        assert (ramps.alpha_at(step), ramps.beta3_at(step)) == (8.0, 0.9999)


@pytest.mark.parametrize(
    ("keys", "num_steps"),
    [
        ({}, 0),
        ({"ramp_steps": 500}, 500),
        ({"ramp_steps": 0, "ramp_factor": 0.5963}, 596),
    ],
)
def test_ademamixs_ramps_are_steps_or_a_share_of_the_step_hint(keys, num_steps):
    point = {"one_minus_beta1": 0.1, "one_minus_beta3": 0.001, "alpha": 8.0, **keys}
    assert Ramps.of(hyperparameters(point), 1_000).num_steps == num_steps


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((4, 3), (4, 3)),
        ((3, 3, 64, 64), (576, 64)),
        ((64, 64, 3, 3), (64, 576)),
        ((512, 8, 64), (512, 512)),
        ((31, 1, 512), (31, 512)),
        ((5,), None),
        ((), None),
        ((1, 5), None),
        ((5, 1, 1), None),
    ],
)
def test_soap_merges_axes_to_the_matrix_nearest_to_a_square(shape, expected):
    assert matrix_shape(shape) == expected


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_soap_without_rotation_is_adam_one_gradient_late(framework):
    params, gradients = random_problem(shapes={"kernel": (4, 3), "bias": (3,)})
    run, adam = FRAMEWORKS[framework], {"warmup_factor": 0.0}
    soap = run("soap", params, gradients[:5], largest_side=1, **adam)
    late = run("adamw", params, gradients[1:5], **adam)
    np.testing.assert_array_equal(soap[0]["bias"], late_start(params, framework))
    # The schedule counts gradients: only the first update, at nearly the same rate.
    moved = [path["kernel"] - params["kernel"] for path in (soap[1], late[0])]
    np.testing.assert_allclose(moved[0], moved[1], rtol=0.02)


def late_start(params, framework):
    return np.float32(params["bias"]) if framework == "jax" else params["bias"]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_soap_takes_first_gradients_of_low_rank_and_of_zero(framework):
    """Of four examples whose pixels are mostly 0, and of a layer that is not reached."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(4, 300)) * (rng.random((4, 300)) < 0.2)
    params = {"kernel": np.ones((300, 8)), "kernel_2": np.ones((4, 3))}
    gradients = [
        {
            "kernel": 1e-12 * inputs.T @ rng.normal(size=(4, 8)),
            "kernel_2": np.zeros((4, 3)),
        }
        for _ in range(5)
    ]
    run, make_workload = RUNS[framework]
    dtype = {} if framework == "jax" else {"dtype": "float32"}
    path = run("soap", params, gradients, workload=make_workload("soap"), **dtype)
    assert all(np.isfinite(x).all() for x in path[-1].values())


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("when", [0, 4])
def test_soap_takes_a_gradient_that_is_no_number(framework, when):
    """The run ends by itself, as one that diverged: there is no error."""
    params, gradients = random_problem(shapes={"kernel": (4, 3)}, num_steps=8)
    gradients[when]["kernel"][0, 0] = np.nan
    path = FRAMEWORKS[framework]("soap", params, gradients)
    assert np.isnan(path[-1]["kernel"]).any()


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_prodigy_waits_for_a_rate_above_zero(framework):
    params, gradients = random_problem(shapes={"bias": (3,)})
    point = {"warmup_factor": 0.5, "weight_decay": 0.0}
    path = FRAMEWORKS[framework]("prodigy", params, gradients[:6], **point)
    assert all(np.isfinite(theta["bias"]).all() for theta in path)
    assert (path[-1]["bias"] != path[0]["bias"]).any()


def test_prodigy_is_not_the_rule_of_optax():
    """Guards the reason for a rule of our own: were they equal, optax's would do."""
    optax = pytest.importorskip("optax")
    module = submission("prodigy", "jax")
    params, grads = np.ones(2, np.float32), np.array([1.0, -2.0], np.float32)
    ours = module.prodigy(lambda _: 1.0, b1=0.9, b2=0.999, eps=1e-8, weight_decay=0.0)
    theirs = optax.contrib.prodigy(1.0, betas=(0.9, 0.999))
    steps = [
        rule.update(grads, rule.init(params), params)[0] for rule in (ours, theirs)
    ]
    assert np.abs(np.asarray(steps[0] / steps[1]) - 1.0).min() > 0.01


def test_optaxs_prodigy_has_no_distance_after_a_rate_of_zero():
    """The other reason: our warm-up begins at 0."""
    optax = pytest.importorskip("optax")
    rule = optax.contrib.prodigy(lambda count: 0.0)
    params = np.ones(2, np.float32)
    _, state = rule.update(params, rule.init(params), params)
    assert np.isnan(state.estim_lr)
