"""The prepared SVHN: images uint8 [n, 32, 32, 3], and labels 0 to 9, the digits."""

from algoperf.datasets._images.stored import LabelledImages, read_split

__all__ = ["DATASET", "FORMAT_VERSION", "LabelledImages", "read_split"]

DATASET = "svhn"
FORMAT_VERSION = 1
