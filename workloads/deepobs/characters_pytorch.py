"""The recurrent network over characters in PyTorch; `characters_jax.py` defines the same."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from algoperf.forward_context import ForwardContext
from algoperf.pytorch_backend import initializers, layers
from algoperf.spec import ParameterType

from .architectures import GLOROT_UNIFORM, CharactersConfig
from .carry import initial_carry
from .kernels_pytorch import initializer

__all__ = ["build", "forward", "initial_carry"]


class Lstm(nn.Module):
    """One layer; the gates are input, forget (with 1 added), candidate and output."""

    forget: Tensor

    def __init__(self, in_features: int, features: int) -> None:
        super().__init__()
        weight = nn.Parameter(torch.empty(4 * features, in_features + features))
        self.weight = layers.typed(weight, ParameterType.WEIGHT)
        bias = nn.Parameter(torch.empty(4 * features))
        self.bias = layers.typed(bias, ParameterType.BIAS)
        self.in_features = in_features
        forget = torch.zeros(4, features)
        forget[1] = 1.0
        self.register_buffer("forget", forget.flatten(), persistent=False)

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Glorot uniform; the bias is 0."""
        outputs, inputs = self.weight.shape
        initializer(GLOROT_UNIFORM)(self.weight, generator, inputs, outputs)
        initializers.constant(0.0)(self.bias, generator, 1, 1)

    def forward(
        self, x: Tensor, hidden: Tensor, cell: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """x: [batch, characters, in]; hidden, cell: [batch, features], as they were.

        Returns [batch, characters, features], and hidden and cell as they are then.
        """
        of_inputs, of_hidden = self.weight.split(
            [self.in_features, self.weight.shape[1] - self.in_features], dim=1
        )
        weights = [of_inputs, of_hidden, self.bias, self.forget.to(self.bias.dtype)]
        outputs, hidden, cell = torch.lstm(
            x,
            (hidden[None].contiguous(), cell[None].contiguous()),
            weights,
            has_biases=True,
            num_layers=1,
            dropout=0.0,
            train=self.training,
            bidirectional=False,
            batch_first=True,
        )
        return outputs, hidden[0], cell[0]


class Characters(nn.Module):
    """Characters -> logits of the next ones."""

    def __init__(self, config: CharactersConfig) -> None:
        super().__init__()
        init, width = initializer(GLOROT_UNIFORM), config.hidden_dim
        self.embedding = layers.Embedding(config.vocab_size, width, weight_init=init)
        self.lstm_names = [f"lstm_{index}" for index in range(config.num_layers)]
        for name in self.lstm_names:
            self.add_module(name, Lstm(width, width))
        bound = math.sqrt(6 / (2 * config.vocab_size))  # both fans of a vector
        self.output = layers.Linear(
            width,
            config.vocab_size,
            weight_init=init,
            bias_init=initializers.uniform(-bound, bound),
            is_output=True,
        )
        count = 2 * config.num_layers
        self.dropouts = nn.ModuleList(layers.Dropout() for _ in range(count))

    def forward(
        self, inputs: Tensor, carry: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """inputs: int [batch, characters]; carry: `hidden` and `cell`, [batch, layers, dim]."""
        x, states = self.embedding(inputs), []
        for index, name in enumerate(self.lstm_names):
            hidden, cell = (carry[part][:, index] for part in ("hidden", "cell"))
            x = self.dropouts[2 * index](x)
            x, *state = self.get_submodule(name)(x, hidden, cell)
            x = self.dropouts[2 * index + 1](x)
            states.append(state)
        hidden, cell = (torch.stack(parts, 1) for parts in zip(*states, strict=True))
        return self.output(x), {"hidden": hidden, "cell": cell}


def build(config: CharactersConfig) -> nn.Module:
    """The module."""
    return Characters(config)


def forward(module: nn.Module, batch: Any, context: ForwardContext) -> Any:
    """Goes on where the batch before ended, except where a text starts."""
    starts = batch["starts"][:, None, None]
    dtype = next(module.parameters()).dtype

    def of(before: Tensor) -> Tensor:
        shape = (len(starts), *before.shape[1:])
        before = before if before.shape == shape else before.new_zeros(shape)
        return torch.where(starts > 0, 0.0, before.to(dtype))

    return module(
        batch["inputs"], {name: of(before) for name, before in context.carry.items()}
    )
