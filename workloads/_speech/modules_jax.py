"""Modules that both speech models are made of, in Flax, and how they are called.

`modules_pytorch.py` defines the same functions.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from algoperf.forward_context import ForwardContext
from algoperf.jax_backend import layers
from algoperf.jax_backend.batch_norm import BatchNorm
from algoperf.spec import Batch, ParameterType

from . import front_end, mel, spec_augment, subsampling
from .definition import SpeechConfig

Activation = Callable[[jax.Array], jax.Array]
XAVIER = nn.initializers.xavier_uniform()
_ZEROS = nn.initializers.zeros_init()
_EXAMPLE_SAMPLES = 4_000


class LayerNorm(nn.Module):
    """Normalises the last axis, then * (1 + scale) + bias, both 0 at first."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x: [..., features]."""
        shape = (x.shape[-1],)
        scale = self.param(
            "scale", layers.typed(_ZEROS, ParameterType.LAYER_NORM_SCALE), shape
        )
        bias = self.param(
            "bias", layers.typed(_ZEROS, ParameterType.LAYER_NORM_BIAS), shape
        )
        x = layers.LayerNorm(use_scale=False, use_bias=False)(x)
        x = x * (1 + scale).astype(x.dtype) + bias.astype(x.dtype)
        return x


class MaskedBatchNorm(nn.Module):
    """Batch norm over the valid frames of the global batch; scale and bias 0 at first."""

    momentum: float
    train: bool

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """x: [batch, frames, features]; mask: [batch, frames]; result 0 in padding."""
        norm = BatchNorm(
            momentum=self.momentum,
            epsilon=1e-3,
            scale_init=_ZEROS,
            scale_offset=1.0,
            name="statistics",
        )
        return masked(norm(x, train=self.train, mask=mask), mask)


def masked(x: jax.Array, mask: jax.Array) -> jax.Array:
    """x [batch, frames, …], 0 where mask [batch, frames] is."""
    mask = mask.reshape(*mask.shape, *(1,) * (x.ndim - 2))
    return x * mask.astype(x.dtype)


class FrontEnd(nn.Module):
    """Audio -> features -> SpecAugment in training -> frames at a quarter of the rate."""

    config: SpeechConfig
    activation: Activation
    train: bool

    @nn.compact
    def __call__(
        self, inputs: tuple[jax.Array, jax.Array], key: Any
    ) -> tuple[jax.Array, jax.Array]:
        """Frames [batch, frames, width] and their paddings [batch, frames].

        inputs: see `front_end.log_mel`; key: of SpecAugment, uint32 [2].
        """
        tables = mel.FrontEndTables(*(jnp.asarray(table) for table in mel.tables()))
        with jax.default_matmul_precision("highest"):
            x, paddings = front_end.log_mel(jnp, tables, *inputs)
        if self.train:
            x = self._augmented(x, paddings, key)
        x = x[..., None]  # [batch, frames, mel bins, channels]
        for i in range(2):
            x = self._convolved(x, i)
            paddings = paddings[:, :: subsampling.STRIDE]
            x = masked(x, 1 - paddings)
        x = x.reshape(*x.shape[:2], -1)
        return layers.Dense(self.config.embed_dim, kernel_init=XAVIER, name="dense")(
            x
        ), paddings

    def _augmented(self, x: jax.Array, paddings: jax.Array, key: Any) -> jax.Array:
        config = self.config.spec_augment
        numbers = spec_augment.uniforms(jnp, key, x.shape[0], config.num_masks)
        positions = jnp.arange(max(x.shape[1:]), dtype=jnp.float32)
        x = spec_augment.augment(jnp, config, x, paddings, numbers, positions)
        return x

    def _convolved(self, x: jax.Array, index: int) -> jax.Array:
        _, frames, bins, _ = x.shape
        convolution = StridedConvolution(
            self.config.num_subsampling_channels,
            subsampling.padding(frames, subsampling.TIME_BEFORE[index]),
            subsampling.padding(bins, subsampling.MEL_BEFORE[index]),
            name=f"conv_{index}",
        )
        return self.activation(convolution(x))


class StridedConvolution(nn.Module):
    """3 x 3 windows, every second one in both directions."""

    channels: int
    rows: tuple[int, int]  # zeros before and after
    columns: tuple[int, int]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x: [batch, height, width, in] -> [batch, height / 2, width / 2, channels]."""
        window = (subsampling.KERNEL, subsampling.KERNEL)
        kernel = self.param(
            "kernel",
            layers.typed(XAVIER, ParameterType.CONV_WEIGHT),
            (*window, x.shape[-1], self.channels),
        )
        bias = self.param(
            "bias", layers.typed(_ZEROS, ParameterType.BIAS), (self.channels,)
        )
        dtype = layers.compute_dtype() or x.dtype
        x = jnp.pad(x.astype(dtype), ((0, 0), self.rows, self.columns, (0, 0)))
        # On a CPU XLA's own takes twice as long for many channels.
        by_products = x.shape[-1] >= 128 and jax.default_backend() == "cpu"
        convolve = _convolve_by_products if by_products else _convolve
        x = convolve(x, kernel.astype(dtype)) + bias.astype(dtype)
        return x


def _convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x: [batch, height, width, in], padded; kernel: [3, 3, in, out]."""
    strides = (subsampling.STRIDE, subsampling.STRIDE)
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        x, kernel, strides, "VALID", dimension_numbers=layout
    )


def _convolve_by_products(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """As `_convolve`: a matrix product for each place in the window."""
    size, step = subsampling.KERNEL, subsampling.STRIDE
    height, width = ((n - size) // step + 1 for n in x.shape[1:3])
    products = [
        x[:, i : i + height * step : step, j : j + width * step : step] @ kernel[i, j]
        for i in range(size)
        for j in range(size)
    ]
    return functools.reduce(jnp.add, products)


class SpeechModel(nn.Module):
    """Front end, `encoded` of a subclass, logits."""

    config: Any  # of the subclass: a `SpeechConfig`

    def encoded(
        self, x: jax.Array, mask: jax.Array, rate: Any, train: bool
    ) -> jax.Array:
        """x: [batch, frames, width]; mask: [batch, frames]; rate: dropout's."""
        raise NotImplementedError

    @property
    def subsampling_activation(self) -> Activation:
        """Behind each of the front end's convolutions."""
        return nn.relu

    @nn.compact
    def __call__(
        self,
        inputs: tuple[jax.Array, jax.Array],
        *,
        train: bool,
        dropout_rate: Any,
        key: Any = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Logits [batch, frames, vocabulary] and their paddings [batch, frames].

        inputs, key: as of `FrontEnd`.
        """
        features = FrontEnd(
            self.config, self.subsampling_activation, train, name="front_end"
        )
        x, paddings = features(inputs, key)
        x = self.encoded(x, 1 - paddings, dropout_rate, train)
        output = layers.Dense(
            self.config.vocab_size, kernel_init=XAVIER, is_output=True, name="output"
        )
        return output(x), paddings


def example_batch(config: Any) -> dict[str, Any]:
    """A quarter of a second of silence, as from `data.open_batches`."""
    signal = np.zeros((1, _EXAMPLE_SAMPLES), np.float32)
    tokens = np.zeros((1, 4), np.int32)
    return {
        "inputs": (signal, np.zeros_like(signal)),
        "targets": (tokens, np.zeros(tokens.shape, np.float32)),
        "weights": np.ones(1, np.float32),
    }


def forward(
    module: nn.Module,
    variables: Mapping[str, Any],
    batch: Batch,
    context: ForwardContext,
) -> tuple[Any, Any]:
    """Logits ([batch, frames, vocabulary], paddings) and the new batch statistics.

    The default call, but for SpecAugment, which gets the step's key itself: so that it
    draws the same numbers as in PyTorch.
    """
    state = {name: value for name, value in variables.items() if name != "params"}
    train, rng = context.train, context.rng
    result = module.apply(
        variables,
        batch["inputs"],
        train=train,
        dropout_rate=context.dropout_rate,
        key=_words(rng) if train else None,
        rngs={"dropout": rng} if train else {},
        mutable=list(state) if train and state else False,
    )
    return result if train and state else (result, state)


def _words(rng: Any) -> jax.Array:
    """uint32 [2] of a raw or a typed key."""
    is_typed = jnp.issubdtype(rng.dtype, jax.dtypes.prng_key)
    words: jax.Array = jax.random.key_data(rng) if is_typed else rng
    return words
