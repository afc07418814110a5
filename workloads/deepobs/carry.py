"""What the recurrent network carries from batch to batch, the same in both frameworks."""

import numpy as np

from .architectures import CharactersConfig


def initial_carry(config: CharactersConfig) -> dict[str, np.ndarray]:
    """Nothing was read before."""
    zeros = np.zeros((0, config.num_layers, config.hidden_dim), np.float32)
    return {"hidden": zeros, "cell": zeros}
