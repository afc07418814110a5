"""Campaigns of the toy benchmark."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import environment
from toy_fixtures import written

from algoperf.campaign.plan import Entry, Plan

__all__ = ["make_plan", "toy_everywhere", "written"]


@pytest.fixture
def make_plan(toy, tmp_path: Path) -> Callable[..., Plan]:
    """Makes plans of one toy submission with two studies of two trials."""
    settings = toy()

    def make(**changes: object) -> Plan:
        entry = Entry(
            settings.submission_path, "sgd", "toy", "external", settings.search_space
        )
        values = {
            "name": "test",
            "folder": tmp_path / "campaign",
            "submissions": (entry,),
            "workloads": ("blobs",),
            "data_dir": settings.data_dir,
            "studies": 2,
            "trials": 2,
            "notice_seconds": 5.0,
        }
        return Plan(**{**values, **changes})

    return make


@pytest.fixture
def toy_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Child processes know the toy benchmark too."""
    for name, value in environment().items():
        if os.environ.get(name) != value:
            monkeypatch.setenv(name, value)
