"""Derivatives of functions of a dict of tensors, by whatever way PyTorch has for them.

The functions that are differentiated give (losses [rows], what their sum is divided by), or
the logits, which may be nested tuples of tensors.
"""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from algoperf.probe import NotMeasurable, Objective, Sample, Vector
from algoperf.probe_chunks import Chunk, ChunkRequest

# Of the objective: (summed losses of rows, divisor), logits, or what `model_fn` returns, which
# is no tensor where the loss has a term of the parameters.
Part = Literal["__call__", "logits", "outputs"]
_LONGEST_DOT = 2**16
Function = Callable[[dict[str, Tensor]], Any]
# What differentiating raises where a function has no derivative of that kind.
NO_DERIVATIVE = (RuntimeError, ValueError, TypeError)


class ModelCall(nn.Module):
    """Calls functions of the objective with `inner` as the model."""

    def __init__(self, inner: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.inner, self.objective = inner, objective

    def forward(self, state: Any, sample: Sample, part: Part) -> Any:
        """A part of the objective's computation; see `Part`."""
        compute = getattr(self.objective, part)
        return compute(self.inner, state, sample.batch, sample.key)


@contextlib.contextmanager
def plain_kernels() -> Iterator[None]:
    """Fused attention and cuDNN's recurrent nets lack derivatives of their gradients."""
    with sdpa_kernel(SDPBackend.MATH), torch.backends.cudnn.flags(enabled=False):
        yield


def variables(values: Vector) -> dict[str, Tensor]:
    """The same values as leaves that can be differentiated by."""
    return {name: x.detach().requires_grad_() for name, x in values.items()}


def gradient(
    output: Any, values: dict[str, Tensor], argument: Any = None, **options: bool
) -> dict[str, Tensor]:
    """Of a scalar, or `argument` times the Jacobian; 0 for what plays no part."""
    found = torch.autograd.grad(
        output, list(values.values()), argument, materialize_grads=True, **options
    )
    return dict(zip(values, found, strict=True))


def product(a: Vector, b: Vector) -> Tensor:
    """The inner product of two vectors, a scalar."""
    return torch.stack([(a[name] * b[name]).sum() for name in a]).sum()


def forward(
    function: Function, values: Vector, direction: Vector, *, has_aux: bool = False
) -> Any:
    """What `torch.func.jvp` returns; the two dicts may be ordered differently."""
    ordered = {name: direction[name] for name in values}
    with warnings.catch_warnings():
        # PyTorch's forward mode uses a part of PyTorch that is deprecated.
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.func.jvp(function, (dict(values),), (ordered,), has_aux=has_aux)


def transposed(
    outputs: list[Tensor], variables: dict[str, Tensor], direction: Vector
) -> list[Tensor]:
    """The derivative of the outputs along the direction, by backward passes alone.

    A backward pass is linear in its argument; its transpose is the forward derivative.
    """
    arguments = [torch.zeros_like(x, requires_grad=True) for x in outputs]
    used = [
        i for i, x in enumerate(outputs) if x.requires_grad
    ]  # paddings are constant
    found = gradient(
        [outputs[i] for i in used],
        variables,
        [arguments[i] for i in used],
        create_graph=True,
    )
    slope = product(found, direction)
    return list(torch.autograd.grad(slope, arguments, materialize_grads=True))


def forward_slopes(function: Function, values: Vector, direction: Vector) -> Any:
    """(losses, their derivatives, divisor) by one forward-mode pass."""
    return forward(function, values, direction, has_aux=True)


def reverse_slopes(function: Function, values: Vector, direction: Vector) -> Any:
    """As `forward_slopes`, by two reverse passes."""
    leaves = variables(values)
    losses, divisor = function(leaves)
    (slopes,) = transposed([losses], leaves, direction)
    return losses, slopes, divisor


def row_slopes(function: Function, values: Vector, direction: Vector) -> Any:
    """As `forward_slopes`, by a reverse pass for each row."""
    leaves = variables(values)
    losses, divisor = function(leaves)
    slopes = [
        product(gradient(loss, leaves, retain_graph=True), direction) for loss in losses
    ]
    return losses, torch.stack(slopes), divisor


def slopes_of_logits(
    logits: Function,
    loss: Callable[[Any], tuple[Tensor, Any]],
    values: Vector,
    direction: Vector,
) -> Any:
    """As `forward_slopes`, for losses that lack a forward derivative.

    A row's loss depends on the logits of no other row, so one reverse pass gives the
    gradients of all rows.
    """
    outputs, tangents = forward(logits, values, direction)
    outputs = mapped(lambda x: x.detach().requires_grad_(), outputs)
    losses, divisor = loss(outputs)
    found = torch.autograd.grad(
        losses.sum(), list(tensors(outputs)), materialize_grads=True
    )
    parts = [
        (g * t.detach()).reshape(len(losses), -1).sum(-1)
        for g, t in zip(found, tensors(tangents), strict=True)
    ]
    return losses, torch.stack(parts).sum(0), divisor


def tangents_of(
    function: Function,
    values: Vector,
    direction: Vector,
    outputs: list[Tensor],
    variables: dict[str, Tensor],
) -> list[Tensor]:
    """The derivative of all outputs; these were computed from the variables."""
    try:
        _, tangents = forward(function, values, direction)
    except NO_DERIVATIVE:
        return transposed(outputs, variables, direction)
    return [tangent.detach() for tangent in tensors(tangents)]


def second_derivative(compute: Callable[[], Any]) -> Any:
    """What it computes; NotMeasurable where PyTorch has no derivative of a gradient."""
    try:
        return compute()
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise NotMeasurable(
            f"PyTorch has no second derivative of this workload's loss ({reason})"
        ) from None


def mapped(function: Callable[[Tensor], Any], tree: Any) -> Any:
    """`function` of each tensor in nested dicts and tuples, named ones too."""
    if isinstance(tree, Mapping):
        return {key: mapped(function, part) for key, part in tree.items()}
    if isinstance(tree, tuple):
        parts = [mapped(function, part) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
    return function(tree) if isinstance(tree, Tensor) else tree


def tensors(tree: Any) -> Iterator[Tensor]:
    """All tensors in nested dicts and tuples."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, Mapping | tuple | list):
        for part in tree.values() if isinstance(tree, Mapping) else tree:
            yield from tensors(part)


def reduced(losses: Tensor, grads: dict[str, Tensor], request: ChunkRequest) -> Chunk:
    """What a chunk adds. losses: [chunk]; grads: [chunk, *shape] by name, both weighted."""
    flat = {name: grad.reshape(len(grad), -1) for name, grad in grads.items()}
    products = [
        grad @ torch.stack([d[name].flatten() for d in request.directions], 1)
        for name, grad in flat.items()
        if request.directions
    ]
    norms = torch.stack([torch.linalg.vecdot(g, g) for g in flat.values()]).sum(0)
    nothing = losses.new_zeros(len(losses), 0)
    table = torch.stack(products).sum(0) if products else nothing
    return Chunk(
        losses=on_host(losses),
        squared_norms=on_host(norms),
        products=on_host(table),
        total={name: grad.sum(0) for name, grad in grads.items()},
        squares={n: g.square().sum(0) for n, g in grads.items()}
        if request.squares
        else None,
        gradients=grads if request.keep_gradients else None,
    )


def on_host(tensor: Tensor) -> np.ndarray:
    """The values in float64."""
    return tensor.detach().double().cpu().numpy()


def dot(a: Tensor, b: Tensor) -> Tensor:
    """In float64, by parts: float32 loses digits over millions of terms."""
    parts = zip(a.split(_LONGEST_DOT), b.split(_LONGEST_DOT), strict=True)
    return torch.stack([torch.dot(x, y) for x, y in parts]).double().sum()
