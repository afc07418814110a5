"""Structural similarity of reconstruction and target, on the device."""

import functools
import operator
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

_WINDOW = 7  # pixels
_K1, _K2 = 0.01, 0.03


def outputs(
    xp: Any, logits: Any, batch: Mapping[str, Any], per_example: Any
) -> dict[str, Any]:
    """`ssim`, `loss` and `weights`, each [batch].

    xp: the array namespace. logits: [batch, side, side], normalised as `targets` are by
    `mean` and `std` [batch]; `volume_max` [batch]; per_example: the loss, [batch].
    """
    mean, std = batch["mean"][:, None, None], batch["std"][:, None, None]
    similarity = ssim(
        xp, logits * std + mean, batch["targets"] * std + mean, batch["volume_max"]
    )
    return {"ssim": similarity, "loss": per_example, "weights": batch["weights"]}


def ssim(xp: Any, images: Any, references: Any, value_range: Any) -> Any:
    """Mean structural similarity with uniform 7 x 7 windows: [batch], -1 to 1.

    images, references: float [batch, height, width]; value_range: [batch], the largest
    possible difference; where it is 0 (padding), 1 is taken. Windows that reach beyond
    the border do not count. As scikit-image's with its default window.
    """
    value_range = xp.where(value_range > 0, value_range, xp.ones_like(value_range))
    scale = (1 / value_range)[:, None, None]
    x, y = images * scale, references * scale
    if xp.__name__ == "jax.numpy" or str(x.device) != "cpu":
        # Stacked, as XLA would compute products anew for each place in a window.
        means = _window_means(xp.stack(_terms(x, y), axis=1))
        return _mean_similarity(xp, *(means[:, i] for i in range(4)))
    # What is computed of one image stays in a processor's cache.
    return xp.concat(
        [
            _mean_similarity(
                xp, *map(_window_means, _terms(x[i : i + 1], y[i : i + 1]))
            )
            for i in range(len(x))
        ]
    )


def _terms(x: Any, y: Any) -> tuple[Any, Any, Any, Any]:
    """Whose means in a window are needed. The variances are only used as a sum."""
    return x, y, x * x + y * y, x * y


def _mean_similarity(xp: Any, ux: Any, uy: Any, squares: Any, products: Any) -> Any:
    """From the means in each window, [batch, rows, columns], to [batch]."""
    sample = _WINDOW**2 / (_WINDOW**2 - 1)
    c1, c2 = _K1**2, _K2**2
    uxy, uu = ux * uy, ux * ux + uy * uy
    similarity = (2 * uxy + c1) * (2 * sample * (products - uxy) + c2)
    similarity = similarity / ((uu + c1) * (sample * (squares - uu) + c2))
    return xp.clip(xp.mean(similarity, axis=(1, 2)), -1, 1)


def _window_means(x: Any) -> Any:
    """Means of all whole windows: [..., height - 6, width - 6]."""
    rows = x.shape[-2] - _WINDOW + 1
    columns = x.shape[-1] - _WINDOW + 1
    x = _total(x[..., i : i + rows, :] for i in range(_WINDOW))
    return _total(x[..., i : i + columns] for i in range(_WINDOW)) * (1 / _WINDOW**2)


def _total(arrays: Iterable[Any]) -> Any:
    """Their sum; the built-in one would begin with a pass that adds 0."""
    return functools.reduce(operator.add, arrays)


def summarise(outputs: Iterable[Mapping[str, np.ndarray]]) -> dict[str, float]:
    """`ssim` and `loss`, means over the slices of a split, and `num_examples`.

    outputs: those of its batches. Padding does not count; what is not finite stays so.
    """
    similarity = loss = total = 0.0
    for batch in outputs:
        is_real = batch["weights"] > 0
        weights = batch["weights"][is_real].astype(np.float64)
        similarity += float(np.sum(weights * batch["ssim"][is_real]))
        loss += float(np.sum(weights * batch["loss"][is_real]))
        total += float(np.sum(weights))
    return {"ssim": similarity / total, "loss": loss / total, "num_examples": total}
