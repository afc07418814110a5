"""Which parameters a model applies to what, seen from the calls of PyTorch's functions.

`trace` runs a model forward and backward once and returns, for each matrix, its inputs and the
derivatives by its outputs: all that the gradients of single examples consist of.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from algoperf import parameter_loss
from algoperf.layer_sums import Layer, Traced
from algoperf.parameter_loss import WithParameterLoss
from algoperf.probe import Objective, Vector
from algoperf.pytorch_backend import derivatives
from algoperf.pytorch_backend.derivatives import on_host, plain_kernels


@dataclass(frozen=True)
class _Call:
    """One call that takes parameters, with its output."""

    function: Callable[..., Any]
    named: dict[str, Any]  # arguments
    output: Tensor


_ARGUMENTS: dict[Callable[..., Any], tuple[str, ...]] = {
    functional.linear: ("input", "weight", "bias"),
    functional.conv2d: (
        *("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
    ),
    functional.layer_norm: ("input", "normalized_shape", "weight", "bias", "eps"),
}


class _Calls(TorchFunctionMode):
    """Records all calls of linear maps and normalisations."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[_Call] = []

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        given = dict(kwargs or {})
        output = function(*args, **given)
        if function in _ARGUMENTS:
            named = dict(zip(_ARGUMENTS[function], args, strict=False)) | given
            self.found.append(_Call(function, named, output))
        return output


def trace(
    outputs: derivatives.Function,
    objective: Objective,
    batch: Mapping[str, Any],
    point_values: Vector,
    *,
    with_gradient: bool,
) -> Traced | None:
    """See `ProbeBase.trace`. outputs: what `model_fn` returns, of parameter values."""
    values = derivatives.variables(point_values)
    with plain_kernels():
        with _Calls() as calls:
            found = outputs(values)
        summed, valid = objective.summed(found, batch)
        used = _by_parameter(calls.found, values, len(summed))
        if used is None or not _are_used_once(found, values):
            return None
        chosen = list({id(call): call for call in used.values()}.values())
        wanted = [call.output for call in chosen]
        wanted += list(values.values()) if with_gradient else []
        grads = torch.autograd.grad(
            summed.sum(), wanted, retain_graph=True, materialize_grads=True
        )
    common, shares = _parameter_loss(found, objective, batch, values)
    layers, others = _layers(chosen, grads, values)
    return Traced(
        on_host(summed),
        float(valid),
        layers,
        others,
        common,
        np.zeros(len(summed)) if shares is None else on_host(shares),
        dict(zip(values, grads[len(chosen) :], strict=True)) if with_gradient else None,
    )


def _layers(
    calls: Sequence[_Call], slopes: Sequence[Tensor], values: Mapping[str, Tensor]
) -> tuple[list[Layer], dict[str, Tensor]]:
    """The matrices; and gradients of other parameters, by name, [rows, *shape]."""
    layers: list[Layer] = []
    others: dict[str, Tensor] = {}
    names = {id(x): name for name, x in values.items()}
    with torch.no_grad():
        for call, slope in zip(calls, slopes, strict=False):
            _take(call, slope.float(), names, layers, others)
    return layers, others


def _by_parameter(
    calls: list[_Call], values: Mapping[str, Tensor], num_rows: int
) -> dict[str, _Call] | None:
    """The only call that takes each parameter; None if one has no such call."""
    names = {id(x): name for name, x in values.items()}
    used: dict[str, _Call] = {}
    for call in calls:
        for place in ("weight", "bias"):
            name = names.get(id(call.named.get(place)))
            if name is None:
                continue
            if name in used or len(call.named["input"]) != num_rows:
                return None
            used[name] = call
        if call.named.get("groups", 1) != 1:
            return None
    return used if len(used) == len(values) else None


def _are_used_once(outputs: Any, values: Mapping[str, Tensor]) -> bool:
    """Whether the logits depend on each parameter by no more than one way."""
    logits, _ = parameter_loss.split(outputs)
    uses = dict.fromkeys(map(id, values.values()), 0)
    nodes = [x.grad_fn for x in derivatives.tensors(logits)]
    visited = set(nodes)
    while nodes:
        node = nodes.pop()
        for following, _ in node.next_functions if node is not None else ():
            variable = getattr(following, "variable", None)
            if id(variable) in uses:
                uses[id(variable)] += 1
            elif following is not None and following not in visited:
                visited.add(following)
                nodes.append(following)
    return all(number == 1 for number in uses.values())


def _parameter_loss(
    found: Any,
    objective: Objective,
    batch: Mapping[str, Any],
    values: dict[str, Tensor],
) -> tuple[dict[str, Tensor], Tensor | None]:
    """The gradient of the term of the parameters, and how often each row has it."""
    logits, term = parameter_loss.split(found)
    if term is None:
        return {}, None
    grads = torch.autograd.grad(term, list(values.values()), allow_unused=True)
    with torch.no_grad():
        both = [
            objective.summed(WithParameterLoss(logits, term.new_tensor(x)), batch)[0]
            for x in (1.0, 0.0)
        ]
    named = zip(values, grads, strict=True)
    return {n: g.detach() for n, g in named if g is not None}, both[0] - both[1]


def _take(
    call: _Call,
    slopes: Tensor,
    names: Mapping[int, str],
    layers: list[Layer],
    others: dict[str, Tensor],
) -> None:
    """Adds what one call contributes; slopes: the derivatives by its output."""
    inputs = call.named["input"].detach().float()
    weight = names.get(id(call.named.get("weight")))
    bias = names.get(id(call.named.get("bias")))
    if call.function is functional.layer_norm:
        shape = call.named["normalized_shape"]
        scaled = functional.layer_norm(inputs, shape, eps=call.named["eps"])
        if weight is not None:
            others[weight] = _over_positions(scaled * slopes, len(shape))
        if bias is not None:
            others[bias] = _over_positions(slopes, len(shape))
        return
    if call.function is functional.conv2d:
        slopes = slopes.flatten(2).mT  # [rows, positions, outputs]
    rows = slopes.reshape(len(slopes), -1, slopes.shape[-1])
    if bias is not None:
        others[bias] = rows.sum(1)
    if weight is None:
        return
    parameter = call.named["weight"]
    shape = parameter.shape
    of_rows = partial(
        _patches if call.function is functional.conv2d else _positions, call, inputs
    )
    layers.append(
        Layer(
            weight,
            rows,
            of_rows,
            parameter[0].numel(),
            to_matrix=lambda x: x.reshape(shape[0], -1),
            from_matrix=lambda x: x.reshape(shape),
            to_columns=lambda x: x.reshape(shape[0], -1).mT,
        )
    )


def _over_positions(rows: Tensor, num_last: int) -> Tensor:
    """The sum over all axes but the first and the last ones."""
    return rows.reshape(len(rows), -1, *rows.shape[rows.ndim - num_last :]).sum(1)


def _positions(call: _Call, inputs: Tensor, first: int, last: int) -> Tensor:
    chosen = inputs[first:last]
    return chosen.reshape(len(chosen), -1, chosen.shape[-1])


def _patches(call: _Call, inputs: Tensor, first: int, last: int) -> Tensor:
    named = call.named
    kernel = named["weight"].shape[2:]
    unfolded = functional.unfold(
        inputs[first:last],
        tuple(kernel),
        dilation=named.get("dilation", 1),
        padding=named.get("padding", 0),
        stride=named.get("stride", 1),
    )
    return unfolded.mT
