"""The JAX backend: `make_backend` is what `algoperf.backend.load("jax")` calls."""

from algoperf.jax_backend.backend import make_backend

__all__ = ["make_backend"]
