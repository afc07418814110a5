"""A bidirectional LSTM over padded sequences in PyTorch: its fused kernels.

One set of biases, as in the JAX model. PyTorch's own bidirectional layer would need the
lengths on the host, a synchronisation in each layer.
"""

import torch
from torch import Generator, Tensor, nn

from algoperf.pytorch_backend import layers

_GATES = 4  # input, forget, cell, output: in this order in all arrays


def _orthogonal_gates(
    weight: Tensor, generator: Generator, fan_in: int, fan_out: int
) -> None:
    """weight: [4 * hidden, hidden]: one orthogonal matrix for each gate."""
    for gate in weight.chunk(_GATES):
        nn.init.orthogonal_(gate, generator=generator)


class _Direction(nn.Module):
    """One direction of the LSTM."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.input = layers.Linear(features, _GATES * hidden)
        self.recurrent = layers.Linear(
            hidden, _GATES * hidden, bias=False, weight_init=_orthogonal_gates
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: [batch, frames, features]; hidden states [batch, frames, hidden]."""
        bias = self.input.bias
        assert bias is not None
        weights = [
            self.input.weight,
            self.recurrent.weight,
            bias,
            torch.zeros_like(bias),
        ]
        state = x.new_zeros(1, x.shape[0], self.recurrent.weight.shape[1])
        y, _, _ = torch.lstm(
            x,
            (state, state),
            weights,
            has_biases=True,
            num_layers=1,
            dropout=0.0,
            # cuDNN keeps what a gradient needs only in training mode.
            train=torch.is_grad_enabled(),
            bidirectional=False,
            batch_first=True,
        )
        return y


class BidirectionalLstm(nn.Module):
    """[batch, frames, features] -> [batch, frames, 2 * hidden], 0 in padding."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.forwards = _Direction(features, hidden)
        self.backwards = _Direction(features, hidden)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """mask: [batch, frames], 1 for valid frames, which come before the padding."""
        order = reversed_order(mask)[..., None]
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
    return x.gather(1, order.expand(-1, -1, x.shape[-1]))
