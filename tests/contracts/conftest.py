"""What the contract tests share: the embedded data, prepared once."""

from collections.abc import Callable
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
