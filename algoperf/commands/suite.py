"""`algoperf suite`: compares training algorithms by steps to target on the mini workloads."""

import argparse
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from algoperf import exit_status, paths, registry
from algoperf.campaign.plan import Entry, make_entry, with_own_names
from algoperf.commands import output
from algoperf.commands.scoring_options import count
from algoperf.errors import BadLogs, BadSettings
from algoperf.frameworks import FRAMEWORKS
from algoperf.runner.settings import default_data_dir
from algoperf.suite import baselines, design, rounds, show
from algoperf.suite.compare import Board, compare, make_board
from algoperf.suite.runs import Results


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    add = parser.add_argument
    add(
        "submission",
        nargs="?",
        type=Path,
        metavar="SUBMISSION",
        help="Python file of the submission, compared with the shipped baselines.",
    )
    add(
        "--compare",
        nargs=2,
        type=Path,
        metavar=("A", "B"),
        help="Run two submissions with the same seeds and compare them instead.",
    )
    add("--framework", choices=list(FRAMEWORKS), help="Default: what the file imports.")
    add(
        "--search-space",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="Search space or list of points; with --compare one for both, or one for each "
        "(default: the file beside a submission, else self-tuning).",
    )
    add("--name", help="Name of the submission in the results (default: its folder's).")
    add("--quick", action="store_true", help=f"Run only {', '.join(design.QUICK)}.")
    add("--workloads", nargs="+", metavar="NAME", help="Run only these workloads.")
    _add_options_of_runs(parser)
    add("--json", action="store_true", help="Print JSON.")
    add(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="Also write a report; its format is that of the name's extension.",
    )


def _add_options_of_runs(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--seeds",
        type=count(design.MOST_SEEDS),
        default=design.SEEDS,
        metavar="N",
        help="Runs of every workload, each with another seed (default: %(default)s).",
    )
    add(
        "--early-stop",
        action="store_true",
        help="Look after each seed from the second on, and stop once it is decided; intervals "
        "are wider for it.",
    )
    add(
        "--reference",
        metavar="NAME",
        help=f"Baseline of the headline and of --early-stop (default: {design.REFERENCE}).",
    )
    add(
        "--rerun",
        nargs="+",
        default=[],
        metavar="NAME",
        help="Run these baselines here too, instead of taking the shipped runs.",
    )
    add(
        "--trials",
        type=count(1_000),
        metavar="N",
        help="Points of a search space per seed.",
    )
    add(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="Seed of all runs (default: 0).",
    )
    add(
        "--jobs",
        type=count(1_000),
        metavar="N",
        help="Concurrent runs (default: one per core; seconds are compared with 1 only).",
    )
    add(
        "--folder",
        type=Path,
        default=Path("experiments/suite"),
        metavar="DIR",
        help="Directory to write logs to (default: %(default)s).",
    )
    add(
        "--data-dir",
        type=Path,
        default=default_data_dir(),
        metavar="DIR",
        help="Directory of prepared data; what is missing is prepared (default: %(default)s).",
    )


def execute(options: argparse.Namespace) -> int:
    """Runs what is left, compares, and says what came of it."""
    _check(options)
    output.check(options.output)
    render = _renderer(options.output)
    entries = _entries(options)
    workloads = design.chosen(options.workloads, is_quick=options.quick)
    folder = paths.absolute(options.folder)
    again = tuple(
        baselines.entry(name, entries[0].framework, folder / ".points")
        for name in options.rerun
    )
    order = rounds.Order(
        _distinct(entries, again),
        workloads,
        folder,
        paths.absolute(options.data_dir),
        options.seeds,
        options.seed,
        options.trials,
        options.jobs or _cores(),
    )
    say: Callable[[str], None] = (lambda line: None) if options.json else output.say
    asked = _verdict(options, entries, workloads) if options.early_stop else None
    found = rounds.run(order, say, asked)
    board = _board(options, entries, workloads, found)
    output.say(
        json.dumps(show.as_json(board), indent=2) if options.json else show.text(board)
    )
    if options.output is not None:
        output.write(options.output, render(board), "Report")
    return exit_status.FAILED if board.own.name in board.not_run else exit_status.OK


def _check(options: argparse.Namespace) -> None:
    if (options.submission is None) == (options.compare is None):
        raise BadSettings(
            "Give a submission's file, or two of them with --compare: exactly one of both."
        )
    if options.name is not None and options.compare:
        raise BadSettings("--name is for one submission; with --compare leave it out.")
    if options.reference is not None and options.compare:
        raise BadSettings("--reference is a baseline; with --compare leave it out.")
    baselines.point(_reference(options))
    spaces = len(options.search_space or ())
    allowed = (0, 1, 2) if options.compare else (0, 1)
    if spaces not in allowed:
        raise BadSettings(
            f"--search-space takes at most {allowed[-1]} files here, not {spaces}."
        )
    for name in options.rerun:
        baselines.point(name)
    if options.early_stop and options.seeds <= rounds.FIRST_LOOK:
        raise BadSettings(
            f"--early-stop looks first after {rounds.FIRST_LOOK} seeds, and --seeds is "
            f"{options.seeds}. Give more seeds, or leave --early-stop out."
        )


def _reference(options: argparse.Namespace) -> str:
    return options.reference or design.REFERENCE


def _renderer(path: Path | None) -> Callable[[Board], str]:
    """What makes the report; an error for an unknown extension comes before any run."""
    formats = registry.scoring_module("report.formats")
    name = formats.format_of(path.suffix if path is not None else "")

    def render(board: Board) -> str:
        text: str = formats.FORMATS[name].render(show.as_document(board))
        return text

    return render


def _entries(options: argparse.Namespace) -> list[Entry]:
    files = options.compare or [options.submission]
    spaces = list(options.search_space or [None])
    spaces *= len(files) if len(spaces) == 1 else 1
    entries = [
        make_entry(
            paths.absolute(path),
            name=options.name,
            framework=options.framework,
            search_space=None if space is None else paths.absolute(space),
        )
        for path, space in zip(files, spaces, strict=True)
    ]
    if options.compare and entries[0].name == entries[1].name:
        entries = _named_by_file(entries)
    return list(with_own_names(entries, [options.name is not None] * len(entries)))


def _named_by_file(entries: Sequence[Entry]) -> list[Entry]:
    """Entries of one folder are told apart by their files' names."""
    return [
        make_entry(
            entry.path,
            name=f"{entry.name}_{entry.path.stem}",
            framework=entry.framework,
            search_space=entry.search_space,
        )
        for entry in entries
    ]


def _distinct(entries: Sequence[Entry], again: Sequence[Entry]) -> tuple[Entry, ...]:
    names = {entry.name for entry in entries}
    for entry in again:
        if entry.name in names:
            raise BadSettings(
                f"The submission has the name of the baseline {entry.name!r}. Give it another "
                "with --name."
            )
    return (*entries, *again)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _verdict(
    options: argparse.Namespace, entries: Sequence[Entry], workloads: Sequence[str]
) -> Callable[[Sequence[Results]], str]:
    """What `--early-stop` looks at: against the other submission, or the reference."""
    level = rounds.level_of(options.seeds, is_sequential=True)
    name = entries[1].name if options.compare else _reference(options)
    if not options.compare and name not in options.rerun:
        shipped = baselines.shipped(entries[0].framework)
        if not any(r.name == name and any(map(r.has, workloads)) for r in shipped):
            raise BadSettings(
                f"--early-stop compares with {name!r}, of which no runs in "
                f"{entries[0].framework} are shipped for these workloads. Run it here with "
                f"--rerun {name}, or choose another --reference."
            )

    def verdict(found: Sequence[Results]) -> str:
        own = _named(found, entries[0])
        others = [results for results in found if results is not own]
        others += baselines.merged(baselines.shipped(own.framework), found)
        other = next(results for results in others if results.name == name)
        return compare(own, other, workloads, level).verdict

    return verdict


def _named(found: Sequence[Results], entry: Entry) -> Results:
    for results in found:
        if (results.name, results.framework) == (entry.name, entry.framework):
            return results
    raise BadLogs(
        f"No run of {entry.name} came to an end; see the messages above, and run it again."
    )


def _board(
    options: argparse.Namespace,
    entries: Sequence[Entry],
    workloads: Sequence[str],
    found: Sequence[Results],
) -> Board:
    own = _named(found, entries[0])
    level = rounds.level_of(options.seeds, is_sequential=options.early_stop)
    here = [results for results in found if results is not own]
    if options.compare:
        return make_board(
            own,
            here,
            workloads,
            reference=entries[1].name,
            level=level,
            names_expected=False,
        )
    shipped = baselines.merged(baselines.shipped(own.framework), found)
    return make_board(
        own,
        [*here, *shipped],
        workloads,
        reference=_reference(options),
        level=level,
        notes=_notes(own.framework, options),
    )


def _notes(framework: str, options: argparse.Namespace) -> list[str]:
    notes = []
    made: Any = baselines.provenance(framework)
    if made:
        notes.append(
            f"shipped baselines: {made['command']}, {made['first_run']} to {made['last_run']}"
        )
    else:
        notes.append(f"no baselines are shipped for {framework}: not run")
    if options.seed:
        notes.append("the seeds differ from those of the shipped baselines: not paired")
    return notes
