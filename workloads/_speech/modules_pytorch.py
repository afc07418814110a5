"""Modules that both speech models are made of, in PyTorch, and how they are called.

`modules_jax.py` defines the same functions.
"""

from collections.abc import Callable

import array_api_compat.torch as array_namespace
import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from algoperf.forward_context import ForwardContext
from algoperf.pytorch_backend import layers
from algoperf.pytorch_backend.batch_norm import BatchNorm
from algoperf.pytorch_backend.initializers import constant, xavier_uniform
from algoperf.spec import Batch, ParameterType

from . import front_end, mel, spec_augment, subsampling
from .definition import SpeechConfig

Activation = Callable[[Tensor], Tensor]
XAVIER = xavier_uniform()
_MOST_POSITIONS = 2_048  # at least 80, and the frames of 20 s


class LayerNorm(nn.Module):
    """Normalises the last axis, then * (1 + weight) + bias, both 0 at first."""

    def __init__(self, features: int) -> None:
        super().__init__()
        weight = nn.Parameter(torch.empty(features))
        self.weight = layers.typed(weight, ParameterType.LAYER_NORM_SCALE)
        bias = nn.Parameter(torch.empty(features))
        self.bias = layers.typed(bias, ParameterType.LAYER_NORM_BIAS)

    def reset_parameters(self, generator: Generator) -> None:
        """See the conventions of `layers`."""
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x: [..., features]."""
        shape = list(self.weight.shape)
        return functional.layer_norm(x, shape, 1 + self.weight, self.bias, 1e-6)


class MaskedBatchNorm(nn.Module):
    """Batch norm over the valid frames of the global batch; weight and bias 0 at first."""

    def __init__(self, features: int, momentum: float) -> None:
        super().__init__()
        self.statistics = BatchNorm(
            features,
            momentum=momentum,
            eps=1e-3,
            scale_init=constant(0.0),
            scale_offset=1.0,
            feature_axis=-1,
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x: [batch, frames, features]; mask: [batch, frames]; result 0 in padding."""
        return masked(self.statistics(x, mask), mask)


def masked(x: Tensor, mask: Tensor) -> Tensor:
    """x [batch, frames, features], 0 where mask [batch, frames] is."""
    return x * mask[..., None].to(x.dtype)


class FrontEnd(nn.Module):
    """Audio -> features -> SpecAugment in training -> frames at a quarter of the rate."""

    window: Tensor
    mel_weights: Tensor
    mean: Tensor
    stddev: Tensor
    positions: Tensor

    def __init__(self, config: SpeechConfig, activation: Activation) -> None:
        super().__init__()
        self.activation, self.augmentation = activation, config.spec_augment
        channels = config.num_subsampling_channels
        for name, table in mel.tables()._asdict().items():
            self.register_buffer(name, torch.tensor(table), persistent=False)
        positions = torch.arange(_MOST_POSITIONS, dtype=torch.float32)
        self.register_buffer("positions", positions, persistent=False)
        self.conv_0 = _convolution(1, channels)
        self.conv_1 = _convolution(channels, channels)
        bins = subsampling.halved(subsampling.halved(mel.NUM_MEL_BINS))
        self.dense = layers.Linear(
            bins * channels, config.embed_dim, weight_init=XAVIER
        )

    def forward(
        self, inputs: tuple[Tensor, Tensor], uniforms: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Frames [batch, frames, width] and their paddings [batch, frames].

        inputs: see `front_end.log_mel`; uniforms: of SpecAugment, None without it.
        """
        x, paddings = self._features(inputs, uniforms)
        x = x[:, None]  # [batch, channels, frames, mel bins]
        for i, convolution in enumerate((self.conv_0, self.conv_1)):
            x = self.activation(convolution(_padded(x, i)))
            paddings = paddings[:, :: subsampling.STRIDE]
            x = x * (1 - paddings)[:, None, :, None].to(x.dtype)
        return self.dense(x.permute(0, 2, 3, 1).flatten(2)), paddings

    @torch.no_grad()
    def _features(
        self, inputs: tuple[Tensor, Tensor], uniforms: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """In float32 whatever the rest computes in."""
        tables = mel.FrontEndTables(
            self.window, self.mel_weights, self.mean, self.stddev
        )
        xp = array_namespace
        with torch.autocast(inputs[0].device.type, enabled=False):
            x, paddings = front_end.log_mel(xp, tables, *inputs)
            if uniforms is not None:
                config, positions = self.augmentation, self.positions
                x = spec_augment.augment(xp, config, x, paddings, uniforms, positions)
        return x, paddings


def _convolution(in_channels: int, channels: int) -> layers.Conv2d:
    return layers.Conv2d(
        in_channels,
        channels,
        subsampling.KERNEL,
        stride=subsampling.STRIDE,
        padding="VALID",
        weight_init=XAVIER,
    )


def _padded(x: Tensor, index: int) -> Tensor:
    _, _, frames, bins = x.shape
    rows = subsampling.padding(frames, subsampling.TIME_BEFORE[index])
    columns = subsampling.padding(bins, subsampling.MEL_BEFORE[index])
    return functional.pad(x, [*columns, *rows])


class SpeechModel(nn.Module):
    """Front end, `encoded` of a subclass, logits."""

    def __init__(
        self, config: SpeechConfig, activation: Activation = functional.relu
    ) -> None:
        """activation: behind each of the front end's convolutions."""
        super().__init__()
        self.front_end = FrontEnd(config, activation)
        self.dropout = layers.Dropout()
        self.output = layers.Linear(
            config.embed_dim, config.vocab_size, weight_init=XAVIER, is_output=True
        )

    def encoded(self, x: Tensor, mask: Tensor) -> Tensor:
        """x: [batch, frames, width]; mask: [batch, frames]."""
        raise NotImplementedError

    def forward(
        self, inputs: tuple[Tensor, Tensor], uniforms: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Logits [batch, frames, vocabulary] and their paddings [batch, frames].

        inputs, uniforms: as of `FrontEnd`.
        """
        x, paddings = self.front_end(inputs, uniforms)
        return self.output(self.encoded(x, 1 - paddings)), paddings


def forward(
    module: nn.Module, batch: Batch, context: ForwardContext
) -> tuple[Tensor, Tensor]:
    """Logits ([batch, frames, vocabulary], paddings).

    The default call, but that in training SpecAugment gets its random numbers, drawn
    from the step's rng for this process's part of the global batch.
    """
    signal = batch["inputs"][0]
    uniforms = _uniforms(signal, context) if context.train else None
    logits: tuple[Tensor, Tensor] = module(batch["inputs"], uniforms)
    return logits


def _uniforms(signal: Tensor, context: ForwardContext) -> Tensor:
    # Made on the host, like the rng: the device is not waited for.
    numbers = spec_augment.uniforms(
        np,
        np.resize(np.asarray(context.rng).astype(np.int64), 2).astype(np.uint32),
        len(signal),
        context.config.spec_augment.num_masks,
        first_example=context.first_example(len(signal)),
    )
    return torch.from_numpy(numbers).to(signal.device, non_blocking=True)
