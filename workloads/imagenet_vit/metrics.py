"""Accuracy and mean loss of images."""

from algoperf.metrics import classification_outputs as outputs
from algoperf.metrics import summarise_classification as summarise

__all__ = ["outputs", "summarise"]
