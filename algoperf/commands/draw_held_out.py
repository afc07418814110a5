"""`algoperf draw-held-out`: which variants are held out, from a public seed."""

import argparse

from algoperf import registry, rulesets
from algoperf.commands import output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument(
        "--seed",
        required=True,
        metavar="TEXT",
        help="public seed, fixed after the submission deadline",
    )
    parser.add_argument(
        "--rules",
        default=rulesets.DEFAULT_RULESET,
        choices=list(rulesets.RULESETS),
        help="ruleset to draw for (default: %(default)s)",
    )


def execute(options: argparse.Namespace) -> int:
    """Prints one workload per line."""
    draw = registry.scoring_module("held_out").draw_from_registry
    for name in draw(options.seed, rulesets.ruleset(options.rules)):
        output.say(name)
    return 0
