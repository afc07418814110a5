"""`docs/data.md` says of every data set what its `prepare.py` offers."""

import re
from pathlib import Path

import pytest

from algoperf import cli, registry

PAGE = (Path(__file__).parents[1] / "docs" / "data.md").read_text()
ROWS = {
    match[1]: [cell.strip() for cell in match[0].split("|")[1:-1]]
    for match in re.finditer(r"^\| `(\w+)` \|.*$", PAGE, re.M)
}


def test_every_data_set_has_a_row():
    assert sorted(ROWS) == registry.folders("datasets")


@pytest.mark.parametrize("name", registry.folders("datasets"))
def test_a_row_says_where_the_data_can_come_from(name):
    module = registry.dataset_module(name, "prepare")
    *_, download, tfds, published = ROWS[name]
    assert (download == "yes") == hasattr(module, "download")
    assert re.findall(r"`([^`]+)`", tfds) == list(getattr(module, "TFDS", ()))
    for folder in getattr(module, "PUBLISHED", ()):
        assert folder in published
    assert (published == "\N{EN DASH}") == (not hasattr(module, "PUBLISHED"))


def test_every_command_of_the_page_is_understood():
    commands = re.findall(r"`algoperf (prepare [^`]+)`", PAGE)
    assert len(commands) > 8
    for command in commands:
        words = (
            re.sub(r"\[:DIR\]", ":DIR", command).replace("subset N", "subset 3").split()
        )
        assert cli._parser().parse_args(words).name == "NAME"
