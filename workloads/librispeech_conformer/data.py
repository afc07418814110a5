"""Batches of utterances: those of the data set."""

from algoperf.datasets.librispeech.batches import open_batches

__all__ = ["open_batches"]
