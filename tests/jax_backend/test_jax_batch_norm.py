"""Batch norm of JAX models against plain numpy."""

import numpy as np
import oracles_batch_norm as oracle
import pytest

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402

from algoperf.jax_backend.batch_norm import BatchNorm  # noqa: E402
from algoperf.spec import ParameterType as T  # noqa: E402
from tests.closeness import FLOAT32_SHORT, assert_close  # noqa: E402


def layer(virtual=None):
    return BatchNorm(
        momentum=oracle.MOMENTUM,
        epsilon=oracle.EPSILON,
        virtual_batch_size=virtual,
        scale_offset=oracle.OFFSET,
    )


def variables():
    scale, bias = oracle.scale_and_bias()
    zeros = jnp.zeros(oracle.FEATURES)
    return {
        "params": {"scale": scale, "bias": bias},
        "batch_stats": {"mean": zeros, "var": zeros + 1},
    }


@pytest.mark.parametrize(("batch_size", "virtual", "padded"), oracle.CASES)
def test_training_uses_statistics_of_virtual_batches(batch_size, virtual, padded):
    x, mask = oracle.example(batch_size, padded)
    y, state = layer(virtual).apply(
        variables(), x, train=True, mask=mask, mutable=["batch_stats"]
    )
    expected, mean, var = oracle.normalised(x, mask, virtual)
    assert_close(y, expected)
    assert_close(state["batch_stats"]["mean"], mean, tolerance=FLOAT32_SHORT)
    assert_close(state["batch_stats"]["var"], var, tolerance=FLOAT32_SHORT)


def test_evaluation_uses_running_statistics():
    x, _ = oracle.example(4, padded=False)
    scale, bias = oracle.scale_and_bias()
    y = layer().apply(variables(), x, train=False)
    expected = x / np.sqrt(1 + oracle.EPSILON) * (oracle.OFFSET + scale) + bias
    assert_close(y, expected, tolerance=FLOAT32_SHORT)


def test_values_under_the_mask_change_no_other_output():
    x, mask = oracle.example(8, padded=True)
    changed = np.where(mask[..., None] == 1, x, 100)
    outputs = [
        layer().apply(
            variables(), inputs, train=True, mask=mask, mutable=["batch_stats"]
        )[0][mask == 1]
        for inputs in (x, changed)
    ]
    np.testing.assert_array_equal(*outputs)


def test_parameters_are_typed_and_start_as_asked():
    made = BatchNorm(scale_init=jax.nn.initializers.zeros).init(
        jax.random.PRNGKey(0), jnp.ones((2, 3)), train=False
    )
    scale, bias = made["params"]["scale"], made["params"]["bias"]
    assert (scale.type, bias.type) == (T.BATCH_NORM_SCALE, T.BATCH_NORM_BIAS)
    assert not scale.value.any() and not bias.value.any()
