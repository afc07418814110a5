"""A bidirectional LSTM over padded sequences in JAX: one scan for both directions.

Products with the inputs are done for all frames at once, before the scan; so is the
gradient of the recurrent weights, after it. The gradient is written by hand for that:
derived automatically, each frame would add to an array of the weights' size.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from algoperf.jax_backend import layers
from algoperf.spec import ParameterType

_GATES = 4  # input, forget, cell, output: in this order in all arrays


def _orthogonal_gates(key: Any, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    """[hidden, 4 * hidden]: one orthogonal matrix for each gate."""
    hidden, _ = shape
    normal = jax.random.normal(key, (_GATES, hidden, hidden), dtype)
    return jax.vmap(_orthogonal)(normal).transpose(1, 0, 2).reshape(shape)


def _orthogonal(columns: jax.Array) -> jax.Array:
    """Gram and Schmidt's orthogonal matrix of [n, n], uniform if that is normal.

    Not a QR decomposition: LAPACK's waits for ever where one CPU is eight devices.
    """

    def add(i: Any, found: jax.Array) -> jax.Array:
        column = columns[:, i]
        for _ in range(2):  # the second time removes the first one's rounding
            overlap = jnp.matmul(found.T, column, precision="highest")
            column -= jnp.matmul(found, overlap, precision="highest")
        return found.at[:, i].set(column / jnp.linalg.norm(column))

    return jax.lax.fori_loop(0, len(columns), add, jnp.zeros_like(columns))


class _Recurrent(nn.Module):
    """Just the weights of the recurrent product."""

    @nn.compact
    def __call__(self, hidden: int) -> jax.Array:
        init = layers.typed(_orthogonal_gates, ParameterType.WEIGHT)
        kernel = self.param("kernel", init, (hidden, _GATES * hidden), jnp.float32)
        return kernel.astype(layers.compute_dtype() or kernel.dtype)


class _Direction(nn.Module):
    """The parameters of one direction."""

    hidden: int

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Gates' inputs [batch, frames, 4 * hidden] and the recurrent weights."""
        gates = layers.Dense(_GATES * self.hidden, name="input")(x)
        return gates, _Recurrent(name="recurrent")(self.hidden)


class BidirectionalLstm(nn.Module):
    """[batch, frames, features] -> [batch, frames, 2 * hidden], 0 in padding."""

    hidden: int

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """mask: [batch, frames], 1 for valid frames, which come before the padding."""
        ahead, ahead_kernel = _Direction(self.hidden, name="forwards")(x)
        back, back_kernel = _Direction(self.hidden, name="backwards")(x)
        # States stay 0 in padding: going backwards, they start at the last valid frame.
        gates = jnp.stack([ahead, back[:, ::-1]]).astype(jnp.float32)
        masks = jnp.stack([mask, mask[:, ::-1]])[..., None]
        kernels = jnp.stack([ahead_kernel, back_kernel])
        time_first = (2, 0, 1, 3)  # from [direction, batch, frames, …]
        h = lstm(gates.transpose(time_first), kernels, masks.transpose(time_first))
        ahead, back = h.transpose(1, 2, 0, 3)
        return jnp.concatenate([ahead, back[:, ::-1]], axis=-1).astype(x.dtype)


@jax.custom_vjp
def lstm(gates: jax.Array, kernels: jax.Array, mask: jax.Array) -> jax.Array:
    """Hidden states [frames, direction, batch, hidden], from states of 0.

    gates: float32 [frames, direction, batch, 4 * hidden], without the recurrent part;
    kernels: [direction, hidden, 4 * hidden]; mask: [frames, direction, batch, 1], where
    0 the states become 0. The mask has no gradient.
    """
    return _run(gates, kernels, mask)[0]


def _run(
    gates: jax.Array, kernels: jax.Array, mask: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Hidden states, cell states and activated gates of all frames."""

    def step(state: Any, frame: Any) -> Any:
        h, c = state
        inputs, kept = frame
        i, f, g, o = _split(inputs + _product("dbh,dhg->dbg", h, kernels))
        i, f, g, o = nn.sigmoid(i), nn.sigmoid(f), jnp.tanh(g), nn.sigmoid(o)
        c = kept * (f * c + i * g)
        h = kept * o * jnp.tanh(c)
        return (h, c), (h, c, jnp.concatenate([i, f, g, o], axis=-1))

    _, directions, batch, width = gates.shape
    zero = jnp.zeros((directions, batch, width // _GATES), jnp.float32)
    results: tuple[jax.Array, jax.Array, jax.Array]
    _, results = jax.lax.scan(step, (zero, zero), (gates, mask))
    return results


def _forward(gates: jax.Array, kernels: jax.Array, mask: jax.Array) -> Any:
    h, c, activated = _run(gates, kernels, mask)
    return h, (h, c, activated, kernels, mask)


def _backward(residuals: Any, gradient: jax.Array) -> Any:
    """Gradients of `lstm`'s arguments, from that of the hidden states."""
    h, c, activated, kernels, mask = residuals
    transposed = kernels.transpose(0, 2, 1)  # once, not in each step

    def step(state: Any, frame: Any) -> Any:
        dh, dc = state
        outer, cell, last_cell, gates, kept = frame
        i, f, g, o = _split(gates)
        dh = kept * (dh + outer)
        tanh = jnp.tanh(cell)
        dc = kept * (dc + dh * o * (1 - tanh**2))
        parts = (
            dc * g * i * (1 - i),
            dc * last_cell * f * (1 - f),
            dc * i * (1 - g**2),
            dh * tanh * o * (1 - o),
        )
        dgates = jnp.concatenate(parts, axis=-1)
        dh = _product("dbg,dgh->dbh", dgates, transposed)
        return (dh, dc * f), dgates

    zero = jnp.zeros_like(c[0])
    frames = gradient, c, _shifted(c), activated, mask
    _, dgates = jax.lax.scan(step, (zero, zero), frames, reverse=True)
    before = _shifted(h).astype(kernels.dtype)
    dkernels = _product("tdbh,tdbg->dhg", before, dgates)
    return dgates, dkernels.astype(kernels.dtype), jnp.zeros_like(mask)


lstm.defvjp(_forward, _backward)


def _split(gates: jax.Array) -> list[jax.Array]:
    return jnp.split(gates, _GATES, axis=-1)


def _product(axes: str, a: jax.Array, b: jax.Array) -> jax.Array:
    """In the compute type, added up in float32."""
    dtype = layers.compute_dtype() or jnp.float32
    return jnp.einsum(
        axes, a.astype(dtype), b.astype(dtype), preferred_element_type=jnp.float32
    )


def _shifted(x: jax.Array) -> jax.Array:
    """Each frame's predecessor; 0 for the first."""
    return jnp.concatenate([jnp.zeros_like(x[:1]), x[:-1]])
