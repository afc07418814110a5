"""Fixtures that several tests share: the toy benchmark, and a time that stands still."""

import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from algoperf import frameworks, registry
from algoperf.runner.fairness import loaded_code
from algoperf.runner.settings import Settings
from tests import core_selection

TOY_FOLDER = Path(__file__).parent / "toy"
sys.path.insert(0, str(TOY_FOLDER))


# Processes that are started in the background ignore it, and so would all that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


# Its examples would be kept in the checkout, which an image does not let write.
hypothesis.settings.register_profile("algoperf", database=None)
hypothesis.settings.load_profile("algoperf")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--core",
        action="store_true",
        help="run only the tests of the core, and let nothing import a framework",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--core"):
        # None is what Python takes for a module that must not be imported.
        sys.modules.update(dict.fromkeys(core_selection.FRAMEWORKS))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if not config.getoption("--core") or not collection_path.match("test_*.py"):
        return None  # leaves the decision to others
    return None if core_selection.is_core(collection_path) else True


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """What tests write need not survive a power failure."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


class FakeTime:
    """A clock's `now` that moves only when told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def fake_time() -> FakeTime:
    return FakeTime()


@pytest.fixture(scope="module")
def strict_promotion() -> Iterator[None]:
    """JAX refuses to bring arrays of two types to a common one: the code says to which."""
    if importlib.util.find_spec("jax") is None:
        yield
        return
    import jax

    with jax.numpy_dtype_promotion("strict"):
        yield


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Settings]:
    """Makes the toy workload and backend known; returns a maker of settings for it."""
    import toy_workload

    definition = toy_workload.DEFINITION
    known = {name: definition.named(name) for name in definition.names()}
    monkeypatch.setattr(registry, "definitions", lambda: known)
    monkeypatch.setattr(registry, "module", lambda wing, folder, name: toy_workload)
    monkeypatch.setitem(
        frameworks.FRAMEWORKS, "toy", frameworks.Framework("toy_backend", "toy")
    )
    # A worker has loaded both frameworks and much else: looking through all of it at every
    # evaluation takes most of a test. Tests of fairness look.
    monkeypatch.setattr(loaded_code, "_watched_modules", lambda: iter(()))
    toy_workload.prepare(tmp_path / "data")
    space = tmp_path / "space.json"
    space.write_text('{"learning_rate": {"min": 0.05, "max": 0.5, "scaling": "log"}}')

    def settings(**changes: object) -> Settings:
        values = {
            "submission_path": TOY_FOLDER / "sgd.py",
            "framework": "toy",
            "workload": "blobs",
            "experiment_dir": tmp_path / "experiments",
            "experiment_name": "sgd",
            "data_dir": tmp_path / "data",
            "search_space": space,
            "num_trials": 2,
            "num_studies": 1,
            "isolate": False,
        }
        return Settings(**{**values, **changes})

    return settings
