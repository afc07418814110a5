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

_GATES = ("i", "f", "g", "o")  # input, forget, cell, output: in this order everywhere
_LECUN_NORMAL = nn.initializers.lecun_normal()


def _orthogonal_gates(key: Any, shape: tuple[int, int]) -> jax.Array:
    """[hidden, 4 * hidden]: one orthogonal matrix for each gate."""
    hidden, _ = shape
    normal = jax.random.normal(key, (len(_GATES), hidden, hidden))
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

    found: jax.Array = jax.lax.fori_loop(0, len(columns), add, jnp.zeros_like(columns))
    return found


class _Gate(nn.Module):
    """The weights of one gate, not its product: that is one for all gates."""

    use_bias: bool

    @nn.compact
    def __call__(self, initial: jax.Array) -> tuple[jax.Array, ...]:
        """The kernel, and a bias if there is to be one; initial: of the kernel."""
        init = layers.typed(lambda key: initial, ParameterType.WEIGHT)
        kernel = self.param("kernel", init)
        if not self.use_bias:
            return (kernel,)
        zeros = layers.typed(nn.initializers.zeros_init(), ParameterType.BIAS)
        return kernel, self.param("bias", zeros, initial.shape[-1:], jnp.float32)


class _Direction(nn.Module):
    """The parameters of one direction, named as those of Flax's LSTM cells.

    `ii`, `if`, `ig`, `io` are the gates' kernels for the inputs; `hi`, `hf`, `hg`, `ho`
    those for the hidden state, with the biases.
    """

    hidden: int

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Gates' inputs [batch, frames, 4 * hidden] and the recurrent weights."""
        (kernel,) = self._gates("i", x.shape[-1], _LECUN_NORMAL)
        recurrent, bias = self._gates("h", self.hidden, _orthogonal_gates)
        dtype = layers.compute_dtype()
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=dtype)
        return x @ kernel + bias, recurrent.astype(dtype or recurrent.dtype)

    def _gates(self, side: str, inputs: int, init: Any) -> list[jax.Array]:
        """Kernels [inputs, 4 * hidden] and, of the state's side, biases [4 * hidden]."""
        shape = inputs, len(_GATES) * self.hidden
        # Drawn at once: eight draws for each layer would take 3 times as long to compile.
        drawn = jnp.zeros(shape)
        if self.is_initializing():
            drawn = init(self.make_rng("params"), shape)
        gates = [
            _Gate(use_bias=side == "h", name=f"{side}{gate}")(part)
            for gate, part in zip(_GATES, _split(drawn), strict=True)
        ]
        return [jnp.concatenate(part, axis=-1) for part in zip(*gates, strict=True)]


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
    zero = jnp.zeros((directions, batch, width // len(_GATES)), jnp.float32)
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
    return jnp.split(gates, len(_GATES), axis=-1)


def _product(axes: str, a: jax.Array, b: jax.Array) -> jax.Array:
    """In the compute type, added up in float32."""
    dtype = layers.compute_dtype() or jnp.float32
    return jnp.einsum(
        axes, a.astype(dtype), b.astype(dtype), preferred_element_type=jnp.float32
    )


def _shifted(x: jax.Array) -> jax.Array:
    """Each frame's predecessor; 0 for the first."""
    return jnp.concatenate([jnp.zeros_like(x[:1]), x[:-1]])
