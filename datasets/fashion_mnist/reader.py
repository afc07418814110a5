"""The prepared Fashion-MNIST: images uint8 [n, 28, 28, 1], and labels 0 to 9."""

from algoperf.datasets._images.stored import LabelledImages, read_split

__all__ = ["DATASET", "FORMAT_VERSION", "LabelledImages", "read_split"]

DATASET = "fashion_mnist"
FORMAT_VERSION = 1
