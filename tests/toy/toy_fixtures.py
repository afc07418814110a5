"""Fixtures for tests that write submissions for the toy benchmark and run them in processes."""

from collections.abc import Callable
from pathlib import Path

import pytest
from processes import TOY_FOLDER, environment

from algoperf.runner.settings import Settings

_RETURN = "    return state, params, model_state\n"


@pytest.fixture
def toy_in_processes(
    toy: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Settings]:
    """As `toy`; child processes know the toy benchmark too."""
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    return lambda **changes: toy(**{"num_trials": 1, "isolate": True, **changes})


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Writes a submission: the toy one, with code before its update returns, and on top."""

    def write(update: str = "pass", top: str = "", end: str = "") -> Path:
        head, tail = (TOY_FOLDER / "sgd.py").read_text().split(_RETURN)
        lines = "".join(f"    {line}\n" for line in update.splitlines())
        folder = tmp_path / "own"
        folder.mkdir(exist_ok=True)
        path = folder / "submission.py"
        path.write_text(f"{top}\n{head}{lines}{_RETURN}{tail}\n{end}\n")
        return path

    return write
