"""The Transformer in PyTorch; `model_jax.py` defines the same function."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from algoperf import spec
from algoperf.forward_context import ForwardContext

from . import beam_pytorch
from .beam import Beams
from .definition import ModelConfig
from .rows import is_sentence, num_chunks, rows
from .transformer_pytorch import Source, Transformer, as_bias


def build(config: ModelConfig) -> nn.Module:
    """The module."""
    return Transformer(config)


def forward(module: nn.Module, batch: spec.Batch, context: ForwardContext) -> Tensor:
    """Logits [batch, length, vocabulary] of the targets."""
    logits: Tensor = module(*rows(batch))
    return logits


def outputs(
    module: Transformer, batch: spec.Batch, context: ForwardContext
) -> dict[str, Tensor]:
    """Losses and translations of an evaluation batch; every tensor [batch, ...].

    `per_example_loss`, `num_tokens`, `num_correct`: sums over the tokens of a sentence;
    `hypothesis`, `reference`: int32 [batch, max_length]; `weights`: 1 for sentences.
    """
    source, target = rows(batch)
    is_real = is_sentence(batch)
    memory, decoded = _like(module, _encoded_and_decoded)(module, source, target)
    counted = sums(module, decoded, target.tokens, is_real)
    bias = as_bias((source.tokens > 0)[:, None])  # [batch, 1, 1, source length]
    hypothesis = translate(module, Source(memory, bias), ~is_real)
    return {
        **counted,
        "hypothesis": hypothesis.masked_fill(~is_real[:, None], 0),
        "reference": target.tokens.to(torch.int32),
        "weights": is_real.float(),
    }


def _like(module: nn.Module, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, compiled if the module's own call is (`nn.Module.compile`)."""
    is_compiled = getattr(module, "_compiled_call_impl", None) is not None
    return _compiled(function) if is_compiled else function


@functools.cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(function, fullgraph=True, dynamic=False)


def _encoded_and_decoded(module: Transformer, source: Any, target: Any) -> Any:
    memory = module.memory_of(module.encode(source))
    return memory, module.decode(memory, source, target)


def sums(
    module: Transformer, decoded: Tensor, targets: Tensor, is_real: Tensor
) -> dict[str, Tensor]:
    """Loss, number and correct ones of each row's tokens, float32 [batch]."""
    length = targets.shape[1]
    size = length // num_chunks(length, module.config.vocab_size)
    # All logits at once would be gigabytes.
    chunks = zip(decoded.split(size, dim=1), targets.split(size, dim=1), strict=True)
    of_chunk = _like(module, _sums_of_chunk)
    parts = [of_chunk(module, x, labels, is_real) for x, labels in chunks]
    loss, tokens, correct = (
        torch.stack(part).sum(dim=0) for part in zip(*parts, strict=True)
    )
    return {"per_example_loss": loss, "num_tokens": tokens, "num_correct": correct}


def _sums_of_chunk(
    module: Transformer, x: Tensor, labels: Tensor, is_real: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    logits = module.logits(x).float()
    losses = functional.cross_entropy(
        logits.flatten(0, 1), labels.flatten().long(), reduction="none"
    ).view_as(labels)
    is_token = (labels > 0) & is_real[:, None]
    is_correct = (logits.argmax(dim=-1) == labels) & is_token
    return (
        torch.where(is_token, losses, 0.0).sum(dim=1),
        is_token.sum(dim=1, dtype=torch.float32),
        is_correct.sum(dim=1, dtype=torch.float32),
    )


def translate(module: Transformer, source: Source, is_padding: Tensor) -> Tensor:
    """Beam search from the encoder's output: int32 [batch, max_length]."""
    config = module.config
    like = source.memory[0][0]
    sizes = len(is_padding), config.num_heads
    head_width = config.embed_dim // config.num_heads

    def make_caches(length: int) -> beam_pytorch.Caches:
        shape = *sizes, length, config.beam_size, head_width
        return [
            (like.new_zeros(shape), like.new_zeros(shape))
            for _ in range(config.num_layers)
        ]

    step = functools.partial(_like(module, _advance), module, source)
    return beam_pytorch.search(config.beam_rule, step, make_caches, is_padding)


def _advance(
    module: Transformer,
    source: Source,
    beams: Beams,
    time: Tensor,
    caches: beam_pytorch.Caches,
) -> Beams:
    """One more token of every hypothesis: what is compiled."""

    def predict(tokens: Tensor, visible: Tensor) -> Tensor:
        logits = module.step(tokens, time, visible, caches, source)
        return torch.log_softmax(logits.float(), dim=-1)

    length = caches[0][0].shape[2]
    return beam_pytorch.advance(module.config.beam_rule, predict, beams, time, length)
