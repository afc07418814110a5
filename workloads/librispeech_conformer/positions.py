"""Fixed positions of frames; numpy alone."""

import numpy as np

_LONGEST_PERIOD = 10_000.0


def sinusoids(num_positions: int, width: int) -> np.ndarray:
    """[sin(t w) | cos(t w)] with w from 1 to 1/10000, float32 [positions, width]."""
    half = width // 2
    rates = _LONGEST_PERIOD ** (-np.arange(half) / (half - 1))
    phases = np.arange(num_positions)[:, np.newaxis] * rates
    return np.concatenate([np.sin(phases), np.cos(phases)], axis=1).astype(np.float32)
