"""Positions of tokens as rotations; for both frameworks, in numpy."""

import math

import numpy as np


def rotations(length: int, width: int, base: float) -> tuple[np.ndarray, np.ndarray]:
    """Cosines and sines of every position's angles: float32 [length, width / 2].

    The features 2i and 2i + 1 of a head are turned by position * base**(-2i / width).
    """
    frequencies = base ** -(np.arange(0, width, 2) / width)
    angles = np.arange(length)[:, np.newaxis] * frequencies
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def initial_scale(length: int) -> float:
    """What products of normalised queries and keys are multiplied by, at the start."""
    return math.log2(length**2 - length)
