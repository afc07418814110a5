"""A bidirectional LSTM over padded sequences in PyTorch: its fused kernels.

One set of biases, as in the JAX model. PyTorch's own bidirectional layer would need the
lengths on the host, a synchronisation in each layer.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn

from algoperf.pytorch_backend import layers

_GATES = "ifgo"  # input, forget, cell, output: in this order in all arrays


def _orthogonal_gates(
    weight: Tensor, generator: Generator, fan_in: int, fan_out: int
) -> None:
    """weight: [4 * hidden, hidden]: one orthogonal matrix for each gate."""
    for gate in weight.chunk(len(_GATES)):
        nn.init.orthogonal_(gate, generator=generator)


class _Direction(nn.Module):
    """One direction of the LSTM."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.input = layers.Linear(features, len(_GATES) * hidden)
        self.recurrent = layers.Linear(
            hidden, len(_GATES) * hidden, bias=False, weight_init=_orthogonal_gates
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: [batch, frames, features]; hidden states [batch, frames, hidden]."""
        bias = self.input.bias
        assert bias is not None
        # The compiler would unroll the kernel into its steps; it sees one operation.
        run = _opaque_lstm if torch.compiler.is_compiling() else _lstm
        return run(x, self.input.weight, self.recurrent.weight, bias)


def _lstm(
    x: Tensor, input_weight: Tensor, recurrent_weight: Tensor, bias: Tensor
) -> Tensor:
    """Hidden states [batch, frames, hidden], from states of 0."""
    state = x.new_zeros(1, x.shape[0], recurrent_weight.shape[1])
    y, _, _ = torch.lstm(
        x,
        (state, state),
        [input_weight, recurrent_weight, bias, torch.zeros_like(bias)],
        has_biases=True,
        num_layers=1,
        dropout=0.0,
        # cuDNN keeps what a gradient needs only in training mode.
        train=torch.is_grad_enabled(),
        bidirectional=False,
        batch_first=True,
    )
    return y


@torch.library.custom_op("algoperf::lstm", mutates_args=())
def _opaque_lstm(
    x: Tensor, input_weight: Tensor, recurrent_weight: Tensor, bias: Tensor
) -> Tensor:
    """`_lstm`; what its gradient needs is computed again."""
    return _lstm(x, input_weight, recurrent_weight, bias).contiguous()


@torch.library.custom_op("algoperf::lstm_gradient", mutates_args=())
def _opaque_gradient(gradient: Tensor, arguments: list[Tensor]) -> list[Tensor]:
    """Gradients of `_lstm`'s arguments from that of its result."""
    # Not `torch.autograd.grad`: nothing is recorded inside of an operation.
    with torch.enable_grad():
        gradient_of = torch.func.vjp(_lstm, *arguments)[1]
        return [part.contiguous() for part in gradient_of(gradient)]


@_opaque_lstm.register_fake
def _(x: Tensor, input_weight: Tensor, recurrent_weight: Tensor, bias: Tensor) -> Any:
    return x.new_empty(x.shape[0], x.shape[1], recurrent_weight.shape[1])


@_opaque_gradient.register_fake
def _(gradient: Tensor, arguments: list[Tensor]) -> list[Tensor]:
    return [torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in arguments]


def _keep_arguments(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
    return tuple(_opaque_gradient(gradient, list(ctx.saved_tensors)))


_opaque_lstm.register_autograd(_differentiate, setup_context=_keep_arguments)


class BidirectionalLstm(nn.Module):
    """[batch, frames, features] -> [batch, frames, 2 * hidden], 0 in padding."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.forwards = _Direction(features, hidden)
        self.backwards = _Direction(features, hidden)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """mask: [batch, frames], 1 for valid frames, which come before the padding."""
        order = reversed_order(mask).unsqueeze(-1)
        ahead = self.forwards(x)
        back = self.backwards(_taken(x, order))
        y = torch.cat([ahead, _taken(back, order)], dim=-1)
        return y * mask[..., None].to(y.dtype)


def reversed_order(mask: Tensor) -> Tensor:
    """int64 [batch, frames]: the valid frames from last to first, then the padding."""
    frames = torch.arange(mask.shape[1], device=mask.device)
    lengths = mask.sum(dim=1, keepdim=True).long()
    return torch.where(frames < lengths, lengths - 1 - frames, frames)


def _taken(x: Tensor, order: Tensor) -> Tensor:
    return x.gather(1, order.expand(x.shape))


def with_joined_gates(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Parameters of `lstm_jax.py` by path, with those of the four gates side by side.

    `ii`, `if`, `ig` and `io` become `input`; `hi`, `hf`, `hg` and `ho` `recurrent`, but
    for their biases, which are `input`'s here. The other paths stay as they are.
    """
    joined: dict[str, np.ndarray] = {}
    for path, array in arrays.items():
        found = re.fullmatch(r"(.*/(?:for|back)wards)/([ih])i/(kernel|bias)", path)
        if found:
            direction, side, leaf = found.groups()
            parts = [arrays[f"{direction}/{side}{gate}/{leaf}"] for gate in _GATES]
            product = "recurrent" if (side, leaf) == ("h", "kernel") else "input"
            joined[f"{direction}/{product}/{leaf}"] = np.concatenate(parts, axis=-1)
        elif not re.search(r"/(for|back)wards/[ih][fgo]/", path):
            joined[path] = array
    return joined
