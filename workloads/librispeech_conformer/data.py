"""Batches of utterances, the same for both speech workloads."""

from .._speech.data import open_batches

__all__ = ["open_batches"]
