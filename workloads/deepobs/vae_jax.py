"""The variational autoencoder in JAX; `vae_pytorch.py` defines the same function."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from algoperf.forward_context import ForwardContext
from algoperf.jax_backend import layers
from algoperf.spec import ParameterType

from .architectures import GLOROT_UNIFORM, VaeConfig
from .kernels_jax import initializer

_INIT = initializer(GLOROT_UNIFORM)
_SLOPE = 0.3  # of the leaky ReLU


class Autoencoder(nn.Module):
    """Images to a latent point, and back."""

    config: VaeConfig

    @nn.compact
    def __call__(
        self, inputs: jax.Array, noise: jax.Array, *, train: bool, dropout_rate: Any
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """inputs: [batch, 28, 28, 1], 0 to 1; noise: [batch, latent], standard normal.

        Returns the reconstruction [batch, 784], mean and log deviation [batch, latent].
        """

        def drop(x: jax.Array) -> jax.Array:
            return layers.Dropout()(x, dropout_rate, train=train)

        x = inputs
        for index, stride in enumerate((2, 2, 1)):
            conv = layers.Conv(
                64,
                (4, 4),
                strides=(stride, stride),
                kernel_init=_INIT,
                name=f"encoder_{index}",
            )
            x = drop(_leaky(conv(x)))
        x = x.reshape(len(x), -1)  # [batch, 7 * 7 * 64]
        mean = _dense(self.config.latent_dim, "mean")(x)
        log_stddev = 0.5 * _dense(self.config.latent_dim, "log_variance")(x)
        z = mean + noise * jnp.exp(log_stddev)
        z = _leaky(_dense(24, "decoder_in_0")(z))
        z = _leaky(_dense(49, "decoder_in_1")(z)).reshape(-1, 7, 7, 1)
        for index, stride in enumerate((2, 1, 1)):
            z = nn.relu(_transposed(64, stride, f"decoder_{index}")(z))
            z = drop(z) if index < 2 else z
        output = _dense(784, "output", is_output=True)
        return nn.sigmoid(output(z.reshape(len(z), -1))), mean, log_stddev


def _leaky(x: jax.Array) -> jax.Array:
    return nn.leaky_relu(x, _SLOPE)


def _dense(features: int, name: str, *, is_output: bool = False) -> nn.Dense:
    return layers.Dense(features, kernel_init=_INIT, is_output=is_output, name=name)


def _transposed(features: int, stride: int, name: str) -> nn.ConvTranspose:
    """The transpose of a convolution with padding "SAME": `stride` times the side."""
    return nn.ConvTranspose(
        features,
        (4, 4),
        strides=(stride, stride),
        padding="SAME",
        transpose_kernel=True,
        dtype=layers.compute_dtype(),
        kernel_init=layers.typed(_INIT, ParameterType.CONV_WEIGHT),
        bias_init=layers.typed(nn.initializers.zeros_init(), ParameterType.BIAS),
        name=name,
    )


def build(config: VaeConfig) -> nn.Module:
    """The module."""
    return Autoencoder(config)


def example_batch(config: VaeConfig) -> dict[str, np.ndarray]:
    """A batch of one."""
    images = np.zeros((1, 28, 28, 1), np.float32)
    noise = np.zeros((1, config.latent_dim), np.float32)
    return {"inputs": images, "targets": images, "noise": noise}


def init_variables(module: nn.Module, rngs: Any, batch: Any) -> Any:
    """Variables of the module."""
    return module.init(
        rngs, batch["inputs"], batch["noise"], train=False, dropout_rate=0.0
    )


def forward(
    module: nn.Module, variables: Any, batch: Any, context: ForwardContext
) -> tuple[Any, Any]:
    """See `Autoencoder`; there is no state."""
    rngs = {} if context.rng is None else {"dropout": context.rng}
    result = module.apply(
        variables,
        batch["inputs"],
        batch["noise"],
        train=context.train,
        dropout_rate=context.dropout_rate,
        rngs=rngs,
    )
    return result, {}
