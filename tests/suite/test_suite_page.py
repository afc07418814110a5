"""docs/suite.md: its options exist, and its commands are understood."""

import re
from pathlib import Path

import pytest

from algoperf import cli
from algoperf.suite import baselines, make_baselines

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


def shipped_rows() -> dict[tuple[str, str, str], str]:
    """Steps by framework, workload and baseline, as the page's table has them."""
    table = PAGE.split("<!-- shipped -->")[1].split("<!-- /shipped -->")[0]
    header, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table.strip().splitlines()
    ]
    return {
        (row[0].lower(), row[1].strip("`"), NAMES[name]): cell
        for row in rows
        for name, cell in zip(header[2:], row[2:], strict=True)
    }


NAMES = {
    "NadamW": "nadamw",
    "AdamW": "adamw",
    "Schedule-Free AdamW": "schedule_free_adamw",
    "Cautious NadamW": "cautious_nadamw",
    "Nesterov": "nesterov",
}


@pytest.mark.parametrize("key", shipped_rows(), ids="-".join)
def test_the_runs_of_the_page_are_shipped(key):
    """More may have been added since; a dash says that there were none."""
    framework, workload, name = key
    cell = shipped_rows()[key]
    if cell == "-":
        return
    by_name = {results.name: results for results in baselines.shipped(framework)}
    runs = list(by_name[name].runs[workload].values())
    if cell.startswith("missed"):
        assert cell == f"missed {len(runs)} of {len(runs)}"
        assert not any(run.is_hit for run in runs)
    else:
        stated = cell.split(", ")
        assert [f"{run.steps:.0f}" for run in runs[: len(stated)]] == stated
