"""Batches of ImageNet, the same for both of its workloads."""

from .._imagenet.data import open_batches

__all__ = ["open_batches"]
