"""Reads what tensorflow-datasets has prepared, without TensorFlow and without that package."""

from algoperf.tfds.examples import Example
from algoperf.tfds.folders import TfdsFolder, default_root
from algoperf.tfds.order import stored_order

__all__ = ["Example", "TfdsFolder", "default_root", "stored_order"]
