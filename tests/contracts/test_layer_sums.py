"""Sums by layer are those of gradients that are taken one by one, in both frameworks."""

from typing import Any

import both_frameworks as both
import numpy as np
import pytest

from algoperf import backend as backends
from algoperf import registry
from algoperf.histograms import GRADIENT_2D, PARAMETER_2D, Bins
from algoperf.probe import Objective, Sample, Wanted, random_signs
from algoperf.probe_base import BY_LAYER, ONE_BY_ONE
from algoperf.runner.randomness import key_numbers

PACKAGES = {"jax": "flax", "pytorch": "torch"}
NARROW = Bins(100, -0.02, 0.02)  # so that some elements lie outside
# A perceptron; convolutions, and a term of the parameters in the loss.
CASES = [
    pytest.param("mnist_mini", "pytorch"),
    pytest.param("cifar10_3c3d_mini", "pytorch"),
    pytest.param("mnist_mini", "jax", marks=pytest.mark.slow),
    pytest.param("cifar10_3c3d_mini", "jax", marks=pytest.mark.slow),
]


def made_up(definition, size):
    model = both.part(definition, "model_jax")
    random = np.random.default_rng(0)
    batch = {}
    for name, example in model.example_batch(definition.model).items():
        shape = (size, *example.shape[1:])
        is_label = np.issubdtype(example.dtype, np.integer)
        values = (
            random.integers(0, 10, shape) if is_label else random.normal(size=shape)
        )
        batch[name] = values.astype(example.dtype)
    batch["weights"] = np.array([1, 0] + [1] * (size - 2), np.float32)
    return batch


@pytest.mark.parametrize(("name", "framework"), CASES)
def test_sums_by_layer_are_those_of_gradients_one_by_one(name, framework):
    for package in PACKAGES.values():
        pytest.importorskip(package)
    definition = registry.definition(name)
    backend = backends.load(framework)
    workload = both.bound(definition, backend)
    (key,) = backend.keys(key_numbers(0, "layers"))
    params, state = workload.init_model_fn(key)
    sample = Sample(backend.place(made_up(definition, 4)), key)
    found = []
    for route in (BY_LAYER, ONE_BY_ONE):
        probe: Any = backend.probe(Objective(workload))
        point = probe.copy(params, state)
        if route == ONE_BY_ONE:
            probe._has_layers = False
            probe.routes["individual"] = route
        losses, gradient = probe.gradient(point, sample)
        directions = [gradient, random_signs(probe, gradient, 1)]
        wanted = Wanted(directions, squares=True, bins=NARROW)
        pairs = Wanted(pair_bins=(GRADIENT_2D, PARAMETER_2D))
        sums = probe.individual(point, sample, wanted)
        counted = probe.individual(point, sample, pairs).pair_counts
        _, slopes = probe.slopes(point, sample, directions)
        assert probe.routes["individual"] == route
        np.testing.assert_allclose(slopes, sums.products, rtol=1e-3, atol=1e-3)
        arrays = [losses, sums.losses, sums.squared_norms, sums.products[:, 0]]
        squares = probe.to_numpy(sums.squares)
        arrays += [squares[name] for name in probe.names]
        found.append((arrays, sums.counts, [counted[name] for name in probe.names]))
    (ours, counts, own_pairs), (theirs, other_counts, other_pairs) = found
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(b).max())
    # Values on an edge may fall to either side.
    assert np.abs(counts - other_counts).sum() <= 1e-5 * counts.sum()
    assert counts.sum() == 3 * probe.num_parameters
    for a, b in zip(own_pairs, other_pairs, strict=True):
        assert np.abs(a - b).sum() <= 1e-4 * a.sum() + 2
