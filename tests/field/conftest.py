"""Compiles each step once for all tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def compiled_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What one test has compiled with JAX in this process, no other one compiles again."""
    folder = tmp_path_factory.mktemp("compiled")
    try:
        import jax
        from jax.experimental.compilation_cache import compilation_cache
    except ImportError:
        yield folder
        return
    settings = {
        "jax_compilation_cache_dir": str(folder),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()  # whether there is one is asked only once
    yield folder
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
