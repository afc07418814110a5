"""Simulated MR measurements of a real brain: the shipped data in the official layout.

Each volume is a slab of the ICBM 152 T1 average, cut along one of its three axes, with
random position, contrast, smooth phase and noise, measured on a grid that is wider than
the image that is made of it, as in the official data. Slabs belong to one split each
and are 4 mm apart, so that no piece of brain in the same direction is in two splits.
"""

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SIDE = 64  # pixels
_PIXEL = 1.25  # voxels of the template, which are 2 mm wide
_WIDTHS = (64, 68, 72, 76, 80)  # columns of k-space
_SEED = 20261
_SLICES, _SPACING = 6, 8  # of a slab, in voxels
# The template's slices with much brain: from, to; left-right, back-front, bottom-top.
# The brain is almost symmetric, so only one half of it is cut from left to right.
_EXTENTS = ((6, 38), (8, 82), (8, 70))
_SLABS = {"train": 12, "validation": 4, "test": 4}
_SCANS = {"train": 14, "validation": 5, "test": 5}  # of each slab
# How a scan's slab lies on the measured grid: turned by any angle, size and centre …
_SIZES, _SHIFT = (0.75, 1.2), 8.0  # … in pixels a pixel, and voxels


@dataclass(frozen=True)
class Slab:
    """Slices `first` to `first + 6` of the template, across one of its axes."""

    axis: int
    first: int


def read_template(path: Path) -> np.ndarray:
    """The brain: float32 [73, 91, 78], 0 to 1; left-right, back-front, bottom-top."""
    with gzip.open(path) as file:
        brain: np.ndarray = np.load(file)
    return brain.astype(np.float32) / 255


def slabs() -> dict[str, list[Slab]]:
    """The slabs of each split, drawn with a fixed seed."""
    found = [
        Slab(axis, first)
        for axis, (begin, end) in enumerate(_EXTENTS)
        for first in range(begin, end - _SPACING + 1, _SPACING)
    ]
    order = iter(np.random.Generator(np.random.Philox(_SEED)).permutation(len(found)))
    return {
        split: [found[next(order)] for _ in range(number)]
        for split, number in _SLABS.items()
    }


def simulate(
    template: np.ndarray,
) -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray]]]:
    """All volumes: the folder ("train" or "val"), k-space and target.

    Those of validation come before those of test, which are in the same folder.
    """
    number = 0
    for split, chosen in slabs().items():
        for _ in range(_SCANS[split]):
            for slab in chosen:
                seed = np.random.SeedSequence((_SEED, number))
                rng = np.random.Generator(np.random.Philox(seed))
                yield "train" if split == "train" else "val", scan(template, slab, rng)
                number += 1


def scan(
    template: np.ndarray, slab: Slab, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """k-space complex64 [6, 128, W] and the target float32 [6, 64, 64]."""
    width = int(rng.choice(_WIDTHS))
    slices = np.moveaxis(template, slab.axis, 0)[slab.first : slab.first + _SLICES]
    anatomy = _contrast(_positioned(slices, width, rng), rng)
    noise = rng.normal(size=(2, *anatomy.shape)) * rng.uniform(0.002, 0.005)
    image = anatomy * np.exp(1j * _smooth_phase(width, rng)) + noise[0] + 1j * noise[1]
    image *= np.exp(rng.normal(-9, 0.5))  # the scale of official data, about 1e-4
    shifted = np.fft.ifftshift(image, axes=(1, 2))
    kspace = np.fft.fftshift(np.fft.fft2(shifted, norm="ortho"), axes=(1, 2))
    top, left = SIDE // 2, (width - SIDE) // 2
    target = np.abs(image[:, top : top + SIDE, left : left + SIDE])
    return kspace.astype(np.complex64), target.astype(np.float32)


def _positioned(slices: np.ndarray, width: int, rng: np.random.Generator) -> np.ndarray:
    """Turned, scaled, moved and mirrored, on the measured grid: [6, 128, width]."""
    angle, size = rng.uniform(-np.pi, np.pi), _PIXEL * rng.uniform(*_SIZES)
    turn = size * np.array(
        [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    )
    turn[:, 1] *= rng.choice([-1, 1])
    grid = np.indices((2 * SIDE, width)) - np.array([SIDE, width / 2])[:, None, None]
    shape = np.array(slices.shape[1:])
    centre = (shape - 1) / 2 + rng.uniform(-_SHIFT, _SHIFT, 2)
    # Rows run from front or top to back or bottom.
    rows, columns = centre[:, None, None] + np.einsum(
        "ij,jrc->irc", turn[::-1] * [[1], [-1]], grid
    )
    return _bilinear(slices, rows, columns)


def _bilinear(slices: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Values between the pixels of slices [n, h, w]; 0 outside: [n, *rows.shape]."""
    padded = np.pad(slices, ((0, 0), (1, 1), (1, 1)))
    height, width = slices.shape[1:]
    rows = np.clip(rows + 1, 0, height + 0.999)
    columns = np.clip(columns + 1, 0, width + 0.999)
    top, left = rows.astype(int), columns.astype(int)
    down, right = rows - top, columns - left
    values: np.ndarray = (
        padded[:, top, left] * (1 - down) * (1 - right)
        + padded[:, top, left + 1] * (1 - down) * right
        + padded[:, top + 1, left] * down * (1 - right)
        + padded[:, top + 1, left + 1] * down * right
    )
    return values


def _contrast(anatomy: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another relation of brightness to tissue; the largest value is 1."""
    if rng.random() < 1 / 3:  # grey matter brighter than white matter
        anatomy = anatomy * (1.2 - anatomy)
    else:
        anatomy = anatomy ** rng.uniform(0.7, 1.6)
    brightest: float = anatomy.max()
    return anatomy / brightest


def _smooth_phase(width: int, rng: np.random.Generator) -> np.ndarray:
    """A few slow waves in random directions, radians: [128, width]."""
    rows, columns = np.indices((2 * SIDE, width)) / SIDE
    waves = rng.normal(size=(4, 2))
    starts = rng.uniform(0, 2 * np.pi, 4)
    phase: np.ndarray = sum(
        np.cos(down * rows + right * columns + start) / 2
        for (down, right), start in zip(waves, starts, strict=True)
    )
    return phase
