"""The PyTorch backend: `algoperf.backend.load("pytorch")` calls `make_backend`."""

from algoperf.pytorch_backend.backend import make_backend
from algoperf.pytorch_backend.distributed import check_processes

__all__ = ["check_processes", "make_backend"]
