"""Structural similarity of reconstruction and target, on the device."""

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
    x = images / value_range[:, None, None]
    y = references / value_range[:, None, None]
    num_pixels = _WINDOW**2
    ux, uy = _window_sums(x) / num_pixels, _window_sums(y) / num_pixels
    sample = num_pixels / (num_pixels - 1)
    uxx, uyy, uxy = ux * ux, uy * uy, ux * uy
    # The variances are only used as a sum.
    variances = sample * (_window_sums(x * x + y * y) / num_pixels - uxx - uyy)
    covariance = sample * (_window_sums(x * y) / num_pixels - uxy)
    c1, c2 = _K1**2, _K2**2
    similarity = (2 * uxy + c1) * (2 * covariance + c2)
    similarity = similarity / ((uxx + uyy + c1) * (variances + c2))
    return xp.clip(xp.mean(similarity, axis=(1, 2)), -1, 1)


def _window_sums(x: Any) -> Any:
    """Sums over all whole windows: [batch, height - 6, width - 6]."""
    rows = x.shape[1] - _WINDOW + 1
    columns = x.shape[2] - _WINDOW + 1
    # Windows of 7 are made of windows of 4, 2 and 1: four additions instead of six.
    twos = x[:, :-1, :] + x[:, 1:, :]
    fours = twos[:, :-2, :] + twos[:, 2:, :]
    x = fours[:, :rows, :] + twos[:, 4 : 4 + rows, :] + x[:, 6:, :]
    twos = x[:, :, :-1] + x[:, :, 1:]
    fours = twos[:, :, :-2] + twos[:, :, 2:]
    return fours[:, :, :columns] + twos[:, :, 4 : 4 + columns] + x[:, :, 6:]


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
