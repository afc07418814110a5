"""Compiled programs of JAX are kept for the session: many tests compile the same."""

import importlib.util
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def jax_cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A temporary folder for JAX's own cache, shared by the modules of this folder."""
    return str(tmp_path_factory.mktemp("jax_cache"))


@pytest.fixture(scope="module", autouse=True)
def compile_each_program_once(jax_cache: str) -> Iterator[None]:
    """Turns the cache on; after each module the settings are put back for other tests."""
    if importlib.util.find_spec("jax") is None:
        yield
        return
    import jax

    changed = {
        "jax_compilation_cache_dir": jax_cache,
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
        # Programs are small here: compiling them takes longer than running them.
        "jax_disable_most_optimizations": True,
    }
    before = {name: jax.config.values[name] for name in changed}
    for name, value in changed.items():
        jax.config.update(name, value)
    yield
    for name, value in before.items():
        jax.config.update(name, value)
