"""Distributed Shampoo: blocks, roots, and the rule with small blocks."""

from types import SimpleNamespace

import numpy as np
import pytest
from shampoo_oracle import Shampoo, inverse_root, merged

from algoperf.reference_algorithms.distributed_shampoo.blocks import (
    Blocks,
    Constants,
    Limits,
    merged_shape,
)
from tests.closeness import assert_close

SMALL = Limits(merged=6, block=4, skipped_above=9)
CONSTANTS = Constants(
    beta2=0.5, update_roots_every=3, start_preconditioning_step=7, limits=SMALL
)
SHAPES = {
    "cube": (4, 4, 3),
    "kernel": (7, 4),
    "long": (10, 2),
    "vector": (2, 3),
}
POINT = {"one_minus_beta1": 0.2, "weight_decay": 0.1}


def test_the_published_limits():
    assert Limits() == Limits(merged=4096, block=1024, skipped_above=4096)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((), (1,)),
        ((4097,), (4097,)),
        ((64, 64), (4096,)),
        ((3, 3, 512, 512), (9, 512, 512)),
        ((3, 3, 64, 64), (576, 64)),
        ((1, 5000, 3), (5000, 3)),
        ((784, 128), (784, 128)),
    ],
)
def test_axes_are_merged_up_to_the_limit(shape, expected):
    assert merged_shape(shape, 4096) == expected


def test_blocks_are_cut_and_joined_again():
    rng = np.random.default_rng(0)
    shapes = [*SHAPES.values(), (5, 6, 7), (2, 3, 7), ()]
    tensors = [rng.normal(size=shape) for shape in shapes]
    blocks = Blocks([x.shape for x in tensors], SMALL)
    joined = blocks.join(blocks.cut(tensors), np.concatenate)
    assert sorted(joined) == blocks.preconditioned
    for i, tensor in joined.items():
        np.testing.assert_array_equal(tensor, tensors[i])


def test_only_tensors_above_the_stated_length_are_skipped():
    blocks = Blocks([(4096, 2), (4097, 2), (3,), (1024, 1024)], Limits())
    assert blocks.preconditioned == [0, 2, 3]


def test_long_axes_are_cut_and_the_rest_is_a_shorter_block():
    blocks = Blocks([(2049, 1030)], Limits())
    assert blocks.counts == {(1024, 1024): 2, (1024, 6): 2, (1, 1024): 1, (1, 6): 1}


WAYS = ["jax", "jax newton", "pytorch", "pytorch newton"]


def roots_of(way: str, matrices: np.ndarray, order: int):
    """By the way of this machine's platform, or by iteration."""
    framework, by_iteration = way.split()[0], way.endswith("newton")
    if framework == "jax":
        jnp = pytest.importorskip("jax").numpy
        from algoperf.reference_algorithms.distributed_shampoo import roots_jax

        function = roots_jax.inverse_roots
        if by_iteration:
            function = roots_jax.newton_roots
        found = function(jnp.float32(matrices), order, 1e-6)
    else:
        torch = pytest.importorskip("torch")
        from algoperf.reference_algorithms.distributed_shampoo import roots_pytorch

        tensor = torch.tensor(matrices, dtype=torch.float32)
        function = roots_pytorch.inverse_roots
        if by_iteration:
            function = roots_pytorch.newton_roots
        found = function(tensor, order, 1e-6)
    return tuple(np.asarray(part) for part in found)


def statistics(condition: float, scales=(0.1, 1.0, 2.0)) -> np.ndarray:
    """Three matrices [3, 12, 12] with eigenvalues from 1 / condition to 1, scaled."""
    rng = np.random.default_rng(0)
    values = np.geomspace(1 / condition, 1.0, 12)
    found = []
    for scale in scales:
        vectors = np.linalg.qr(rng.normal(size=(12, 12)))[0]
        found.append(scale * (vectors * values) @ vectors.T)
    return np.stack(found)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("order", [2, 4, 6])
def test_roots_are_those_of_the_eigenvalues(way, order):
    matrices = statistics(condition=1e3)
    roots, errors = roots_of(way, matrices, order)
    for matrix, root in zip(matrices, roots, strict=True):
        expected = inverse_root(matrix, order)
        assert_close(root, expected, tolerance=2e-3)
    assert errors.max() < 1e-3


@pytest.mark.parametrize("framework", ["jax", "pytorch"])
def test_roots_of_very_small_and_large_statistics_have_their_scale(framework):
    matrices = statistics(condition=10.0, scales=(1e-24, 1.0, 1e6))
    roots, _ = roots_of(framework, matrices, 4)
    for matrix, root in zip(matrices, roots, strict=True):
        expected = inverse_root(matrix, 4)
        assert_close(root, expected, tolerance=1e-3)


@pytest.mark.parametrize("way", WAYS)
def test_roots_of_singular_matrices_are_finite(way):
    gradient = np.linspace(0, 1, 12)
    roots, errors = roots_of(way, np.outer(gradient, gradient)[None], 4)
    assert np.isfinite(roots).all()
    assert errors.max() < 0.1


@pytest.mark.parametrize("way", WAYS)
def test_the_error_of_a_failed_root_is_not_below_the_limit(way):
    matrices = statistics(10.0)
    matrices[1, 3, 4] = np.nan
    _, errors = roots_of(way, matrices, 4)
    assert not errors[1] < 0.1
    assert errors[0] < 0.1 and errors[2] < 0.1


def random_steps(count: int = 14) -> tuple[dict, list[dict]]:
    rng = np.random.default_rng(3)

    def draw() -> dict[str, np.ndarray]:
        return {name: rng.normal(size=shape) for name, shape in SHAPES.items()}

    return draw(), [draw() for _ in range(count)]


def expected_path(params: dict, gradients: list[dict]) -> list[dict]:
    options = {"merged": 6, "block": 4, "skipped_above": 9, "every": 3, "start": 7}
    rules = {n: Shampoo(POINT, lambda _: 0.1, beta2=0.5, **options) for n in params}
    path = []
    for t, grads in enumerate(gradients, start=1):
        params = {n: rules[n].update(params[n], grads[n], t) for n in params}
        path.append(params)
    return path


def jax_path(params: dict, gradients: list[dict]) -> list[dict]:
    jax = pytest.importorskip("jax")
    import optax

    from algoperf.reference_algorithms.distributed_shampoo import submission_jax

    optimizer = submission_jax.distributed_shampoo(
        lambda _: 0.1, b1=0.8, weight_decay=0.1, constants=CONSTANTS
    )
    theta = jax.tree.map(lambda x: jax.numpy.asarray(x, "float32"), params)
    state, update, path = jax.jit(optimizer.init)(theta), jax.jit(optimizer.update), []
    for grads in gradients:
        updates, state = update(jax.tree.map(np.float32, grads), state, theta)
        theta = optax.apply_updates(theta, updates)
        path.append(jax.tree.map(np.asarray, theta))
    return path


def pytorch_path(params: dict, gradients: list[dict]) -> list[dict]:
    torch = pytest.importorskip("torch")
    from algoperf.reference_algorithms.distributed_shampoo import submission_pytorch

    theta = {n: torch.nn.Parameter(torch.tensor(x)) for n, x in params.items()}
    optimizer = submission_pytorch.DistributedShampoo(
        theta.values(), CONSTANTS, lr=0.1, beta1=0.8, weight_decay=0.1
    )
    path = []
    for grads in gradients:
        for name, param in theta.items():
            param.grad = torch.tensor(grads[name])
        optimizer.step()
        path.append({n: p.detach().numpy().copy() for n, p in theta.items()})
    return path


@pytest.mark.parametrize(("run", "tolerance"), [(jax_path, 2e-3), (pytorch_path, 1e-4)])
def test_blocks_of_matrices_follow_the_published_rule(run, tolerance):
    params, gradients = random_steps()
    path, expected = run(params, gradients), expected_path(params, gradients)
    for ours, theirs in zip(path, expected, strict=True):
        for name, value in theirs.items():
            assert_close(ours[name], value, name, tolerance=tolerance)


def test_preconditioning_changes_what_is_not_skipped_and_nothing_else():
    """Guards against the archived version's default, which skipped every tensor."""
    params, gradients = random_steps()
    ours = pytorch_path(params, gradients)[-1]
    grafted = expected_path_without_preconditioning(params, gradients)
    for name in SHAPES:
        difference = np.abs(ours[name] - grafted[name]).max()
        assert (difference < 1e-12) == (name == "long"), name


def expected_path_without_preconditioning(params: dict, gradients: list[dict]) -> dict:
    rules = {
        n: Shampoo(POINT, lambda _: 0.1, beta2=0.5, skipped_above=0) for n in params
    }
    for t, grads in enumerate(gradients, start=1):
        params = {n: rules[n].update(params[n], grads[n], t) for n in params}
    return params


def test_the_oracle_merges_as_the_rule_says():
    assert merged((3, 3, 512, 512), 4096) == [9, 512, 512]
    assert merged((2, 3, 7), 6) == [6, 7]


def test_a_point_may_have_its_own_block_size():
    without = SimpleNamespace(beta2=0.9)
    assert Constants.at(without) == Constants(beta2=0.9)
    with_one = SimpleNamespace(beta2=0.9, block_size=128)
    assert Constants.at(with_one).limits == Limits(block=128)
