"""The prepared CIFAR-100: images uint8 [n, 32, 32, 3], and labels 0 to 99."""

from algoperf.datasets._images.stored import LabelledImages, read_split

__all__ = ["DATASET", "FORMAT_VERSION", "LabelledImages", "read_split"]

DATASET = "cifar100"
FORMAT_VERSION = 1
