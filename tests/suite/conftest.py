"""The toy benchmark as a suite of one workload."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from algoperf.campaign import engines, stages
from algoperf.runner import experiment
from algoperf.suite import design

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "campaign")]


@pytest.fixture
def toy_suite(toy, monkeypatch: pytest.MonkeyPatch) -> Callable[..., object]:
    """The toy's settings; campaigns run their trials in this process."""
    from in_process import InProcess

    monkeypatch.setattr(design, "workloads", lambda: ("blobs",))
    monkeypatch.setattr(design, "QUICK", ("blobs",))
    monkeypatch.setattr(design, "RULESET", "v0.6")
    monkeypatch.setattr(engines, "make", lambda *arguments: InProcess())
    monkeypatch.setattr(stages, "examine", lambda *arguments: [])
    assert experiment.run
    return toy
