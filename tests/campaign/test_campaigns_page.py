"""The plans in docs/campaigns.md are plans."""

import re
from pathlib import Path

import pytest

from algoperf.campaign import plan_file
from algoperf.cli import main

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "campaigns.md").read_text()
PLANS = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
WORDS = re.findall(r"^algoperf (campaign (?:run|plan)[^\n#\\|]*)", PAGE, re.MULTILINE)


@pytest.fixture
def folder(tmp_path):
    """A folder that has what the root of a checkout has."""
    (tmp_path / "reference_algorithms").symlink_to(ROOT / "reference_algorithms")
    return tmp_path


@pytest.mark.parametrize("number", range(len(PLANS)))
def test_a_plan_of_the_page_can_be_read(folder, number):
    path = folder / "plan.toml"
    path.write_text(PLANS[number])
    plan = plan_file.load(str(path), {})
    assert len(plan.trial_plans()) > 0


def test_the_page_has_three_plans():
    assert len(PLANS) == 3


@pytest.mark.parametrize("name", plan_file.BUILT_IN)
def test_the_page_names_every_built_in_plan(name):
    assert f"| `{name}` |" in PAGE


def test_every_option_of_the_page_exists(capsys):
    with pytest.raises(SystemExit):
        main(["campaign", "run", "--help"])
    known = capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["campaign", "plan", "--help"])
    known += capsys.readouterr().out
    options = {o for line in WORDS for o in re.findall(r"--[a-z-]+", line)}
    assert options and all(option in known for option in options)
