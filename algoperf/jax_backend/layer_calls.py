"""What a Flax model's layers are applied to, and the derivatives by what they return.

The gradients of single examples consist of these; see `algoperf.layer_sums`. To each layer's
output a 0 is added, by which the loss can be differentiated.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from algoperf import parameter_loss
from algoperf.layer_sums import Layer, Traced
from algoperf.parameter_loss import WithParameterLoss
from algoperf.probe import Vector

_KERNEL, _BIAS, _SCALE = "kernel", "bias", "scale"


@dataclass(frozen=True)
class Seen:
    """One layer of a model, as it was called."""

    module: Any
    path: str
    output: Any  # its shape and dtype

    def name(self, part: str) -> str:
        """Of a parameter, as the probe names it."""
        return f"{self.path}/{part}"


class Calls:
    """An interceptor of Flax methods that records the inputs of layers, once each."""

    def __init__(self, zeros: Mapping[str, Any] | None = None) -> None:
        """zeros: what is added to the outputs, by path of the layer; nothing if None."""
        self._zeros = zeros
        self.seen: dict[str, Seen] = {}
        self.inputs: dict[str, Any] = {}

    def __call__(
        self, function: Callable[..., Any], args: Any, kwargs: Any, context: Any
    ) -> Any:
        """Calls the method; see `flax.linen.intercept_methods`."""
        output = function(*args, **kwargs)
        module = context.module
        if context.method_name != "__call__" or not _is_known(module):
            return output
        path = "/".join(module.path)
        if path in self.seen:
            raise NotImplementedError(f"{path} is used more than once")
        shape = jax.ShapeDtypeStruct(output.shape, output.dtype)
        self.seen[path] = Seen(module, path, shape)
        self.inputs[path] = args[0]
        return output if self._zeros is None else output + self._zeros[path]


class Tracer:
    """Runs a model forward and backward once, layer by layer; see `ProbeBase.trace`."""

    def __init__(self, outputs: Callable[..., Any], summed: Callable[..., Any]) -> None:
        """outputs(values, state, batch, key), summed(outputs, batch): see `Objective`."""
        self._outputs, self._summed = outputs, summed
        self._seen: dict[str, Seen] | None = None  # None: not yet looked for
        self._traced = jax.jit(self._trace, static_argnames="with_gradient")

    def __call__(
        self,
        values: Any,
        state: Any,
        batch: Any,
        key: Any,
        *,
        names: Sequence[str],
        with_gradient: bool,
    ) -> Traced | None:
        """None where layers do not have all parameters; names: of all."""
        if self._seen is None:
            calls = Calls()
            of_calls = partial(self._recorded, calls)
            jax.eval_shape(of_calls, values, state, batch, key)
            self._seen = calls.seen
        num_rows = int(jax.tree.leaves(batch)[0].shape[0])
        if not are_all(self._seen, names, num_rows):
            return None
        found = self._traced(values, state, batch, key, with_gradient=with_gradient)
        layers, others = layers_of(self._seen, found["inputs"], found["slopes"], values)
        return Traced(
            np.asarray(found["summed"]),
            float(found["valid"]),
            layers,
            others,
            found["common"],
            np.asarray(found["shares"]),
            found["gradient"],
        )

    def _recorded(self, calls: Calls, values: Any, *rest: Any) -> Any:
        with nn.intercept_methods(calls):
            outputs = self._outputs(values, *rest)
        return parameter_loss.split(outputs)

    def _trace(
        self, values: Any, state: Any, batch: Any, key: Any, *, with_gradient: bool
    ) -> dict[str, Any]:
        def total(chosen: Any) -> Any:
            calls = Calls(chosen["zeros"])
            used = chosen.get("values", values)
            logits, term = self._recorded(calls, used, state, batch, key)
            outputs = logits if term is None else WithParameterLoss(logits, term)
            summed, valid = self._summed(outputs, batch)
            shares = None if term is None else self._shares(logits, batch)
            return summed.sum(), (summed, valid, calls.inputs, shares)

        zeros = {
            path: jnp.zeros(call.output.shape, call.output.dtype)
            for path, call in (self._seen or {}).items()
        }
        chosen = {"zeros": zeros} | ({"values": values} if with_gradient else {})
        grads, (summed, valid, inputs, shares) = jax.grad(total, has_aux=True)(chosen)
        common = (
            {} if shares is None else jax.grad(self._term)(values, state, batch, key)
        )
        return {
            "summed": summed,
            "valid": valid,
            "inputs": inputs,
            "slopes": grads["zeros"],
            "gradient": grads.get("values"),
            "common": common,
            "shares": jnp.zeros_like(summed) if shares is None else shares,
        }

    def _shares(self, logits: Any, batch: Any) -> Any:
        """How often each row's loss has the term of the parameters."""
        once, never = (
            self._summed(WithParameterLoss(logits, x), batch)[0] for x in (1.0, 0.0)
        )
        return once - never

    def _term(self, values: Any, *rest: Any) -> Any:
        return parameter_loss.split(self._outputs(values, *rest))[1]


def _is_known(module: Any) -> bool:
    return isinstance(module, nn.Dense | nn.Conv | nn.DenseGeneral | nn.LayerNorm)


def are_all(seen: Mapping[str, Seen], names: Sequence[str], num_rows: int) -> bool:
    """Whether these layers have all parameters, and rows of the batch as first axis."""
    found = {call.name(part) for call in seen.values() for part in _parts(call.module)}
    return set(names) <= found and all(
        call.output.shape[0] == num_rows and _is_plain(call.module)
        for call in seen.values()
    )


def _parts(module: Any) -> list[str]:
    return [_SCALE, _BIAS] if isinstance(module, nn.LayerNorm) else [_KERNEL, _BIAS]


def _is_plain(module: Any) -> bool:
    if isinstance(module, nn.Conv):
        dilations = (module.kernel_dilation or 1, module.input_dilation or 1)
        is_dense = module.feature_group_count == 1 and dilations == (1, 1)
        return bool(
            is_dense and isinstance(module.padding, str) and module.mask is None
        )
    if isinstance(module, nn.LayerNorm):
        return module.reduction_axes == module.feature_axes == -1
    if isinstance(module, nn.DenseGeneral):
        axes = _axes(module)
        return not module.batch_dims and axes == tuple(range(-len(axes), 0))
    return True


def _axes(module: Any) -> tuple[int, ...]:
    axis = module.axis
    return (axis,) if isinstance(axis, int) else tuple(axis)


def layers_of(
    seen: Mapping[str, Seen],
    inputs: Mapping[str, Any],
    slopes: Mapping[str, Any],
    parameters: Vector,
) -> tuple[list[Layer], dict[str, Any]]:
    """The matrices; and the gradients of other parameters, by name, [rows, *shape]."""
    layers: list[Layer] = []
    others: dict[str, Any] = {}
    for path, call in seen.items():
        if isinstance(call.module, nn.LayerNorm):
            epsilon = call.module.epsilon
            scales, biases = _of_norm(inputs[path], slopes[path], epsilon)
            others[call.name(_SCALE)], others[call.name(_BIAS)] = scales, biases
            continue
        kernel = parameters[call.name(_KERNEL)]
        rows, biases = _positions(
            slopes[path], parameters.get(call.name(_BIAS)), _outputs(call, kernel)
        )
        others[call.name(_BIAS)] = biases
        layers.append(_layer(call, kernel.shape, inputs[path], rows))
    return layers, {name: x for name, x in others.items() if name in parameters}


def _outputs(call: Seen, kernel: Any) -> int:
    if isinstance(call.module, nn.DenseGeneral):
        return math.prod(kernel.shape[len(_axes(call.module)) :])
    return int(kernel.shape[-1])


def _layer(call: Seen, shape: tuple[int, ...], inputs: Any, rows: Any) -> Layer:
    num_outputs = rows.shape[-1]
    num_features = math.prod(shape) // num_outputs
    of_rows: Callable[..., Any] = _matrices
    if isinstance(call.module, nn.Conv):
        window, strides = shape[:-2], _strides(call.module, len(shape) - 2)
        padding = call.module.padding
        of_rows = partial(_patches, window=window, strides=strides, padding=padding)

    def some(first: int, last: int) -> Any:
        return of_rows(inputs, first, last, num_features)

    return Layer(
        call.name(_KERNEL),
        rows,
        some,
        num_features,
        to_matrix=lambda x: x.reshape(num_features, num_outputs).T,
        from_matrix=lambda x: x.T.reshape(shape),
        to_columns=lambda x: x.reshape(num_features, num_outputs),
    )


def _strides(module: Any, num_axes: int) -> tuple[int, ...]:
    strides = module.strides or 1
    return (strides,) * num_axes if isinstance(strides, int) else tuple(strides)


@partial(jax.jit, static_argnums=(1, 2, 3))
def _matrices(inputs: Any, first: int, last: int, num_features: int) -> Any:
    chosen = inputs[first:last].astype(jnp.float32)
    return chosen.reshape(last - first, -1, num_features)


@partial(
    jax.jit, static_argnums=(1, 2, 3), static_argnames=("window", "strides", "padding")
)
def _patches(
    inputs: Any,
    first: int,
    last: int,
    num_features: int,
    *,
    window: tuple[int, ...],
    strides: tuple[int, ...],
    padding: str,
) -> Any:
    """What each position of a convolution sees: [rows, positions, window * channels]."""
    x = inputs[first:last].astype(jnp.float32)
    sides = x.shape[1:-1]
    pads = jax.lax.padtype_to_pads(sides, window, strides, padding)
    x = jnp.pad(x, [(0, 0), *pads, (0, 0)])
    covered = [side + sum(pad) for side, pad in zip(sides, pads, strict=True)]
    spans = [
        (total - size) // stride * stride + 1
        for total, size, stride in zip(covered, window, strides, strict=True)
    ]
    parts = []
    for corner in np.ndindex(*window):
        places = zip(corner, spans, strides, strict=True)
        index = [slice(at, at + span, stride) for at, span, stride in places]
        parts.append(x[:, *index])
    return jnp.stack(parts, -2).reshape(last - first, -1, num_features)


@partial(jax.jit, static_argnums=2)
def _positions(slopes: Any, bias: Any, num_outputs: int) -> tuple[Any, Any]:
    """[rows, positions, outputs], and the gradients of the bias."""
    rows = slopes.astype(jnp.float32).reshape(slopes.shape[0], -1, num_outputs)
    shape = (num_outputs,) if bias is None else bias.shape
    return rows, rows.sum(1).reshape(-1, *shape)


@jax.jit
def _of_norm(inputs: Any, slopes: Any, epsilon: float) -> tuple[Any, Any]:
    x, slopes = inputs.astype(jnp.float32), slopes.astype(jnp.float32)
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / jnp.sqrt(jnp.square(centred).mean(-1, keepdims=True) + epsilon)
    size = (x.shape[0], -1, x.shape[-1])
    return (scaled * slopes).reshape(size).sum(1), slopes.reshape(size).sum(1)
