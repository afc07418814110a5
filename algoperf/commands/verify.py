"""`algoperf verify`: confirms the results in logs by evaluating kept parameters again."""

import argparse
import json
from pathlib import Path

from algoperf import exit_status, logs
from algoperf.commands import output
from algoperf.errors import BadLogs
from algoperf.procedures import verification
from algoperf.verification_record import Status

EXAMPLES = """\
examples:
  algoperf verify experiments
  algoperf verify experiments --trial study_1/mnist_mini_jax/trial_2"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    add = parser.add_argument
    add(
        "logs",
        type=Path,
        metavar="DIR",
        help="Directory of logs, or of one submission.",
    )
    add(
        "--trial",
        default="",
        metavar="TEXT",
        help="Verify only trials whose directory contains TEXT, such as "
        "study_1/mnist_mini_jax/trial_2 (default: all that claim a target, and a sample).",
    )
    add(
        "--sample",
        type=int,
        default=1,
        metavar="N",
        help="Number of trials without a target to verify too (default: %(default)s).",
    )
    add(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="Seed that the sample is drawn with (default: %(default)s).",
    )
    add(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="Directory containing prepared data (default: where the trial read it).",
    )
    add("--quiet", action="store_true", help="Print the last line alone: the counts.")
    output.add_json(parser, "all comparisons")


def execute(options: argparse.Namespace) -> int:
    """Verifies trials; status 1 if one differs from what it claims."""
    output.check(options.json)
    trials = verification.choose(
        logs.read(options.logs),
        pattern=options.trial,
        sample=max(0, options.sample),
        seed=options.seed,
    )
    if not trials:
        raise BadLogs(
            f"No trial under {options.logs} can be verified: none was written by this "
            "harness and has evaluations."
        )
    results = {}
    for trial in trials:
        found = verification.verify(trial, options.data_dir)
        results[str(trial.folder)] = found
        if options.json != output.STDOUT and not options.quiet:
            output.say(verification.words(trial, found))
    statuses = [found.status for found in results.values()]
    if options.json:
        content = {folder: found.to_json() for folder, found in results.items()}
        output.write(options.json, json.dumps(content, indent=2), "Verification")
    if options.json != output.STDOUT:
        counts = [f"{statuses.count(s)} {s.value}" for s in Status if s in statuses]
        output.say(f"{len(statuses)} trials: {', '.join(counts)}.")
    is_false = Status.DIFFERS in statuses
    return exit_status.FAILED if is_false else exit_status.OK
