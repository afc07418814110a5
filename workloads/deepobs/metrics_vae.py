"""The loss of the variational autoencoders (sheet, §2.4)."""

from typing import Any

from .metrics_points import outputs, summarise

__all__ = ["example_losses", "outputs", "summarise"]


def example_losses(xp: Any, labels: Any, logits: Any) -> Any:
    """Squared error, summed over the pixels, plus the divergence from the prior: [batch].

    labels: images [batch, 28, 28, 1]. logits: what the model returns: reconstruction
    [batch, 784], mean and log deviation [batch, latent].
    """
    reconstruction, mean, log_stddev = logits
    pixels = xp.reshape(labels, (labels.shape[0], -1))
    error = xp.sum((reconstruction - pixels) ** 2, axis=1)
    spread = 1 + 2 * log_stddev - mean**2 - xp.exp(2 * log_stddev)
    return error - 0.5 * xp.sum(spread, axis=1)
