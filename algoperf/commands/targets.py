"""`algoperf targets`: sets a workload's targets by the benchmark's procedure."""

import argparse
import math
from pathlib import Path
from typing import Any

from algoperf.commands import output, scoring_options
from algoperf.errors import BadSettings
from algoperf.procedures import target_setting
from algoperf.runner.settings import default_data_dir

EXAMPLES = """\
examples:
  algoperf targets mnist --framework jax --trials 20 --repeats 5"""

_COUNT = scoring_options.count(10_000)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    add = parser.add_argument
    add(
        "workload",
        metavar="WORKLOAD",
        help="Workload whose targets are set; `algoperf list` shows all.",
    )
    add("--framework", required=True, metavar="NAME", help="Framework: jax or pytorch.")
    add(
        "--trials",
        type=_COUNT,
        default=200,
        metavar="N",
        help="Number of search points per algorithm (default: %(default)s).",
    )
    add(
        "--repeats",
        type=_COUNT,
        default=20,
        metavar="N",
        help="Number of runs of the best point (default: %(default)s).",
    )
    add(
        "--algorithms",
        nargs="+",
        choices=target_setting.ALGORITHMS,
        default=target_setting.ALGORITHMS,
        metavar="NAME",
        help="Algorithms to try (default: all four).",
    )
    add(
        "--fix",
        nargs="+",
        type=_fixed,
        default=(),
        metavar="NAME=VALUE",
        help="Hyperparameters to fix instead of searching, such as label_smoothing=0.",
    )
    add(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="Seed of the search (default: 0).",
    )
    add(
        "--data-dir",
        type=Path,
        default=default_data_dir(),
        metavar="DIR",
        help="Directory containing prepared data (default: $ALGOPERF_DATA_DIR or %(default)s).",
    )
    output.add_json(parser, "the targets")


def _facts(options: argparse.Namespace, found: Any) -> dict[str, Any]:
    """For programs."""
    target = found.target
    return {
        "workload": options.workload,
        "framework": options.framework,
        "algorithm": found.algorithm,
        "point": dict(found.point),
        "metric": target.metric,
        "validation_target": target.validation,
        "test_target": target.test,
        "validation_values": list(found.validation_values),
        "test_values": list(found.test_values),
    }


def _fixed(text: str) -> tuple[str, float]:
    """`NAME=VALUE`, VALUE a number."""
    name, _, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not name or not math.isfinite(number):
        raise argparse.ArgumentTypeError(
            f"must be NAME=VALUE with a number, like label_smoothing=0, not {text!r}"
        )
    return name, number


def execute(options: argparse.Namespace) -> int:
    """Prints the targets and the runs that they rest on."""
    output.check(options.json)
    fixed = dict(options.fix)
    if len(fixed) < len(options.fix):
        raise BadSettings("--fix names a hyperparameter twice; give each one value.")
    plan = target_setting.SearchPlan(
        options.workload,
        options.framework,
        options.data_dir,
        num_trials=options.trials,
        num_repeats=options.repeats,
        seed=options.seed,
        algorithms=options.algorithms,
        fixed=fixed,
    )
    found = target_setting.search(plan)
    target = found.target
    if options.json is not None:
        output.write_json(options.json, _facts(options, found), "Targets")
    if options.json == output.STDOUT:
        return 0
    bounds = f"validation {target.validation:.6g}"
    bounds += "" if target.test is None else f", test {target.test:.6g}"
    output.say(
        f"algorithm: {found.algorithm}, point: {found.point}\n"
        f"best validation values of the repeats: {found.validation_values}\n"
        f"best test values of the repeats: {found.test_values}\n"
        f"{target.metric}: {bounds}"
    )
    return 0
