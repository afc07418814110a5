"""The arguments that all commands over scored logs share, and the leaderboard they ask for."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from algoperf import logs, registry
from algoperf.commands.arguments import whole_number
from algoperf.errors import BadLogs
from algoperf.rulesets import DEFAULT_RULESET, RULESETS, TUNING_RULESETS

_MOST_STUDIES = 1_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the folders of logs, and what decides how they are scored."""
    add = parser.add_argument
    add(
        "directories",
        type=Path,
        nargs="+",
        metavar="DIR",
        help="Folder containing the logs; several are ranked together.",
    )
    add(
        "--rules",
        default=DEFAULT_RULESET,
        choices=list(RULESETS),
        help="Rules to score by (default: %(default)s).",
    )
    add(
        "--tuning-ruleset",
        dest="tuning",
        choices=TUNING_RULESETS,
        help="External tuning or self-tuning (default: as recorded in the logs).",
    )
    add(
        "--targets",
        type=Path,
        metavar="FILE",
        help="JSON file of targets and workloads (default: the workloads' definitions, "
        "then what the logs record).",
    )
    add(
        "--held-out",
        metavar="A,B,…",
        type=names,
        help="Held-out workloads, or none (default: those of the targets file, else those "
        "drawn for the ruleset, else those in the logs).",
    )
    add(
        "--studies",
        dest="num_studies",
        type=count(_MOST_STUDIES),
        metavar="N",
        help="Score the first N studies; a missing study counts as a miss.",
    )
    add(
        "--reference",
        metavar="NAME",
        help="Submission to measure speed-ups against.",
    )
    add(
        "--compat",
        action="store_true",
        help="Reproduce the published scorer exactly, including its two bugs.",
    )
    add("--strict", action="store_true", help="Treat warnings as errors.")


def leaderboard(options: argparse.Namespace) -> Any:
    """The `Leaderboard` that the options ask for."""
    score = registry.scoring_module("leaderboard").score
    found = scan_all(options.directories)
    return score(
        found.trials,
        options.rules,
        tuning=options.tuning,
        targets=options.targets,
        compat=options.compat,
        strict=options.strict,
        held_out=options.held_out,
        num_studies=options.num_studies,
        reference=options.reference,
        left_out=found.left_out,
    )


def scan_all(directories: Sequence[Path]) -> logs.Scan:
    """The trials of all folders; BadLogs where two of them hold the same trial."""
    if len(directories) == 1:
        return logs.scan(directories[0])
    trials: dict[logs.TrialId, logs.Trial] = {}
    left_out: list[str] = []
    for directory in directories:
        found = logs.scan(directory)
        for trial in found.trials:
            if (other := trials.setdefault(trial.id, trial)) is not trial:
                raise BadLogs(
                    f"{other.folder} and {trial.folder} are both trial {trial.id.trial} of "
                    f"{trial.id.submission}, study {trial.id.study}, {trial.id.workload}. "
                    "Give each folder once, and submissions names of their own."
                )
        left_out += [f"{directory}: {phrase}" for phrase in found.left_out]
    return logs.Scan(list(trials.values()), tuple(left_out))


def count(most: int) -> Callable[[str], int]:
    """A whole number from 1 to `most`."""

    def parse(text: str) -> int:
        value = whole_number(text)
        if not 1 <= value <= most:
            raise argparse.ArgumentTypeError(
                f"must be between 1 and {most:,}, not {value}"
            )
        return value

    return parse


def names(text: str) -> list[str]:
    """Names with commas between them; `none` is an empty list."""
    if text.strip() == "none":
        return []
    found = [name.strip() for name in text.split(",")]
    if not all(found):
        raise argparse.ArgumentTypeError(
            f"{text!r} holds an empty name; give names like 'a,b', or none"
        )
    if len(set(found)) < len(found):
        raise argparse.ArgumentTypeError(f"{text!r} names something twice")
    return found
