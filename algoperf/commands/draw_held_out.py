"""`algoperf draw-held-out`: which variants are held out, from a public seed."""

import argparse

from algoperf import registry, rulesets
from algoperf.commands import output

EXAMPLES = """\
examples:
  algoperf draw-held-out --seed 20261201"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument(
        "--seed",
        required=True,
        metavar="TEXT",
        help="Public seed, fixed after the submission deadline.",
    )
    parser.add_argument(
        "--rules",
        default=rulesets.DEFAULT_RULESET,
        choices=list(rulesets.RULESETS),
        help="Ruleset to draw for (default: %(default)s).",
    )
    output.add_json(parser, "the drawn workloads")


def execute(options: argparse.Namespace) -> int:
    """Prints one workload per line."""
    output.check(options.json)
    draw = registry.scoring_module("held_out").draw_from_registry
    names = list(draw(options.seed, rulesets.ruleset(options.rules)))
    if options.json is not None:
        facts = {"seed": options.seed, "rules": options.rules, "workloads": names}
        output.write_json(options.json, facts, "Held-out workloads")
    if options.json != output.STDOUT:
        output.say("\n".join(names))
    return 0
