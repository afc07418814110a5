"""The arguments of `algoperf run`, in groups."""

import argparse
from pathlib import Path

from algoperf.commands import output, submission_options
from algoperf.instruments.curvature import PROXIES
from algoperf.rulesets import DEFAULT_RULESET, RULESETS, TUNING_RULESETS
from algoperf.runner import loggers, profiling
from algoperf.runner.settings import PRECISIONS
from algoperf.runner.supervision.watchdog import HANG_SECONDS, WARMUP_SECONDS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    _add_task(parser)
    _add_trials(parser)
    _add_limits(parser)
    _add_places(parser)
    _add_execution(parser)
    _add_outputs(parser)
    _add_instruments(parser)
    _add_inspection(parser)


def _add_task(parser: argparse.ArgumentParser) -> None:
    """What is run, under which rules."""
    group = parser.add_argument_group("what to run")
    add = group.add_argument
    add(
        "submission_path",
        type=Path,
        metavar="SUBMISSION",
        help="Python file of the submission.",
    )
    add(
        "--framework",
        metavar="NAME",
        help="Framework: jax or pytorch (default: the one that the file imports).",
    )
    add(
        "--workload",
        dest="workloads",
        nargs="+",
        required=True,
        metavar="NAME",
        help="Workloads to train, or tier:mini or tier:full; `algoperf list` shows all.",
    )
    submission_options.add_search_space(group)
    add(
        "--ruleset",
        default=DEFAULT_RULESET,
        choices=list(RULESETS),
        help="Rules to run under (default: %(default)s).",
    )
    add(
        "--tuning-ruleset",
        dest="tuning",
        choices=TUNING_RULESETS,
        help="Tuning ruleset (default: external with a search space, self without).",
    )


def _add_trials(parser: argparse.ArgumentParser) -> None:
    """Which trials, and how long."""
    group = parser.add_argument_group("trials")
    add = group.add_argument
    for option, name, text in (
        ("--trials", "num_trials", "Number of tuning trials per study"),
        ("--studies", "num_studies", "Number of studies"),
    ):
        add(
            option,
            dest=name,
            type=int,
            metavar="N",
            help=f"{text} (default: as in the ruleset).",
        )
    for option, text in (
        ("--first-study", "Number of the first study to run"),
        ("--first-trial", "Number of the first trial to run in each study"),
    ):
        add(option, type=int, default=1, metavar="N", help=f"{text} (default: 1).")
    add(
        "--last-trial",
        type=int,
        metavar="N",
        help="Number of the last trial to run in each study (default: the last).",
    )
    add(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="Seed that the seeds of all trials derive from (default: 0).",
    )
    add(
        "--max-steps",
        dest="max_global_steps",
        type=int,
        metavar="N",
        help="End each trial after N steps (default: no limit).",
    )
    add(
        "--eval-every-steps",
        dest="eval_period_steps",
        type=int,
        metavar="N",
        help="Evaluate every N steps instead of by time, so that a run can be repeated exactly.",
    )


def _add_limits(parser: argparse.ArgumentParser) -> None:
    """When a trial that does not end on its own is aborted."""
    group = parser.add_argument_group("limits")
    add = group.add_argument
    add(
        "--hang-seconds",
        type=float,
        metavar="S",
        help="Abort a trial that makes no progress for S seconds (default: "
        f"{HANG_SECONDS:g}, and {WARMUP_SECONDS:g} until the first evaluation is over).",
    )
    add(
        "--notice-seconds",
        type=float,
        default=30.0,
        metavar="S",
        help="After SIGTERM, or when the budget is spent, abort a step that has not ended "
        "within S seconds (default: %(default)g).",
    )


def _add_places(parser: argparse.ArgumentParser) -> None:
    """Where logs and data lie, and what happens to logs that exist."""
    group = parser.add_argument_group("logs and data")
    add = group.add_argument
    add(
        "--experiment-dir",
        type=Path,
        default=Path("experiments"),
        metavar="DIR",
        help="Directory to write logs to (default: %(default)s).",
    )
    add(
        "--experiment-name",
        metavar="NAME",
        help="Name of the submission in the logs (default: the name of its directory).",
    )
    add(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="Directory containing prepared data "
        "(default: $ALGOPERF_DATA_DIR, or else the user's cache, ~/.cache/algoperf on Linux).",
    )
    existing = group.add_mutually_exclusive_group()
    for choice, text in (
        ("resume", "Resume unfinished trials and keep finished ones."),
        ("overwrite", "Delete existing trials and run them again."),
    ):
        existing.add_argument(
            f"--{choice}",
            dest="on_existing",
            action="store_const",
            const=choice,
            help=text,
        )
    parser.set_defaults(on_existing="refuse")


def _add_execution(parser: argparse.ArgumentParser) -> None:
    """How it is run."""
    group = parser.add_argument_group("execution")
    add = group.add_argument
    add(
        "--precision",
        default="float32",
        choices=PRECISIONS,
        help="Compute precision (default: %(default)s).",
    )
    add("--torch-compile", action="store_true", help="Compile PyTorch models.")
    add(
        "--num-processes",
        type=int,
        default=1,
        metavar="N",
        help="Number of processes that share each trial, one per GPU (PyTorch only).",
    )
    add(
        "--allow-partial-data",
        action="store_true",
        help="Accept data that was prepared with --subset.",
    )
    add(
        "--no-checkpoints",
        dest="save_checkpoints",
        action="store_false",
        help="Save no checkpoints; trials cannot be resumed.",
    )
    add(
        "--checkpoint-every",
        metavar="TIME|SIZE",
        default="auto",
        help="Save a checkpoint at an evaluation if so much time has passed since the last "
        "(600, 10min, 1h; 0: at every evaluation), or so often that no more than a size is "
        "written per hour (20GB); by default, as often as costs 1%% of the run's time.",
    )
    add(
        "--keep-evidence",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="Keep the parameters of the first evaluation at each target, for "
        "`algoperf verify` (default: yes).",
    )
    add(
        "--verify",
        action="store_true",
        help="Verify each trial when it has ended, as `algoperf verify` does.",
    )
    add(
        "--calibrate",
        type=Path,
        metavar="FILE",
        help="First compare the speed of this machine with the one recorded in FILE, "
        "or record it there.",
    )


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    """Where else the results go."""
    group = parser.add_argument_group("outputs")
    add = group.add_argument
    add(
        "--log-to",
        action="append",
        metavar="NAME",
        help="Also log to another tool, off the clock: "
        f"{', '.join(loggers.LOGGERS)}, or MODULE:FUNCTION for an observer of yours. May be "
        "given several times.",
    )
    add(
        "--tensorboard",
        dest="log_to",
        action="append_const",
        const="tensorboard",
        help="Short for --log-to tensorboard.",
    )
    output.add_json(group, "how each trial ended")


def _add_inspection(parser: argparse.ArgumentParser) -> None:
    """What slows a trial down: its logs go to a hidden folder, which is never scored."""
    group = parser.add_argument_group(
        "inspection", "Never scored: logs go to the hidden folder .unscored."
    )
    add = group.add_argument
    add(
        "--profile",
        dest="profile_dir",
        type=Path,
        metavar="DIR",
        help="Profile some steps with the framework's profiler and write the traces to DIR.",
    )
    add(
        "--profile-steps",
        default=profiling.DEFAULT_STEPS,
        metavar="START:END",
        help="Steps to profile, without END (default: %(default)s).",
    )
    add(
        "--pdb",
        action="store_true",
        help="Run in this process and open Python's debugger where a trial fails.",
    )


def _add_instruments(parser: argparse.ArgumentParser) -> None:
    """What is measured while it trains, off its clock."""
    group = parser.add_argument_group("instruments")
    add = group.add_argument
    add(
        "--cockpit",
        metavar="NAME",
        help="Measure gradients and curvature while training, off the clock: light, economy, "
        "business, full, or quantities such as Alpha,GradNorm; `algoperf cockpit` shows them.",
    )
    add(
        "--cockpit-every",
        default="10",
        metavar="N",
        help="Measure every N steps, or at log:START,END[,STEPS[,BASE]] (default: %(default)s).",
    )
    add(
        "--cockpit-adapt-bins",
        metavar="N",
        help="Every N steps, or at log:…, fit the histograms' ranges to the largest elements; "
        "from the next measurement on (default: the ranges stay as they are).",
    )
    add(
        "--cockpit-curvature",
        default="ggn_mc",
        choices=PROXIES,
        help="How the curvature's diagonal is found (default: %(default)s).",
    )
    add(
        "--cockpit-batch-norm",
        default="refuse",
        choices=("refuse", "coupled"),
        help="Gradients of single examples where batch norm couples them: none, or those of "
        "the coupled losses, one backward pass each (default: %(default)s).",
    )
