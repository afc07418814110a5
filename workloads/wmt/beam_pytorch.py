"""Beam search in PyTorch: a loop over one function, which may be compiled."""

from collections.abc import Callable

import torch
from torch import Tensor

from . import beam
from .beam import Beams, Rule

Caches = list[tuple[Tensor, Tensor]]
# (beams, time int [1], caches of a length) -> beams; caches take up what is new
Advance = Callable[[Beams, Tensor, Caches], Beams]

# How many tokens are generated between two looks at whether all sentences are done: a
# look makes a GPU wait, and costs a CPU nothing.
_TOKENS_BETWEEN_LOOKS = {"cpu": 1}
_TOKENS_BETWEEN_LOOKS_ELSEWHERE = 8


def operations(device: torch.device) -> beam.Operations:
    """What the rule needs, on that device."""

    def arange(n: int) -> Tensor:
        return torch.arange(n, device=device)

    return beam.Operations(
        where=torch.where,
        concatenate=torch.cat,
        flip=torch.flip,
        broadcast=torch.broadcast_to,
        top_k=_top_k,
        take=torch.take_along_dim,
        arange=arange,
    )


def _top_k(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """See `beam.Operations`; which of several equal to the last one is left open."""
    indices = x.topk(k, dim=-1).indices.sort(dim=-1).values
    values, order = x.gather(-1, indices).sort(dim=-1, descending=True, stable=True)
    return values, indices.gather(-1, order)


def search(
    rule: Rule,
    advance: Advance,
    make_caches: Callable[[int], Caches],
    is_padding: Tensor,
) -> Tensor:
    """Translations of a batch: int32 [batch, max_length]; of padding, anything.

    advance: one more token of every hypothesis; make_caches: empty ones for that many
    times, the third axis; is_padding: bool [batch].
    """
    device = is_padding.device
    ops = operations(device)
    beams = Beams(*(x.contiguous() for x in beam.initial(ops, rule, is_padding)))
    times = torch.arange(rule.last_time, device=device).unsqueeze(1)
    every = _TOKENS_BETWEEN_LOOKS.get(device.type, _TOKENS_BETWEEN_LOOKS_ELSEWHERE)
    start, caches = 0, make_caches(0)
    for length in rule.cache_lengths():
        caches = _grown(caches, make_caches(length))
        end = min(length, rule.last_time)
        for time in range(start, end):
            if time % every == 0 and bool(beams.is_done.all()):
                return _answer(ops, beams)
            beams = advance(beams, times[time], caches)
        start = end
    return _answer(ops, beams)


def _answer(ops: beam.Operations, beams: Beams) -> Tensor:
    tokens: Tensor = beam.answer(ops, beams)
    return tokens.to(torch.int32)


def _grown(caches: Caches, empty: Caches) -> Caches:
    """The larger caches `empty`, with what was in the smaller ones."""
    for pair in zip(caches, empty, strict=True):
        for old, new in zip(*pair, strict=True):
            new[:, :, : old.shape[2]] = old
    return empty


def advance(
    rule: Rule, predict: Callable[..., Tensor], beams: Beams, time: Tensor, length: int
) -> Beams:
    """One more token of every hypothesis, with caches for `length` times.

    predict: (tokens [batch, beam], visible) -> log-probabilities.
    """
    ops = operations(time.device)
    tokens = beams.live_tokens.index_select(2, time).squeeze(2)
    visible = beam.visible(ops, beams, time, length)
    return beam.advance(ops, rule, beams, predict(tokens, visible), time)
