"""One word per idea in the fields of model configs: the table of docs/architecture.md."""

import dataclasses
import re
from pathlib import Path

import pytest

from algoperf import registry

PAGE = Path(__file__).parents[2] / "docs" / "architecture.md"
# What a count is called when it does not say so.
_SPARE = re.compile(r"^(n|number_of|nr|count)_")


def vocabulary() -> dict[str, str]:
    """The right word for every refused one."""
    table = PAGE.read_text().partition("| Field | Idea | Not |")[2].split("\n\n")[0]
    right = {}
    for line in table.splitlines()[2:]:
        good, _, bad = line.strip("| ").split(" | ")
        first = re.findall(r"\w+", good)[0]
        right |= dict.fromkeys(re.findall(r"\w+", bad), first)
    return right


VOCABULARY = vocabulary()


def complaints(config: object) -> list[str]:
    found = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name in VOCABULARY:
            found.append(f"{field.name}: say {VOCABULARY[field.name]}")
        if isinstance(value, bool) and not field.name.startswith(("is_", "has_")):
            found.append(f"{field.name}: a bool starts with is_ or has_")
        if _SPARE.search(field.name):
            found.append(f"{field.name}: a count starts with num_")
    return found


def test_the_table_is_read_and_refuses_no_word_that_it_asks_for():
    assert VOCABULARY["heads"] == "num_heads" and len(VOCABULARY) > 60
    assert not set(VOCABULARY) & set(VOCABULARY.values())


def test_synonyms_bare_bools_and_odd_counts_are_found():
    names = [("depth", 2), ("residual", True), ("n_blocks", 3), ("num_layers", 1)]
    config = dataclasses.make_dataclass("Config", [name for name, _ in names])
    told = complaints(config(*(value for _, value in names)))
    assert [text.partition(":")[0] for text in told] == [
        "depth",
        "residual",
        "residual",
        "n_blocks",
    ]


@pytest.mark.parametrize("name", registry.definitions())
def test_a_models_config_has_the_one_word_for_each_idea(name):
    assert complaints(registry.definition(name).model) == []
