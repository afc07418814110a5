"""The toy benchmark as a suite of one workload."""

from collections.abc import Callable

import pytest
from in_process import InProcess

from algoperf.campaign import engines, stages
from algoperf.runner.settings import Settings
from algoperf.suite import design


@pytest.fixture
def toy_suite(
    toy: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Settings]:
    """The toy's settings; campaigns run their trials in this process."""
    monkeypatch.setattr(design, "workloads", lambda: ("blobs",))
    monkeypatch.setattr(design, "QUICK", ("blobs",))
    monkeypatch.setattr(design, "RULESET", "v0.6")
    monkeypatch.setattr(engines, "make", lambda *arguments: InProcess())
    monkeypatch.setattr(stages, "examine", lambda *arguments: [])
    return toy
