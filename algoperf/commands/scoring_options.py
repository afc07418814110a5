"""The arguments that all commands over scored logs share, and the leaderboard they ask for."""

import argparse
from pathlib import Path
from typing import Any

from algoperf import logs, registry
from algoperf.rulesets import DEFAULT_RULESET, RULESETS, TUNING_RULESETS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the folder of logs, and what decides how they are scored."""
    add = parser.add_argument
    add("directory", type=Path, metavar="DIR", help="folder that holds the logs")
    add(
        "--rules",
        default=DEFAULT_RULESET,
        choices=list(RULESETS),
        help="default: %(default)s",
    )
    add(
        "--tuning-ruleset",
        dest="tuning",
        choices=TUNING_RULESETS,
        help="default: as the logs say",
    )
    add(
        "--targets",
        type=Path,
        metavar="FILE",
        help="JSON file of targets and workloads; default: the workloads' definitions",
    )
    add(
        "--held-out",
        metavar="A,B,…",
        type=lambda text: [name for name in text.split(",") if name],
        help="held-out workloads; default: those in the targets file or the logs",
    )
    add("--studies", dest="num_studies", type=int, metavar="N", help="studies expected")
    add(
        "--reference",
        metavar="NAME",
        help="submission that speed-ups are measured against",
    )
    add(
        "--compat", action="store_true", help="repeat the published scorer's two errors"
    )
    add("--strict", action="store_true", help="make warnings errors")


def leaderboard(options: argparse.Namespace) -> Any:
    """The `Leaderboard` that the options ask for."""
    score = registry.scoring_module("leaderboard").score
    return score(
        logs.read(options.directory),
        options.rules,
        tuning=options.tuning,
        targets=options.targets,
        compat=options.compat,
        strict=options.strict,
        held_out=options.held_out,
        num_studies=options.num_studies,
        reference=options.reference,
    )
