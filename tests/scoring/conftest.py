"""Fixtures of tests that score a small folder of logs by the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from made_logs import SLOW, TARGETS, write_submission

from algoperf import cli


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two submissions on two workloads."""
    (tmp_path / "targets.json").write_text(json.dumps(TARGETS))
    write_submission(tmp_path / "logs/one")
    write_submission(tmp_path / "logs/two", SLOW)
    return tmp_path


@pytest.fixture
def run(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs `algoperf score` on the folder: status, stdout, stderr; never a traceback."""

    def call(*more: str, directory: Path = root / "logs") -> tuple[int, str, str]:
        targets = (
            () if "--targets" in more else ("--targets", str(root / "targets.json"))
        )
        words = ["score", str(directory), "--rules", "v0.5", *targets, *more]
        try:
            status = cli.main(words)
        except SystemExit as error:
            status = int(error.code or 0)
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return status, out, err

    return call
