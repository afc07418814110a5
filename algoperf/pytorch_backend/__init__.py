"""The PyTorch backend: `algoperf.backend.load("pytorch")` calls `make_backend`."""

from algoperf.pytorch_backend.backend import make_backend

__all__ = ["make_backend"]
