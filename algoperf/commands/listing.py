"""`algoperf list`: shows workloads."""

import argparse
import shutil
import sys
from collections.abc import Sequence
from typing import Any, get_args

from algoperf import registry, rulesets
from algoperf.commands import output
from algoperf.definition import Tier, WorkloadDefinition

EXAMPLES = """\
examples:
  algoperf list
  algoperf list --tier mini
  algoperf list --variants --json workloads.json"""

_LESS_IMPORTANT = ("evaluated every s", "step hint", "tier", "test", "budget s")
_HEADER = (
    "workload",
    "tier",
    "metric",
    "validation",
    "test",
    "budget s",
    "step hint",
    "evaluated every s",
    "task",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument(
        "--variants", action="store_true", help="Also list the variants."
    )
    parser.add_argument(
        "--ruleset",
        default=rulesets.DEFAULT_RULESET,
        choices=list(rulesets.RULESETS),
        help="Ruleset whose budgets are shown (default: %(default)s).",
    )
    parser.add_argument(
        "--tier",
        choices=get_args(Tier),
        help="Only workloads of this tier; deepobs is shown where it is asked for.",
    )
    output.add_json(parser, "the workloads")


def execute(options: argparse.Namespace) -> int:
    """Prints a table of workloads."""
    output.check(options.json)
    rules = rulesets.ruleset(options.ruleset)
    shown = [
        definition
        for definition in registry.definitions().values()
        if (options.variants or definition.is_base or definition.is_mini)
        and (
            definition.tier == options.tier
            if options.tier
            else definition.tier != "deepobs"
        )
    ]
    if options.json is not None:
        content = {"workloads": [_facts(definition, rules) for definition in shown]}
        output.write_json(options.json, content, "Workloads")
    if options.json != output.STDOUT:
        rows = [_HEADER, *(_row(d, rules) for d in shown)]
        output.say(table(fitted(rows, _width())))
    return 0


def _width() -> int | None:
    """Of the terminal in characters; None without one."""
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    return shutil.get_terminal_size().columns if is_terminal else None


def fitted(rows: Sequence[tuple[str, ...]], width: int | None) -> list[tuple[str, ...]]:
    """The rows with as many columns as a terminal has room for; titles are cut last."""
    shown = list(rows)
    for column in _LESS_IMPORTANT:
        if width is None or _table_width(shown) <= width:
            return shown
        place = shown[0].index(column)
        shown = [row[:place] + row[place + 1 :] for row in shown]
    if width is None:
        return shown
    room = max(0, width - _table_width([row[:-1] for row in shown]) - 2)
    return [
        (*row[:-1], row[-1] if len(row[-1]) <= room else f"{row[-1][: room - 1]}…")
        for row in shown
    ]


def _table_width(rows: Sequence[Sequence[str]]) -> int:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return sum(widths) + 2 * (len(widths) - 1)


def _facts(definition: WorkloadDefinition, rules: rulesets.Ruleset) -> dict[str, Any]:
    """For programs; null for what the ruleset or the workload does not have."""
    target, limits = definition.target, definition.limits.get(rules.limits)
    return {
        "workload": definition.name,
        "base_workload": definition.base_name,
        "tier": definition.tier,
        "title": definition.title,
        "metric": target.metric,
        "comparison": target.comparison,
        "validation_target": target.validation,
        "test_target": target.test,
        "budget_seconds": limits.budget_seconds if limits else None,
        "step_hint": limits.step_hint if limits else None,
        "eval_period_seconds": definition.eval_period_for(rules) if limits else None,
    }


def _row(definition: WorkloadDefinition, rules: rulesets.Ruleset) -> tuple[str, ...]:
    """A dash stands for what the ruleset or the workload does not have."""
    target, limits = definition.target, definition.limits.get(rules.limits)
    return (
        definition.name,
        definition.tier,
        target.metric,
        f"{target.comparison} {target.validation:g}",
        "-" if target.test is None else f"{target.comparison} {target.test:g}",
        f"{limits.budget_seconds:,.0f}" if limits else "-",
        f"{limits.step_hint:,}" if limits else "-",
        f"{definition.eval_period_for(rules):,g}" if limits else "-",
        definition.title,
    )


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as aligned text columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)
