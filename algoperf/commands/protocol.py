"""`algoperf protocol`: tunes, repeats and reports as another benchmark's protocol says.

`deepobs` is here; `crowded-valley` in `crowded_valley.py`.
"""

import argparse
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import algoperf
from algoperf import exit_status, files, paths, registry
from algoperf.campaign import deepobs, deepobs_points, deepobs_runtime
from algoperf.campaign.deepobs import Optimizer, Protocol
from algoperf.campaign.plan import make_entry, with_own_names
from algoperf.commands import arguments, crowded_valley, output
from algoperf.commands.scoring_options import count
from algoperf.errors import BadSettings, near
from algoperf.frameworks import FRAMEWORKS
from algoperf.runner.settings import default_data_dir
from algoperf.runner.supervision.preemption import Preempted

_GRID = "36"
_MODES = ("final", "best", "most")
_RELEASES = ("1.1", "1.2")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds a subcommand for each protocol."""
    protocols = parser.add_subparsers(metavar="PROTOCOL", required=True)
    summary = "tune learning rates, repeat the best, and report, as DeepOBS does"
    action = protocols.add_parser(
        "deepobs", help=summary, description=summary.capitalize() + "."
    )
    action.register("type", Path, arguments.path)
    action.register("type", int, arguments.whole_number)
    _add_inputs(action)
    _add_conditions(action)
    action.set_defaults(run_protocol=_execute_deepobs)
    summary = crowded_valley.SUMMARY
    action = protocols.add_parser(
        "crowded-valley", help=summary, description=summary.capitalize() + "."
    )
    crowded_valley.add_arguments(action)
    action.set_defaults(run_protocol=crowded_valley.execute)


def execute(options: argparse.Namespace) -> int:
    """Runs what is missing of the protocol, and reports on all that is there."""
    return int(options.run_protocol(options))


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--optimizers",
        nargs="+",
        default=(),
        metavar="[NAME=]FILE",
        help="Python files of submissions that have a learning_rate; NAME defaults to the "
        "name of the file's folder.",
    )
    add(
        "--framework",
        choices=list(FRAMEWORKS),
        help="Framework of the optimizers (default: the one that each file imports).",
    )
    add(
        "--problems",
        nargs="+",
        default=["mini"],
        metavar="NAME",
        help="Test problems, or the sets small, large, mini (default: mini).",
    )
    add(
        "--grid",
        default=_GRID,
        metavar="N|random:N|FILE",
        help="N learning rates from 1e-5 to 1e2, N random points, or a JSON list of learning "
        "rates or of points, or one for each optimizer by name (default: %(default)s).",
    )
    add(
        "--base",
        type=Path,
        metavar="FILE",
        help="JSON object with the other hyperparameters of each optimizer, by name; with "
        "--grid random:N also ranges.",
    )
    arguments.add_read(parser, "Published result folders")


def _add_conditions(parser: argparse.ArgumentParser) -> None:
    add, limited = parser.add_argument, count(10_000)
    add(
        "--select",
        choices=_MODES,
        default="final",
        help="Choose a setting by its final or its best test metric, or by its number of "
        "seeds (default: final).",
    )
    add(
        "--seeds",
        type=limited,
        default=10,
        metavar="N",
        help="Number of runs of the chosen setting (default: %(default)s).",
    )
    add(
        "--folder",
        type=Path,
        default=Path("experiments/deepobs"),
        metavar="DIR",
        help="Directory for logs and report (default: %(default)s).",
    )
    add(
        "--runtime",
        type=limited,
        metavar="PAIRS",
        help="Also measure how long the optimizers take relative to sgd, in so many pairs of "
        "runs.",
    )
    add(
        "--runtime-problem",
        default=deepobs_runtime.PROBLEM,
        metavar="NAME",
        help="Test problem of these runs (default: %(default)s).",
    )
    add("--write", type=Path, metavar="DIR", help="Write published result folders too.")
    add(
        "--release",
        choices=_RELEASES,
        default="1.2",
        help="Release of DeepOBS whose keys are written (default: %(default)s).",
    )
    add("--seed", type=int, default=0, metavar="N", help="Seed (default: 0).")
    add(
        "--jobs",
        type=limited,
        default=1,
        metavar="N",
        help="Number of concurrent runs (default: %(default)s).",
    )
    add(
        "--data-dir",
        type=Path,
        default=default_data_dir(),
        metavar="DIR",
        help="Directory containing prepared data (default: $ALGOPERF_DATA_DIR or %(default)s).",
    )


def _execute_deepobs(options: argparse.Namespace) -> int:
    if not options.optimizers and not options.read:
        raise BadSettings(
            "There is nothing to do. Give --optimizers to run, or --read to report on "
            "published results."
        )
    for option in ("folder", "write"):
        output.check_folder(getattr(options, option), option)
    read = _read(options.read)
    runs, left_out, status = list(read.runs), list(read.left_out), exit_status.OK
    pairs: deepobs_runtime.Pairs = {}
    if options.optimizers:
        protocol = _protocol(options)
        _refuse_same_names(protocol, runs)
        deepobs.check(protocol, output.say)
        if options.runtime is not None:
            _check_problem(options.runtime_problem, _known(), "runtime-problem")
            deepobs_runtime.check(protocol, options.runtime_problem, output.say)
        output.say(f"{protocol.num_runs:,} runs in {protocol.folder}")
        found = deepobs.run(protocol, output.say)
        if options.write is not None:
            _module("folders").write(options.write, found.runs, options.release)
        runs, left_out = [*found.runs, *runs], [*found.left_out, *left_out]
        if found.is_stopped:
            return _stopped()
        if found.num_failed:
            status = exit_status.FAILED
        if options.runtime is not None:
            problem, number = options.runtime_problem, options.runtime
            try:
                pairs = deepobs_runtime.measure(protocol, problem, number, output.say)
            except (Preempted, KeyboardInterrupt):
                return _stopped()
    elif options.write is not None:
        _module("folders").write(options.write, runs, options.release)
    return _report(options.folder, runs, left_out, pairs) or status


def _stopped() -> int:
    output.say("Stopped. Give the same command again to go on.")
    return exit_status.PREEMPTED


def _module(name: str) -> Any:
    return registry.scoring_module(f"protocols.deepobs.{name}")


def _read(folders: Sequence[Path]) -> Any:
    scan = _module("runs").Scan()
    for folder in folders:
        found = _module("folders").read(folder)
        scan.runs.extend(found.runs)
        scan.left_out.extend(f"{folder}: {phrase}" for phrase in found.left_out)
    return scan


def _refuse_same_names(protocol: Protocol, read: Sequence[Any]) -> None:
    own = {optimizer.entry.name for optimizer in protocol.optimizers}
    both = own & {run.optimizer for run in read}
    if both:
        raise BadSettings(
            f"The folders of --read have results of {min(both)!r} too, which would be mixed "
            "with the new runs. Give the optimizer another name: --optimizers NAME=FILE."
        )


def _report(
    folder: Path,
    runs: Sequence[Any],
    left_out: Sequence[str],
    pairs: deepobs_runtime.Pairs,
) -> int:
    """Writes the report's files; the exit status."""
    results = _module("indicators").results(runs)
    for phrase in left_out:
        output.say(f"left out: {phrase}")
    if not results:
        output.say("There is no complete run to report on.")
        return exit_status.FAILED
    report = _module("report")
    output.say(report.text(results))
    runtime = _module("runtime").table(pairs) if pairs else None
    if runtime is not None:
        output.say(runtime.text())
    generator = f"algoperf {algoperf.__version__}"
    found = report.files(results, left_out, generator, runtime)
    for name, content in found.items():
        path = folder / "report" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_output(path, content)
    output.say(f"Report: {folder / 'report' / 'report.html'}")
    return exit_status.OK


def _protocol(options: argparse.Namespace) -> Protocol:
    named = [_named(text) for text in options.optimizers]
    entries = with_own_names(
        [
            make_entry(path, name=name, framework=options.framework, tuning="self")
            for name, path in named
        ],
        [name is not None for name, _ in named],
    )
    base = {} if options.base is None else deepobs_points.read_base(options.base)
    names = [entry.name for entry in entries]
    if base and not set(base) & set(names):
        raise BadSettings(
            f"{options.base} has points for {', '.join(base)}, but the optimizers are "
            f"{', '.join(names)}. Name them as it does: --optimizers NAME=FILE."
        )
    return Protocol(
        [
            Optimizer(
                entry,
                deepobs_points.points(
                    options.grid,
                    base.get(entry.name, {}),
                    optimizer=entry.name,
                    seed=options.seed,
                ),
            )
            for entry in entries
        ],
        _problems(options.problems),
        paths.absolute(options.folder),
        paths.absolute(options.data_dir),
        options.select,
        options.seeds,
        options.seed,
        options.jobs,
    )


def _named(text: str) -> tuple[str | None, Path]:
    """`[NAME=]FILE`."""
    name, sign, path = text.partition("=")
    if not sign or "/" in name:
        return None, paths.absolute(paths.expanded(text))
    if not name or not path:
        raise BadSettings(f"--optimizers {text!r} must be FILE or NAME=FILE.")
    return name, paths.absolute(paths.expanded(path))


def _problems(words: Sequence[str]) -> list[str]:
    """The problems that names and the names of sets stand for, each once."""
    sets: Mapping[str, Sequence[str]] = _module("runs").SETS
    known = _known()
    found: dict[str, None] = {}
    for word in words:
        if word not in sets:
            _check_problem(word, known, "problems", sets)
        found |= dict.fromkeys(sets.get(word, (word,)))
    return list(found)


def _known() -> list[str]:
    """The names of all test problems."""
    definitions = registry.definitions().values()
    bases = [d for d in definitions if d.tier == "deepobs" and d.is_base]
    return [name for definition in bases for name in definition.names()]


def _check_problem(
    word: str, known: Sequence[str], option: str, sets: Collection[str] = ()
) -> None:
    if word not in known:
        choose = (
            f"Choose a set ({', '.join(sets)}) or problems" if sets else "Choose one"
        )
        raise BadSettings(
            f"--{option}: there is no problem {word!r}.{near(word, [*sets, *known])} "
            f"{choose}: {', '.join(known)}."
        )
