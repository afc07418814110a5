"""The fixed positions that are added to the patches of an image, for both frameworks."""

import numpy as np

_LONGEST = 10_000  # wavelengths are 2 pi times 1 … 10,000 patches


def sin_cos_positions(rows: int, columns: int, width: int) -> np.ndarray:
    """Float32 [rows * columns, width]: a vector for each patch, row by row.

    With frequencies w_k = 10000^(-k / (width / 4 - 1)), k = 0 … width / 4 - 1, the patch
    in row y and column x has [sin(x w), cos(x w), sin(y w), cos(y w)]. width: a
    multiple of 4, at least 8.
    """
    count = width // 4
    frequencies = _LONGEST ** (-np.arange(count) / (count - 1))
    y, x = np.indices((rows, columns)).reshape(2, -1, 1) * frequencies
    waves = np.concatenate([np.sin(x), np.cos(x), np.sin(y), np.cos(y)], axis=1)
    return waves.astype(np.float32)
