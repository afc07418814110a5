"""Deferred logits in JAX: the same losses and gradients, never all at once."""

import functools

import numpy as np
import pytest

from algoperf import deferred_logits
from algoperf.spec import LossType

jax = pytest.importorskip("jax")
jnp = jax.numpy

from algoperf.jax_backend import losses, output_layer  # noqa: E402

cross_entropy = functools.partial(losses.loss, LossType.SOFTMAX_CROSS_ENTROPY)

RNG = np.random.default_rng(0)
BATCH, LENGTH, WIDTH, CLASSES = 3, 8, 5, 11
HIDDEN = RNG.normal(size=(BATCH, LENGTH, WIDTH)).astype(np.float32)
TABLE = RNG.normal(size=(CLASSES, WIDTH)).astype(np.float32)
LABELS = RNG.integers(0, CLASSES, (BATCH, LENGTH))
LOGITS = HIDDEN @ TABLE.T


@pytest.fixture(autouse=True)
def parts_of_two_tokens(monkeypatch):
    monkeypatch.setattr(deferred_logits, "_MOST_AT_ONCE", BATCH * 2 * CLASSES)


def deferred():
    logits = output_layer.logits(jnp.asarray(HIDDEN), jnp.asarray(TABLE))
    assert isinstance(logits, deferred_logits.DeferredLogits)
    assert logits.num_parts == 4
    return logits


def test_small_logits_are_an_array(monkeypatch):
    monkeypatch.setattr(deferred_logits, "_MOST_AT_ONCE", BATCH * LENGTH * CLASSES)
    logits = output_layer.logits(jnp.asarray(HIDDEN), jnp.asarray(TABLE))
    assert isinstance(logits, jax.Array)
    np.testing.assert_allclose(logits, LOGITS, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mask", [None, "examples", "tokens"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_that_of_the_array(mask, smoothing):
    masks = {
        None: None,
        "examples": np.array([1.0, 0.0, 2.0], np.float32),
        "tokens": RNG.integers(0, 3, (BATCH, LENGTH)).astype(np.float32),
    }
    arguments = LABELS, masks[mask], smoothing
    labels, weights, smoothing = arguments
    expected = cross_entropy(labels, LOGITS, weights, smoothing)
    found = cross_entropy(labels, deferred(), weights, smoothing)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-5, atol=1e-6)


def test_the_gradients_are_those_of_the_array():
    def objective(hidden, table, layer):
        loss = cross_entropy(LABELS, layer(hidden, table), None, 0.1)
        return (loss["per_example"] * jnp.arange(LENGTH, dtype=jnp.float32)).sum()

    def gradient(layer):
        return jax.grad(objective, (0, 1))(HIDDEN, TABLE, layer)

    expected = gradient(lambda hidden, table: hidden @ table.T)
    for a, b in zip(gradient(output_layer.logits), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_no_array_of_a_compiled_step_holds_all_logits():
    def objective(hidden, table):
        logits = output_layer.logits(hidden, table)
        return cross_entropy(LABELS, logits)["summed"]

    step = jax.jit(jax.value_and_grad(objective, (0, 1)))
    text = step.lower(HIDDEN, TABLE).as_text()
    assert f"{BATCH}x{LENGTH // 4}x{CLASSES}x" in text
    assert f"{BATCH}x{LENGTH}x{CLASSES}x" not in text


def test_a_masked_token_may_hold_nan():
    hidden = HIDDEN.copy()
    hidden[1, 3] = np.nan
    mask = np.ones((BATCH, LENGTH), np.float32)
    mask[1, 3] = 0

    def objective(hidden):
        logits = output_layer.logits(hidden, jnp.asarray(TABLE))
        return cross_entropy(LABELS, logits, mask)["summed"]

    value, gradient = jax.value_and_grad(objective)(jnp.asarray(hidden))
    assert np.isfinite(value)
    assert np.isfinite(np.delete(np.asarray(gradient), 1, axis=0)).all()


def test_labels_that_are_distributions_are_compared_with_the_array():
    labels = np.eye(CLASSES, dtype=np.float32)[LABELS]
    expected = cross_entropy(LABELS, LOGITS)["summed"]
    found = cross_entropy(labels, deferred())["summed"]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_they_behave_as_the_array_that_they_stand_for():
    logits = deferred()
    assert logits.shape == LOGITS.shape and logits.ndim == 3
    assert logits.dtype == np.float32
    for found, expected in [
        (np.asarray(logits), LOGITS),
        (jnp.exp(logits), np.exp(LOGITS)),
        (jax.nn.softmax(logits), jax.nn.softmax(LOGITS)),
        (logits[0, 1:], LOGITS[0, 1:]),
        (2 * logits - 1, 2 * LOGITS - 1),
        (logits.mean(axis=-1), LOGITS.mean(axis=-1)),
        (jax.jit(lambda x: x.argmax(-1))(logits), LOGITS.argmax(-1)),
        (jax.jit(lambda x: x)(logits), LOGITS),
    ]:
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(AttributeError):
        logits.no_such_method  # noqa: B018
