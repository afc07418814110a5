"""`algoperf protocol crowded-valley`: runs the study's grid on some problems, and reports."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import algoperf
from algoperf import exit_status, files, paths, registry
from algoperf.campaign import crowded_valley, crowded_valley_points
from algoperf.campaign.crowded_valley import Protocol
from algoperf.commands import arguments, output
from algoperf.commands.scoring_options import count
from algoperf.errors import BadSettings, near
from algoperf.frameworks import FRAMEWORKS
from algoperf.runner.settings import default_data_dir

SUMMARY = (
    "compare fifteen optimizers by budgets and schedules, as the Crowded Valley study"
)
_MODES = ("final", "best")
_FORMS = ("faithful", "clean")
_NUMBERED = {  # the study's names of its problems
    "P1": "quadratic_deep",
    "P2": "mnist_vae",
    "P3": "fmnist_2c2d",
    "P4": "cifar10_3c3d",
    "P5": "fmnist_vae",
    "P6": "cifar100_allcnnc",
    "P7": "svhn_wrn164",
    "P8": "tolstoi_char_rnn",
}
_MINIS = "mini"
_STACKED = "jax"  # the framework that trains stacks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.register("type", Path, arguments.path)
    parser.register("type", int, arguments.whole_number)
    _add_inputs(parser)
    _add_conditions(parser)


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--problems",
        nargs="+",
        default=(),
        metavar="NAME",
        help="Test problems by name, P1 to P8, or the set mini.",
    )
    add(
        "--optimizers",
        nargs="+",
        default=(),
        metavar="NAME",
        help="Names of optimizers (default: all fifteen).",
    )
    add(
        "--framework",
        choices=list(FRAMEWORKS),
        help="Framework of the optimizers (default: jax with --stacked, else pytorch).",
    )
    add(
        "--stacked",
        action="store_true",
        help="Train many points in one program of JAX: faster, and equal to single runs up "
        "to rounding, not to the last bit.",
    )
    add(
        "--budget",
        choices=list(crowded_valley_points.BUDGETS),
        default="small",
        help="Largest tuning budget: 0, 25, 50 or 75 points (default: %(default)s).",
    )
    add(
        "--schedules",
        nargs="+",
        choices=crowded_valley_points.SCHEDULES,
        default=(crowded_valley_points.CONSTANT,),
        metavar="NAME",
        help="Learning rate schedules: constant, cosine, cosine_wr, ltr (default: constant).",
    )
    add(
        "--seed-study",
        action="store_true",
        help="Also train SGD with 36 learning rates and every seed.",
    )
    add(
        "--retune",
        action="store_true",
        help="Also tune RMSProp and AdaDelta a second time, with seeds from 100 on.",
    )
    arguments.add_read(parser, "Published results (the folder results_main)")


def _add_conditions(parser: argparse.ArgumentParser) -> None:
    add, limited = parser.add_argument, count(10_000)
    add(
        "--schedule-form",
        choices=_FORMS,
        default=_FORMS[0],
        help="Whether the first epoch always has the full rate, as published "
        "(default: %(default)s).",
    )
    add(
        "--select",
        choices=_MODES,
        default=_MODES[0],
        help="Choose a setting by its final or by its best validation value "
        "(default: %(default)s).",
    )
    add(
        "--best",
        type=limited,
        default=10,
        metavar="N",
        help="Number of the best medium settings that the refined ranges of the large "
        "budget span (default: %(default)s).",
    )
    add(
        "--seeds",
        type=limited,
        default=10,
        metavar="N",
        help="Number of runs of each chosen setting (default: %(default)s).",
    )
    add(
        "--first-seed",
        type=int,
        default=crowded_valley_points.TUNING_SEED,
        metavar="N",
        help="Seed of the draws and of the tuning runs; repeats have the next ones "
        "(default: %(default)s).",
    )
    add(
        "--folder",
        type=Path,
        default=Path("experiments/crowded_valley"),
        metavar="DIR",
        help="Directory for logs and report (default: %(default)s).",
    )
    add(
        "--jobs",
        type=limited,
        default=1,
        metavar="N",
        help="Number of processes, each of which trains many runs (default: %(default)s).",
    )
    add(
        "--data-dir",
        type=Path,
        default=default_data_dir(),
        metavar="DIR",
        help="Directory containing prepared data (default: $ALGOPERF_DATA_DIR or %(default)s).",
    )


def execute(options: argparse.Namespace) -> int:
    """Runs what is missing, and reports on all that is there."""
    if not options.problems and not options.read:
        raise BadSettings(
            "There is nothing to do. Give --problems to run, or --read to report on "
            "published results."
        )
    output.check_folder(options.folder, "folder")
    read = _module("cells").Scan()
    for folder in options.read:
        scan = _module("published").read(folder)
        read.runs.extend(scan.runs)
        read.left_out.extend(f"{folder}: {phrase}" for phrase in scan.left_out)
        read.notes.extend(scan.notes)
    status = exit_status.OK
    if options.problems:
        protocol = _protocol(options)
        _refuse_same_names(protocol, read.runs)
        crowded_valley.check(protocol, output.say)
        output.say(f"at most {protocol.most_runs:,} runs in {protocol.folder}")
        found = crowded_valley.run(protocol, output.say)
        if found.is_stopped:
            output.say("Stopped. Give the same command again to go on.")
            return exit_status.PREEMPTED
        for problem in found.problems:
            output.say(f"{problem}. Give the same command again to go on.")
            status = exit_status.FAILED
        read.runs[:0] = found.runs
        read.left_out[:0] = found.left_out
    return _report(options, read) or status


def _module(name: str) -> Any:
    return registry.scoring_module(f"protocols.crowded_valley.{name}")


def _report(options: argparse.Namespace, scan: Any) -> int:
    """Writes the report's files; the exit status."""
    members = crowded_valley_points.family().MEMBERS
    cells = _module("cells")
    grid, again, seeds = (
        cells.grid_of(
            [item for item in scan.runs if item.study == study],
            options.select,
            list(members),
        )
        for study in (cells.MAIN, cells.RETUNING, cells.SEEDS)
    )
    for phrase in scan.left_out:
        output.say(f"left out: {phrase}")
    if not (grid.cells or seeds.cells):
        output.say("There is no complete run to report on.")
        return exit_status.FAILED
    report = _module("report")
    titles = {name: member.title for name, member in members.items()}
    study = report.Study(grid, titles, scan.left_out, scan.notes, again, seeds)
    output.say(report.text(study))
    generator = f"algoperf {algoperf.__version__}"
    for name, content in report.files(study, generator).items():
        path = options.folder / "report" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_output(path, content)
    output.say(f"Report: {options.folder / 'report' / 'report.html'}")
    return exit_status.OK


def _refuse_same_names(protocol: Protocol, read: Sequence[Any]) -> None:
    own = {(o, p) for o in protocol.optimizers for p in protocol.problems}
    both = own & {(item.run.optimizer, item.run.problem) for item in read}
    if both:
        optimizer, problem = min(both)
        raise BadSettings(
            f"The folders of --read have results of {optimizer!r} on {problem} too, which "
            "would be mixed with the new runs. Read them by a command of their own, "
            "without --problems."
        )


def _protocol(options: argparse.Namespace) -> Protocol:
    members = list(crowded_valley_points.family().MEMBERS)
    names = list(dict.fromkeys(options.optimizers or members))
    for name in names:
        crowded_valley_points.member(name)
    if options.first_seed < 0 or options.first_seed > 2**31:
        raise BadSettings(
            f"--first-seed is {options.first_seed}; it must be from 0 to {2**31:,}."
        )
    return Protocol(
        names,
        _problems(options.problems),
        paths.absolute(options.folder),
        paths.absolute(options.data_dir),
        _framework(options),
        options.budget,
        tuple(dict.fromkeys(options.schedules)),
        options.schedule_form,
        options.select,
        options.seeds,
        options.first_seed,
        options.best,
        options.jobs,
        options.stacked,
        options.seed_study,
        options.retune,
    )


def _framework(options: argparse.Namespace) -> str:
    if options.stacked and options.framework not in (None, _STACKED):
        raise BadSettings(
            f"--stacked trains with {_STACKED}, but --framework is {options.framework}. "
            "Leave one of the two out."
        )
    return options.framework or (_STACKED if options.stacked else "pytorch")


def _problems(words: Sequence[str]) -> list[str]:
    """The problems that names, numbers and the set stand for, each once."""
    sets = registry.scoring_module("protocols.deepobs.runs").SETS
    known = [
        name
        for definition in registry.definitions().values()
        if definition.tier == "deepobs"
        for name in definition.names()
    ]
    found: dict[str, None] = {}
    for word in words:
        if word == _MINIS:
            found |= dict.fromkeys(sets[_MINIS])
            continue
        name = _NUMBERED.get(word.upper(), word)
        if name not in known:
            choices = [*_NUMBERED, _MINIS, *known]
            raise BadSettings(
                f"--problems: there is no problem {word!r}.{near(word, choices)} Choose "
                f"P1 to P8, {_MINIS}, or from: {', '.join(known)}."
            )
        found[name] = None
    return list(found)
