"""Diagonals, traces and eigenvalues against matrices that are written out."""

import numpy as np
import pytest
import toy_backend
import toy_workload
from toy_probe import ToyProbe

from algoperf import rulesets
from algoperf.errors import UnknownName
from algoperf.instruments import curvature, eigenvalues
from algoperf.probe import NotMeasurable, Objective, Sample, Wanted
from algoperf.workload import Workload


@pytest.fixture
def at():
    """The toy's probe, a point and a batch of 8."""
    workload = Workload(
        toy_workload.DEFINITION,
        toy_backend.ToyBackend(),
        toy_workload,
        toy_workload,
        ruleset=rulesets.ruleset("v0.6"),
        tuning="external",
    )
    probe = ToyProbe(Objective(workload))
    random = np.random.default_rng(0)
    params = {"weight": random.standard_normal((4, 2)), "bias": np.zeros(2)}
    inputs, labels = toy_workload.examples("train")
    batch = {"inputs": inputs[:8], "targets": labels[:8]}
    return probe, probe.copy(params, None), Sample(batch, None)


def matrix(product, probe, point):
    """All columns."""
    columns = []
    for name in probe.names:
        for place in np.ndindex(point.values[name].shape):
            unit = {n: np.zeros_like(v) for n, v in point.values.items()}
            unit[name][place] = 1
            found = product(unit)
            columns.append(np.concatenate([found[n].ravel() for n in probe.names]))
    return np.stack(columns, 1)


def test_the_exact_diagonal_is_that_of_the_matrix(at):
    probe, point, sample = at
    whole = matrix(probe.ggn(point, sample), probe, point)
    for proxy in ("ggn_exact", "hessian_exact"):
        found = curvature.diagonal(probe, point, sample, proxy, seed=0)
        values = np.concatenate([found.values[n].ravel() for n in probe.names])
        np.testing.assert_allclose(values, np.diag(whole), rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(sum(found.traces()), np.trace(whole), rtol=1e-6)
        assert "exact" in found.estimator


@pytest.mark.parametrize("proxy", ["ggn_mc", "hutchinson"])
def test_estimates_are_right_on_average(at, proxy):
    probe, point, sample = at
    whole = matrix(probe.ggn(point, sample), probe, point)
    found = [
        sum(curvature.diagonal(probe, point, sample, proxy, seed).traces())
        for seed in range(0, 4_000, 10)
    ]
    error = np.std(found) / np.sqrt(len(found))
    assert np.mean(found) == pytest.approx(np.trace(whole), abs=4 * error)
    assert error < 0.05 * np.trace(whole)


def test_sampled_labels_give_a_diagonal_that_is_never_negative(at):
    probe, point, sample = at
    found = curvature.diagonal(probe, point, sample, "ggn_mc", seed=0)
    assert all((values >= 0).all() for values in found.values.values())
    assert not found.may_be_negative


def test_large_models_have_no_exact_diagonal(at):
    probe, point, sample = at
    probe.num_parameters = 6_000
    with pytest.raises(NotMeasurable, match="hutchinson"):
        curvature.diagonal(probe, point, sample, "hessian_exact", seed=0)


def test_an_unknown_proxy_is_refused():
    with pytest.raises(UnknownName, match="hutchinson"):
        curvature.check_proxy("hutchison")


@pytest.mark.parametrize("values", [[5, 1, 0.1], [-7, 5, 1], [2, 2, 2], [0, 0, 0]])
def test_the_largest_magnitude_is_found_with_its_sign(at, values):
    probe, _, _ = at
    random = np.random.default_rng(1)
    basis, _ = np.linalg.qr(random.standard_normal((10, 10)))
    spectrum = np.array([*values, *[0.01] * 7]) if any(values) else np.zeros(10)
    whole = basis @ np.diag(spectrum) @ basis.T

    def product(vector):
        flat = np.concatenate([vector["weight"].ravel(), vector["bias"]])
        found = whole @ flat
        return {"weight": found[:8].reshape(4, 2), "bias": found[8:]}

    start = {"weight": np.zeros((4, 2)), "bias": np.zeros(2)}
    found = eigenvalues.largest(probe, product, start, seed=0)
    assert found.value == pytest.approx(values[0], rel=1e-3, abs=1e-9)
    assert found.has_converged and found.num_products <= 10


def test_an_eigenvalue_that_has_not_settled_says_so(at):
    probe, point, sample = at
    product = probe.hessian(point, sample)
    values = point.values
    found = eigenvalues.largest(probe, product, values, seed=0, most_products=2)
    assert not found.has_converged and found.num_products == 2


def test_a_matrix_that_is_not_finite_has_no_eigenvalue(at):
    probe, point, _ = at

    def product(vector):
        return {name: np.full_like(v, np.nan) for name, v in vector.items()}

    assert np.isnan(eigenvalues.largest(probe, product, point.values, seed=0).value)


def test_chunks_add_up_whatever_their_size(at, monkeypatch):
    from algoperf import probe_base
    from algoperf.histograms import GRADIENT_1D

    probe, point, sample = at
    wanted = Wanted([point.values], squares=True, bins=GRADIENT_1D)
    whole = probe.individual(point, sample, wanted)
    for rows in (1, 3, 8):
        monkeypatch.setattr(probe_base, "_CHUNK_BYTES", rows * 4 * probe.num_parameters)
        parts = probe.individual(point, sample, wanted)
        np.testing.assert_allclose(parts.squared_norms, whole.squared_norms)
        np.testing.assert_allclose(parts.products, whole.products)
        np.testing.assert_array_equal(parts.counts, whole.counts)
        np.testing.assert_allclose(parts.squares["weight"], whole.squares["weight"])


def test_padding_is_no_example(at):
    probe, point, sample = at
    weights = np.array([1.0, 1, 1, 1, 1, 0, 1, 0])
    padded = Sample({**sample.batch, "weights": weights}, None)
    kept = {k: v[weights > 0] for k, v in sample.batch.items()}
    # The toy's loss takes weights as its mask.
    probe.objective.workload._backend.loss = lambda type, labels, logits, mask, s: (
        toy_backend.softmax_cross_entropy(labels, logits, mask)
    )
    losses = probe.losses(point, padded)
    assert losses == pytest.approx(probe.losses(point, Sample(kept, None)))
    assert len(losses) == 6
