"""The rule of beam search, written once for both frameworks.

Sentences do not know of each other: when one is done, nothing about it changes any
more. The published rule goes on with all until all are done, which gives the same
answers: see `advance`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

START = 0
EOS = 2
# Published: the score of hypotheses that are not there, and what is added to those that
# may not be chosen.
ABSENT = -1e7
_SHORTEST_CACHE = 64


@dataclass(frozen=True)
class Operations:
    """What the rule needs of a framework, on its device."""

    where: Callable[[Any, Any, Any], Any]
    concatenate: Callable[[Any, int], Any]
    flip: Callable[[Any, tuple[int]], Any]
    broadcast: Callable[[Any, tuple[int, ...]], Any]
    # Values and indices of the k largest along the last axis, largest first, of equal
    # ones the lower index.
    top_k: Callable[[Any, int], tuple[Any, Any]]
    take: Callable[[Any, Any, int], Any]  # along an axis; indices broadcast
    arange: Callable[[int], Any]  # integers


@dataclass(frozen=True)
class Rule:
    """Numbers of the published rule."""

    max_length: int = 256  # one more than the tokens that may be generated
    beam_size: int = 4
    exponent: float = 0.6  # of the length by which scores are divided

    @property
    def last_time(self) -> int:
        """The number of tokens after which a search ends."""
        return self.max_length - 1

    def penalty(self, length: Any) -> Any:
        """What divides the log-probability of `length` tokens, EOS included."""
        return ((5 + length) / 6) ** self.exponent

    def cache_lengths(self) -> list[int]:
        """Sizes that caches grow through: short sentences need not pay for long ones."""
        doublings = math.ceil(math.log2(max(self.max_length / _SHORTEST_CACHE, 1)))
        sizes = [_SHORTEST_CACHE * 2**i for i in range(doublings)]
        return [*sizes, self.max_length]


class Beams(NamedTuple):
    """The hypotheses of a batch of sentences; scores increase along the beam's axis."""

    live_scores: Any  # float [batch, beam]: log-probabilities
    live_tokens: Any  # int [batch, beam, max_length], from START on, 0 where not yet
    # int [batch, beam, max_length]: which hypothesis of an earlier time a live one
    # descends from. Caches are read through it, and never reordered.
    ancestors: Any
    finished_scores: Any  # float [batch, beam], divided by the penalty
    finished_tokens: Any  # int [batch, beam, max_length]
    is_done: Any  # bool [batch]


def initial(ops: Operations, rule: Rule, is_padding: Any) -> Beams:
    """One live hypothesis for each sentence; none for rows of padding, bool [batch]."""
    beam, batch = rule.beam_size, is_padding.shape[0]
    slots = ops.arange(beam)
    scores = ops.broadcast(ops.where(slots == 0, 0.0, ABSENT), (batch, beam))
    shape = batch, beam, rule.max_length
    tokens = ops.broadcast(ops.arange(rule.max_length) * 0 + START, shape)
    ancestors = ops.broadcast(slots[:, None], shape)
    finished = ops.broadcast(ops.where(slots < 0, 0.0, ABSENT), (batch, beam))
    return Beams(scores, tokens, ancestors, finished, tokens, is_padding)


def visible(ops: Operations, beams: Beams, time: Any, length: int) -> Any:
    """Which entries of the cache a live hypothesis descends from.

    bool [batch, beam, length * beam]; entry t * beam + i is what hypothesis i added at
    time t. The cache holds times 0 to `time`.
    """
    batch, beam, _ = beams.ancestors.shape
    slots, times = ops.arange(beam), ops.arange(length)
    descends = beams.ancestors[:, :, :length, None] == slots
    return (descends & (times <= time)[:, None]).reshape(batch, beam, length * beam)


def advance(
    ops: Operations, rule: Rule, beams: Beams, log_probs: Any, time: Any
) -> Beams:
    """One more token for every live hypothesis.

    log_probs: float [batch, beam, vocabulary] of the next token; time: int scalar, the
    number of tokens generated before. A sentence is done when its worst finished
    hypothesis is better than its best live one can become: a live one's log-probability
    only falls, and no penalty is greater than that of the greatest length.
    """
    beam = rule.beam_size
    scores, parents, tokens = _best_continuations(ops, beams, log_probs)
    is_next = ops.arange(rule.max_length) == time + 1
    inherited = ops.take(beams.live_tokens, parents[:, :, None], 1)
    grown = ops.where(is_next, tokens[:, :, None], inherited)
    has_ended = tokens == EOS

    live_scores, live = _best(ops, ops.where(has_ended, scores + ABSENT, scores), beam)
    old = ops.take(beams.ancestors, ops.take(parents, live, 1)[:, :, None], 1)
    slots = ops.arange(beam)[:, None]
    ancestors = ops.where(ops.arange(rule.max_length) <= time, old, slots)

    ended_scores = ops.where(has_ended, scores / rule.penalty(time + 1), ABSENT)
    all_scores = ops.concatenate((beams.finished_scores, ended_scores), 1)
    all_tokens = ops.concatenate((beams.finished_tokens, grown), 1)
    finished_scores, finished = _best(ops, all_scores, beam)
    finished_tokens = ops.take(all_tokens, finished[:, :, None], 1)

    was_done = beams.is_done[:, None]
    finished_scores = ops.where(was_done, beams.finished_scores, finished_scores)
    attainable = live_scores[:, -1] / rule.penalty(rule.max_length)
    return Beams(
        live_scores,
        ops.take(grown, live[:, :, None], 1),
        ancestors,
        finished_scores,
        ops.where(was_done[:, :, None], beams.finished_tokens, finished_tokens),
        beams.is_done | (finished_scores[:, 0] > attainable),
    )


def answer(ops: Operations, beams: Beams) -> Any:
    """The best finished hypothesis of each sentence, else the best live one.

    int [batch, max_length]: START is dropped, and a 0 follows the greatest length.
    """
    has_finished = beams.finished_scores[:, -1] > ABSENT
    finished, live = beams.finished_tokens[:, -1], beams.live_tokens[:, -1]
    tokens = ops.where(has_finished[:, None], finished, live)
    return ops.concatenate((tokens[:, 1:], tokens[:, :1]), 1)


def _best_continuations(
    ops: Operations, beams: Beams, log_probs: Any
) -> tuple[Any, Any, Any]:
    """Scores, parents and tokens [batch, 2 * beam] of the best, best first.

    The best of each hypothesis, then the best of these: the same, in the same order,
    as of all together.
    """
    batch, beam, _ = log_probs.shape
    best, tokens = ops.top_k(beams.live_scores[:, :, None] + log_probs, 2 * beam)
    flat = batch, beam * 2 * beam
    scores, order = ops.top_k(best.reshape(flat), 2 * beam)
    return scores, order // (2 * beam), ops.take(tokens.reshape(flat), order, 1)


def _best(ops: Operations, scores: Any, number: int) -> tuple[Any, Any]:
    """The greatest scores along axis 1 in increasing order, and their indices."""
    values, indices = ops.top_k(scores, number)
    return ops.flip(values, (1,)), ops.flip(indices, (1,))
