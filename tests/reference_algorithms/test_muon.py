"""Muon: which parameters are its own, and what orthogonalising does."""

import numpy as np
import pytest
from test_update_rules import RUNS
from update_rule_oracles import POINTS, STEP_HINT, cosine_rate, random_problem

from algoperf.reference_algorithms._shared.matrices import matrix_shape, update_scale
from algoperf.reference_algorithms.muon.settings import MuonSettings
from algoperf.spec import ParameterType
from tests.closeness import FLOAT32_SHORT, assert_close


@pytest.mark.parametrize(
    ("kind", "shape", "expected"),
    [
        (ParameterType.WEIGHT, (4, 3), (4, 3)),
        (ParameterType.ATTENTION_QKV, (4, 12), (4, 12)),
        (ParameterType.ATTENTION_OUT, (4, 4), (4, 4)),
        (ParameterType.ATTENTION_Q, (8, 2, 3), (8, 6)),
        (ParameterType.ATTENTION_OUT, (2, 3, 8), (6, 8)),
        (ParameterType.WEIGHT, (2, 3, 8), None),
        (ParameterType.WEIGHT, (3,), None),
        (ParameterType.EMBEDDING, (100, 8), None),
        (ParameterType.CONV_WEIGHT, (3, 3, 8, 8), None),
        (ParameterType.BIAS, (3,), None),
        (ParameterType.ATTENTION_BIAS, (2, 3), None),
        (ParameterType.LAYER_NORM_SCALE, (3,), None),
    ],
)
def test_matrices_are_found_by_type_and_shape(kind, shape, expected):
    assert matrix_shape(kind, shape, is_output=False) == expected


def test_the_output_layer_is_not_muons():
    assert matrix_shape(ParameterType.WEIGHT, (4, 3), is_output=True) is None


@pytest.mark.parametrize("shape", [(8, 3), (3, 8), (5, 5)])
def test_scale_gives_an_orthogonal_matrix_the_size_of_an_adamw_update(shape):
    u, _, v = np.linalg.svd(np.random.default_rng(0).normal(size=shape), False)
    update = update_scale(shape) * u @ v
    assert np.sqrt((update**2).mean()) == pytest.approx(0.2)


def orthogonalized(framework: str, stacked: np.ndarray) -> np.ndarray:
    if framework == "jax":
        pytest.importorskip("jax")
        from algoperf.reference_algorithms._shared import orthogonal_jax

        return np.asarray(orthogonal_jax.orthogonalized(stacked))
    torch = pytest.importorskip("torch")
    from algoperf.reference_algorithms._shared import orthogonal_pytorch

    return orthogonal_pytorch.orthogonalized(torch.from_numpy(stacked)).numpy()


@pytest.mark.parametrize("framework", ["jax", "pytorch"])
@pytest.mark.parametrize("shape", [(2, 6, 4), (2, 4, 6)])
def test_singular_values_become_about_one_and_vectors_stay(framework, shape):
    stacked = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    for before, after in zip(stacked, orthogonalized(framework, stacked), strict=True):
        left, _, right = np.linalg.svd(before, full_matrices=False)
        values = left.T @ after @ right.T
        assert_close(values, np.diag(np.diag(values)))
        assert 0.6 < np.diag(values).min() <= np.diag(values).max() < 1.3


@pytest.mark.parametrize("framework", ["jax", "pytorch"])
def test_zero_matrices_stay_zero(framework):
    zeros = np.zeros((1, 3, 2), np.float32)
    np.testing.assert_array_equal(orthogonalized(framework, zeros), zeros)


def test_pytorchs_own_muon_is_the_same_rule_in_bfloat16():
    """Guards the reason for a rule of our own: rounding far above 1e-5."""
    torch = pytest.importorskip("torch")
    from algoperf.reference_algorithms.muon.submission_pytorch import Muon

    gradient = torch.tensor(np.random.default_rng(0).normal(size=(6, 4)))
    ours, theirs = (torch.nn.Parameter(torch.zeros(6, 4)) for _ in range(2))
    ours.grad, theirs.grad = gradient.float(), gradient.float()
    Muon(
        [{"params": [ours], "matrix_shape": (6, 4)}],
        MuonSettings(momentum=0.95, weight_decay=0.0),
        betas=(0.9, 0.99),
        eps=1e-8,
        weight_decay=0.0,
    ).step()
    torch.optim.Muon(
        [theirs], lr=1.0, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"
    ).step()
    difference = (ours - theirs).abs().max().item()
    assert 1e-4 < difference < 0.05


PUBLISHED = {  # of an entry to version 1.0, but for rates that move something
    "learning_rate": 0.001,
    "warmup_factor": 0.0,
    "matrix_rate_factor": 28.0,
    "matrix_weight_decay": 0.02,
    "one_minus_momentum": 0.05,
    "nesterov": 0,
    "scales_by_fan": 1,
}


@pytest.mark.parametrize(("framework", "output_axis"), [("jax", 1), ("pytorch", 0)])
def test_matrices_may_have_a_rate_decay_and_scale_of_their_own(framework, output_axis):
    pytest.importorskip("jax" if framework == "jax" else "torch")
    run, make_workload = RUNS[framework]
    params, gradients = random_problem(shapes={"kernel": (2, 6)}, num_steps=2)
    workload = make_workload("muon")
    workload.model_params_types = {"kernel": ParameterType.WEIGHT}
    path = run("muon", params, gradients, workload=workload, **PUBLISHED)
    theta, momentum = params["kernel"], 0.0
    for t, gradient in enumerate(gradients):
        momentum = 0.95 * momentum + gradient["kernel"]
        x = orthogonalized(framework, np.float32(momentum)[None])[0]
        x = x * (np.sqrt(3) if output_axis == 1 else 1.0)
        rate = 28.0 * cosine_rate(t, {**POINTS["muon"], **PUBLISHED}, STEP_HINT)
        theta = theta - rate * (x + 0.02 * theta)
    assert_close(path[-1]["kernel"], theta, tolerance=FLOAT32_SHORT)
