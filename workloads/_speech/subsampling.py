"""Geometry of the two strided convolutions in front of both models."""

KERNEL = 3
STRIDE = 2
# Frames before the first window of each convolution. Published: TensorFlow's "same"
# rule on 1,998 and 999 frames; kept for signals of any other length, so that cutting
# padding off moves no window.
TIME_BEFORE = (0, 1)
MEL_BEFORE = (0, 0)


def halved(size: int) -> int:
    """Positions after a strided convolution."""
    return -(-size // STRIDE)


def padding(size: int, before: int) -> tuple[int, int]:
    """Zeros before and after, for `halved(size)` windows the first of which starts there."""
    after = (halved(size) - 1) * STRIDE + KERNEL - size - before
    return before, after
