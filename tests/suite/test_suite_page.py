"""docs/suite.md: its options exist, and its commands are understood."""

import re
from pathlib import Path

import pytest

from algoperf import cli
from algoperf.suite import make_baselines

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "suite.md").read_text()


def test_every_option_of_the_page_exists(capsys):
    with pytest.raises(SystemExit):
        cli.main(["suite", "--help"])
    with pytest.raises(SystemExit):
        make_baselines.main(["--help"])
    known = set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out))
    found = set(re.findall(r"--[a-z][a-z-]+", PAGE))
    assert found - known == set()
    assert "--early-stop" in found


def test_the_page_says_where_baselines_lie_and_how_they_are_made():
    assert "algoperf/suite/logs_FRAMEWORK.json" in PAGE
    assert "python -m algoperf.suite.make_baselines --framework jax" in PAGE
