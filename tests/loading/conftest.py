"""Writes trees of files with submissions in them."""

import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

FUNCTIONS = """
def get_batch_size(workload_name):
    return SIZE

def init_optimizer_state(workload, model_params, model_state, hyperparameters, rng):
    return {}

def update_params(workload, current_param_container, current_params_types, model_state,
                  hyperparameters, batch, loss_type, optimizer_state, eval_results,
                  global_step, rng):
    return optimizer_state, current_param_container, model_state

def data_selection(workload, input_queue, optimizer_state, current_param_container,
                   model_state, hyperparameters, global_step, rng):
    return next(input_queue)
"""


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes files by relative path; one that begins with `!` gets the API's functions too."""
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write(files: Mapping[str, str]) -> Path:
        main = tmp_path
        for name, content in files.items():
            path = tmp_path / name.removeprefix("!")
            path.parent.mkdir(parents=True, exist_ok=True)
            if name.startswith("!"):
                main, content = path, content + FUNCTIONS
            path.write_text(content)
        importlib.invalidate_caches()
        return main

    return write
