"""Typed layers and dropout."""

import numpy as np
import pytest

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402
from flax import linen as nn  # noqa: E402

from algoperf.jax_backend import layers  # noqa: E402
from algoperf.spec import ParameterType as T  # noqa: E402
from tests.closeness import FLOAT32_SHORT, assert_close  # noqa: E402

KEY = jax.random.PRNGKey(0)


class AllLayers(nn.Module):
    """One of each layer, named by Flax."""

    @nn.compact
    def __call__(self, ids):
        x = layers.Embed(5, 4)(ids)
        x = layers.Conv(6, (3,))(x)
        x = layers.LayerNorm()(x)
        return layers.Dense(2, is_output=True)(x)


def test_layers_keep_flax_names_and_carry_types():
    boxed = AllLayers().init(KEY, jnp.zeros((1, 3), int))["params"]
    types = jax.tree.map(
        lambda box: (box.type, box.is_output),
        boxed,
        is_leaf=lambda x: isinstance(x, layers.Typed),
    )
    assert types == {
        "Embed_0": {"embedding": (T.EMBEDDING, False)},
        "Conv_0": {"kernel": (T.CONV_WEIGHT, False), "bias": (T.BIAS, False)},
        "LayerNorm_0": {
            "scale": (T.LAYER_NORM_SCALE, False),
            "bias": (T.LAYER_NORM_BIAS, False),
        },
        "Dense_0": {"kernel": (T.WEIGHT, True), "bias": (T.BIAS, True)},
    }


def test_kernels_start_lecun_normal_truncated_at_two_deviations_and_biases_zero():
    params = layers.Dense(400).init(KEY, jnp.zeros((1, 300)))["params"]
    kernel = np.asarray(params["kernel"].unbox())
    deviation = np.sqrt(1 / 300)
    assert kernel.std() == pytest.approx(deviation, rel=0.02)
    assert np.abs(kernel).max() <= 2 * deviation / 0.87962566 + 1e-6
    assert not params["bias"].unbox().any()


@pytest.mark.parametrize("strides", [1, 2, (2, 3)])
def test_a_convolution_with_one_point_is_a_convolution(strides):
    layer = layers.Conv(4, (1, 1), strides=strides)
    plain = nn.Conv(4, (1, 1), strides=strides)
    x = jax.random.normal(KEY, (2, 5, 7, 3))
    params = nn.meta.unbox(layer.init(KEY, x))

    def results(module):
        def total(params, x):
            y = module.apply(params, x)
            return (y * jnp.cos(jnp.arange(y.size)).reshape(y.shape)).sum(), y

        return jax.grad(total, argnums=(0, 1), has_aux=True)(params, x)

    jax.tree.map(
        lambda a, b: assert_close(a, b, tolerance=FLOAT32_SHORT),
        results(layer),
        results(plain),
    )


def test_layer_norm_is_stable_for_a_large_mean():
    x = 1e4 + jnp.arange(8.0)[None]
    module = layers.LayerNorm()
    y = module.apply(module.init(KEY, x), x)
    exact = np.arange(8.0) - 3.5
    assert_close(y[0], exact / exact.std(), tolerance=1e-3)


def test_layers_compute_in_the_dtype_of_their_context_and_keep_float32_parameters():
    with layers.computing_in(jnp.bfloat16):
        module = layers.Dense(3)
        variables = module.init(KEY, jnp.zeros((1, 2)))
        y = module.apply(variables, jnp.zeros((1, 2)))
    assert y.dtype == jnp.bfloat16
    assert variables["params"]["kernel"].unbox().dtype == jnp.float32
    assert layers.compute_dtype() is None


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_expected_activation(rate):
    x = jnp.ones((400, 400))
    y = np.asarray(layers.dropout(x, rate, KEY))
    assert (y == 0).mean() == pytest.approx(rate, abs=0.01)
    assert y.mean() == pytest.approx(1, abs=0.03)


def test_a_traced_dropout_rate_changes_without_a_recompile():
    num_traces = 0

    @jax.jit
    def dropped(x, rate):
        nonlocal num_traces
        num_traces += 1
        return layers.dropout(x, rate, KEY)

    x = jax.random.normal(KEY, (100, 100))
    shares = [float((dropped(x, rate) == 0).mean()) for rate in (0.2, 0.6, 1.0)]
    assert shares == pytest.approx([0.2, 0.6, 1.0], abs=0.03)
    np.testing.assert_array_equal(dropped(x, 0.0), x)
    assert num_traces == 1


def test_the_gradient_of_dropout_is_finite_at_every_rate():
    gradient = jax.jit(jax.grad(lambda x, r: layers.dropout(x, r, KEY).sum()))
    for rate in (0.0, 0.5, 1.0):
        assert np.isfinite(gradient(jnp.ones(50), rate)).all()


def test_dropout_can_drop_whole_channels():
    y = layers.dropout(jnp.ones((2, 4, 4, 50)), 0.5, KEY, broadcast_dims=(1, 2))
    per_channel = np.asarray(y).reshape(2, 16, 50)
    assert (per_channel == per_channel[:, :1]).all()
    assert 0 < (per_channel[:, 0] == 0).mean() < 1


def test_dropout_is_the_identity_when_deterministic():
    x = jnp.arange(4.0)
    assert layers.dropout(x, 0.5, None, deterministic=True) is x
    assert layers.dropout(x, 0.0, None) is x


def test_the_dropout_module_needs_a_key_only_when_it_drops():
    x = jnp.ones(100)
    module = layers.Dropout()
    assert module.apply({}, x, 0.5, train=False) is x
    assert module.apply({}, x, 0.0, train=True) is x
    dropped = module.apply({}, x, 0.5, train=True, rngs={"dropout": KEY})
    assert (dropped == 0).any()


def plain_gram(x):
    return jnp.einsum("bid,bjd->bij", x, x)


def curvature_along(function):
    """A gradient's derivative along a direction, forwards over backwards."""

    def result(x):
        gradient = jax.grad(lambda x: jnp.sum(jnp.sin(function(x))))
        return jax.jvp(gradient, (x,), (jnp.cos(x),))

    return result


@pytest.mark.parametrize(
    "of",
    [
        lambda function: function,
        lambda function: jax.grad(lambda x: jnp.sum(jnp.sin(function(x)))),
        curvature_along,
        lambda function: lambda x: jax.vmap(function)(x[:, None]),
    ],
    ids=["value", "gradient", "curvature", "by example"],
)
@pytest.mark.parametrize("is_alone", [True, False])
def test_a_gram_matrix_is_the_product_in_all_derivatives(monkeypatch, of, is_alone):
    monkeypatch.setattr(jax, "device_count", lambda: 1 if is_alone else 8)
    x = jax.random.normal(KEY, (3, 4, 5))
    got, expected = jax.jit(of(layers.gram))(x), jax.jit(of(plain_gram))(x)
    jax.tree.map(lambda a, b: assert_close(a, b, FLOAT32_SHORT), got, expected)
