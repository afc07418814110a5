"""SpecAugment's masks and their random numbers, written once for both frameworks.

The numbers are a hash of the step's key and of the example's place in the *global*
batch: the same in both frameworks, on any number of devices and processes. Source of
the rules: the published benchmark.
"""

from dataclasses import dataclass
from typing import Any

# The 32-bit mixer "lowbias32" of https://github.com/skeeto/hash-prospector (public
# domain). The words of the key are added before it and inside.
_GOLDEN, _MULTIPLY_1, _MULTIPLY_2 = 0x9E3779B9, 0x7FEB352D, 0x846CA68B
_BITS = 24  # of each random number: as many as float32 holds


@dataclass(frozen=True)
class SpecAugment:
    """How many masks an utterance gets in training, and their largest lengths."""

    time_masks: int = 10
    max_time_share: float = 0.05  # of the utterance's frames
    frequency_masks: int = 2
    max_frequency_bins: int = 27

    @property
    def num_masks(self) -> int:
        """Masks of both kinds."""
        return self.time_masks + self.frequency_masks


def uniforms(
    xp: Any, key: Any, batch_size: int, num_masks: int, first_example: int = 0
) -> Any:
    """Numbers in [0, 1), float32 [batch, masks, 2], for a part of a global batch.

    xp: numpy or jax.numpy. key: uint32 [2]; first_example: the first one's index in
    the global batch.
    """
    per_example = num_masks * 2
    count = batch_size * per_example
    x = xp.arange(count, dtype=xp.uint32) + xp.uint32(first_example * per_example)
    # Products and sums wrap around, which is what a hash wants.
    x = x * xp.uint32(_GOLDEN) + key[:1]
    x = (x ^ (x >> xp.uint32(16))) * xp.uint32(_MULTIPLY_1) ^ key[1:2]
    x = (x ^ (x >> xp.uint32(15))) * xp.uint32(_MULTIPLY_2)
    x = (x ^ (x >> xp.uint32(16))) >> xp.uint32(32 - _BITS)
    fractions = x.astype(xp.float32) * xp.float32(2.0**-_BITS)
    return fractions.reshape(batch_size, num_masks, 2)


def augment(
    xp: Any,
    config: SpecAugment,
    features: Any,
    paddings: Any,
    uniforms: Any,
    positions: Any,
) -> Any:
    """The features with stretches of frames and of mel bins set to 0.

    features: [batch, frames, bins]; paddings: [batch, frames]; uniforms: of this
    module; positions: float32 [at least as many as frames and as bins], 0, 1, 2, …
    """
    _, frames, bins = features.shape
    valid = xp.sum(1 - paddings, axis=1)[:, None]  # [batch, 1]
    share = config.max_time_share
    time = uniforms[:, : config.time_masks]
    lengths = xp.minimum(
        xp.floor(time[..., 0] * share * valid),
        xp.clip(xp.floor(share * valid), min=1.0),
    )
    frame_masked = _masked(xp, lengths, time[..., 1], valid, positions[:frames])
    frequency = uniforms[:, config.time_masks :]
    widths = xp.clip(
        xp.floor(frequency[..., 0] * config.max_frequency_bins), max=float(bins)
    )
    bin_masked = _masked(xp, widths, frequency[..., 1], bins, positions[:bins])
    masked = frame_masked[:, :, None] | bin_masked[:, None, :]
    return xp.where(masked, xp.zeros_like(features), features)


def _masked(xp: Any, lengths: Any, places: Any, size: Any, positions: Any) -> Any:
    """Whether a position is in any of the masks, bool [batch, positions].

    lengths, places: [batch, masks], the latter in [0, 1); size: of the range that a
    mask lies in.
    """
    starts = xp.floor(places * (size - lengths + 1))[..., None]
    inside = (positions >= starts) & (positions < starts + lengths[..., None])
    return xp.any(inside, axis=1)
