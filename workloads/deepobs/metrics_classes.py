"""Accuracy and mean loss, the term of the parameters included, of images' classes."""

from algoperf.metrics import classification_outputs as outputs
from algoperf.metrics import summarise_classification as summarise

__all__ = ["outputs", "summarise"]
