"""What the word error rate and the loss need of a batch, reduced on the device.

Written once against the array API: logits would be gigabytes.
"""

from collections.abc import Mapping
from typing import Any

from algoperf.losses import ctc_frames_needed

BLANK = 0


def outputs(
    xp: Any, logits: Any, batch: Mapping[str, Any], per_example: Any
) -> dict[str, Any]:
    """Arrays with the batch as first axis, for `summarise`.

    logits: (scores [batch, frames, vocabulary], paddings [batch, frames]); per_example:
    CTC loss [batch]. `decoded` int32 [batch, frames] and `targets` int32 [batch, n] are
    tokens, then 0; `num_tokens` and `num_infeasible` (0 or 1) count what the loss
    counted and what it left out, 0 for padding; `weights` [batch]: 0 for padding.
    """
    scores, frame_paddings = logits
    tokens, token_paddings = batch["targets"]
    is_frame, is_token = frame_paddings == 0, token_paddings == 0
    weights = batch.get("weights")
    weights = xp.ones_like(per_example) if weights is None else weights
    needed = ctc_frames_needed(tokens, is_token)
    is_feasible = needed <= xp.sum(xp.astype(is_frame, xp.int32), axis=1)
    num_tokens = xp.sum(xp.astype(is_token, weights.dtype), axis=1)
    return {
        "decoded": greedy(xp, scores, is_frame),
        "targets": xp.astype(xp.where(is_token, tokens, 0), xp.int32),
        "ctc_loss": per_example,
        "num_tokens": xp.where(is_feasible, num_tokens, 0.0) * weights,
        "num_infeasible": xp.where(is_feasible, 0.0, 1.0) * weights,
        "weights": weights,
    }


def greedy(xp: Any, scores: Any, is_frame: Any) -> Any:
    """The best token of each valid frame, repeats and blanks removed.

    scores: [batch, frames, vocabulary]; is_frame: bool [batch, frames], true before
    false. Result: int32 [batch, frames], tokens first, then 0.
    """
    best = xp.astype(xp.argmax(scores, axis=-1), xp.int32)
    none = xp.full_like(best[:, :1], -1)
    previous = xp.concat([none, best[:, :-1]], axis=1)
    is_kept = is_frame & (best != previous) & (best != BLANK)
    kept = xp.where(is_kept, best, xp.zeros_like(best))
    order = xp.argsort(xp.where(is_kept, 0, 1), axis=1, stable=True)
    return xp.take_along_axis(kept, order, axis=1)
