"""The recurrent network over characters in JAX; `characters_pytorch.py` defines the same."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from algoperf.forward_context import ForwardContext
from algoperf.jax_backend import layers
from algoperf.spec import ParameterType

from .architectures import GLOROT_UNIFORM, CharactersConfig
from .carry import initial_carry
from .kernels_jax import initializer

__all__ = ["build", "example_batch", "forward", "init_variables", "initial_carry"]

_INIT = initializer(GLOROT_UNIFORM)


class Lstm(nn.Module):
    """One layer; the gates are input, forget (with 1 added), candidate and output."""

    features: int

    @nn.compact
    def __call__(
        self, x: jax.Array, hidden: jax.Array, cell: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """x: [batch, characters, in]; hidden, cell: [batch, features], as they were.

        Returns [batch, characters, features], and hidden and cell as they are then.
        """
        shape = (x.shape[-1] + self.features, 4 * self.features)
        kernel = self.param("kernel", layers.typed(_INIT, ParameterType.WEIGHT), shape)
        zeros = layers.typed(nn.initializers.zeros_init(), ParameterType.BIAS)
        bias = self.param("bias", zeros, (4 * self.features,))
        of_inputs, of_hidden = kernel[: x.shape[-1]], kernel[x.shape[-1] :]
        projected = x @ of_inputs + bias

        def step(state: Any, inputs: jax.Array) -> Any:
            hidden, cell = state
            gates = jnp.split(inputs + hidden @ of_hidden, 4, axis=-1)
            i, f, g, o = gates
            cell = nn.sigmoid(f + 1) * cell + nn.sigmoid(i) * jnp.tanh(g)
            hidden = nn.sigmoid(o) * jnp.tanh(cell)
            return (hidden, cell), hidden

        (hidden, cell), outputs = jax.lax.scan(
            step, (hidden, cell), projected.swapaxes(0, 1)
        )
        return outputs.swapaxes(0, 1), hidden, cell


class Characters(nn.Module):
    """Characters -> logits of the next ones."""

    config: CharactersConfig

    @nn.compact
    def __call__(
        self,
        inputs: jax.Array,
        carry: dict[str, jax.Array],
        *,
        train: bool,
        dropout_rate: Any,
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """inputs: int [batch, characters]; carry: `hidden` and `cell`, [batch, layers, dim]."""

        def drop(x: jax.Array) -> jax.Array:
            return layers.Dropout()(x, dropout_rate, train=train)

        config, states = self.config, []
        x = layers.Embed(
            config.vocab_size, config.hidden_dim, embedding_init=_INIT, name="embedding"
        )(inputs)
        for index in range(config.num_layers):
            hidden, cell = (
                carry[name][:, index].astype(x.dtype) for name in ("hidden", "cell")
            )
            lstm = Lstm(config.hidden_dim, name=f"lstm_{index}")
            x, *state = lstm(drop(x), hidden, cell)
            x = drop(x)
            states.append(state)
        output = layers.Dense(
            config.vocab_size,
            kernel_init=_INIT,
            bias_init=_bias,
            is_output=True,
            name="output",
        )
        hidden, cell = (jnp.stack(parts, axis=1) for parts in zip(*states, strict=True))
        return output(x), {"hidden": hidden, "cell": cell}


def _bias(key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """Glorot uniform, where both fans of a vector are its length."""
    bound = float(np.sqrt(6 / (2 * shape[0])))
    return jax.random.uniform(key, shape, dtype, -bound, bound)


def build(config: CharactersConfig) -> nn.Module:
    """The module."""
    return Characters(config)


def example_batch(config: CharactersConfig) -> dict[str, np.ndarray]:
    """A batch of one."""
    text = np.zeros((1, config.sequence_length), np.int32)
    return {"inputs": text, "targets": text, "starts": np.ones(1, np.float32)}


def init_variables(module: nn.Module, rngs: Any, batch: Any) -> Any:
    """Variables of the module."""
    carry = _started(initial_carry(module.config), batch)
    return module.init(rngs, batch["inputs"], carry, train=False, dropout_rate=0.0)


def forward(
    module: nn.Module, variables: Any, batch: Any, context: ForwardContext
) -> tuple[Any, Any]:
    """Goes on where the batch before ended, except where a text starts."""
    rngs = {} if context.rng is None else {"dropout": context.rng}
    logits, carry = module.apply(
        variables,
        batch["inputs"],
        _started(context.carry, batch),
        train=context.train,
        dropout_rate=context.dropout_rate,
        rngs=rngs,
    )
    return logits, {"carry": carry}


def _started(carry: Any, batch: Any) -> dict[str, jax.Array]:
    """The carry of this batch: zeros in rows where a text starts, or that are new."""
    starts = jnp.asarray(batch["starts"])[:, None, None]

    def of(before: Any) -> jax.Array:
        shape = (len(batch["inputs"]), *before.shape[1:])
        before = before if before.shape == shape else jnp.zeros(shape, before.dtype)
        return jnp.where(starts > 0, jnp.zeros((), before.dtype), before)

    return {name: of(before) for name, before in carry.items()}
