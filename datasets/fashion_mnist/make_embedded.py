"""Makes the files in embedded/ from the complete Fashion-MNIST.

    apt-get download dataset-fashion-mnist && dpkg -x dataset-fashion-mnist*.deb here
    python -m algoperf.datasets.fashion_mnist.make_embedded \\
        here/usr/share/datasets/fashion-mnist

Of each class the first 300 training images go to train and the next 100 to validation
(together the train files, in this order), and the first 100 test images to test. Each
part keeps the order of the source.
"""

import argparse
from pathlib import Path

import numpy as np

from algoperf.datasets._images import idx

# File: for each part of the embedded file, its images of a class.
_PARTS = {"train": ((0, 300), (300, 400)), "t10k": ((0, 100),)}


def chosen_rows(labels: np.ndarray, parts: tuple[tuple[int, int], ...]) -> np.ndarray:
    """Row numbers of an embedded file. parts: a range of the images of each class."""
    by_class = [np.flatnonzero(labels == label) for label in range(10)]
    return np.concatenate(
        [
            np.sort(np.concatenate([rows[first:end] for rows in by_class]))
            for first, end in parts
        ]
    )


def make_embedded(source: Path, folder: Path) -> None:
    """Writes the four files in the official layout."""
    for name, parts in _PARTS.items():
        files = f"{name}-images-idx3-ubyte.gz", f"{name}-labels-idx1-ubyte.gz"
        images = idx.read(source / files[0], "images")
        labels = idx.read(source / files[1], "labels")
        rows = chosen_rows(labels, parts)
        idx.write(folder / files[0], images[rows])
        idx.write(folder / files[1], labels[rows])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="folder with the four official files")
    make_embedded(parser.parse_args().source, Path(__file__).parent / "embedded")
