"""What the contract tests share: the embedded data, prepared once."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from algoperf import cli, registry
from algoperf.definition import WorkloadDefinition


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def prepared(data_dir: Path) -> Callable[[str], WorkloadDefinition]:
    """Prepares a workload's embedded data once; returns its definition."""

    def prepare(name: str) -> WorkloadDefinition:
        definition = registry.definition(name)
        if not (data_dir / definition.prepared_name / "manifest.json").exists():
            assert cli.main(["prepare", name, "--data-dir", str(data_dir)]) == 0
        return definition

    return prepare


@pytest.fixture(scope="session", autouse=True)
def compiled_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What one test has compiled with JAX, no other one and no child process compiles."""
    jax = pytest.importorskip("jax")
    from jax.experimental.compilation_cache import compilation_cache

    settings = {
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("compiled")),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    with pytest.MonkeyPatch.context() as patch:
        before = {name: getattr(jax.config, name) for name in settings}
        for name, value in settings.items():
            jax.config.update(name, value)
            patch.setitem(os.environ, name.upper(), str(value))
        compilation_cache.reset_cache()  # whether there is one is asked only once
        yield
        for name, value in before.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()
