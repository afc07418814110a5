"""Batches of ImageNet: those of the data set, see `algoperf.datasets.imagenet.batches`."""

from algoperf.datasets.imagenet.batches import open_batches

__all__ = ["open_batches"]
