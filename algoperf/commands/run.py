"""`algoperf run`: times a submission on workloads."""

import argparse
from pathlib import Path
from typing import Any

from algoperf import console, exit_status, logs, paths, rulesets
from algoperf.campaign import single
from algoperf.campaign.plan import SPACE_FILE, make_entry, workloads_of
from algoperf.commands import output
from algoperf.instruments.curvature import PROXIES
from algoperf.procedures import calibration, verification
from algoperf.rulesets import DEFAULT_RULESET, RULESETS, TUNING_RULESETS
from algoperf.runner import cockpit
from algoperf.runner.plan import TrialPlan
from algoperf.runner.settings import PRECISIONS, Settings
from algoperf.runner.supervision.watchdog import HANG_SECONDS, WARMUP_SECONDS
from algoperf.verification_record import Status


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    _add_task(parser)
    _add_trials(parser)
    _add_limits(parser)
    _add_places(parser)
    _add_execution(parser)
    _add_instruments(parser)


def _add_task(parser: argparse.ArgumentParser) -> None:
    """What is run, under which rules."""
    add = parser.add_argument
    add(
        "submission_path",
        type=Path,
        metavar="SUBMISSION",
        help="Python file of the submission",
    )
    add(
        "--framework",
        metavar="NAME",
        help="jax or pytorch (default: the framework that the file imports)",
    )
    add(
        "--workload",
        dest="workloads",
        nargs="+",
        required=True,
        metavar="NAME",
        help="workloads to train, or tier:mini or tier:full; `algoperf list` shows all",
    )
    add(
        "--search-space",
        type=Path,
        metavar="FILE",
        help="JSON file of the tuning search space "
        f"(default: {SPACE_FILE} beside the submission, if it exists)",
    )
    add(
        "--ruleset",
        default=DEFAULT_RULESET,
        choices=list(RULESETS),
        help="rules to run under (default: %(default)s)",
    )
    add(
        "--tuning-ruleset",
        dest="tuning",
        choices=TUNING_RULESETS,
        help="tuning ruleset (default: external with a search space, self without)",
    )


def _add_trials(parser: argparse.ArgumentParser) -> None:
    """Which trials, and how long."""
    add = parser.add_argument
    for option, name, text in (
        ("--trials", "num_trials", "number of tuning trials per study"),
        ("--studies", "num_studies", "number of studies"),
    ):
        add(
            option,
            dest=name,
            type=int,
            metavar="N",
            help=f"{text} (default: as in the ruleset)",
        )
    for option, text in (
        ("--first-study", "number of the first study to run"),
        ("--first-trial", "number of the first trial to run in each study"),
    ):
        add(option, type=int, default=1, metavar="N", help=f"{text} (default: 1)")
    add(
        "--last-trial",
        type=int,
        metavar="N",
        help="number of the last trial to run in each study (default: the last)",
    )
    add(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="seed that the seeds of all trials derive from (default: 0)",
    )
    add(
        "--max-steps",
        dest="max_global_steps",
        type=int,
        metavar="N",
        help="end each trial after N steps (default: no limit)",
    )
    add(
        "--eval-every-steps",
        dest="eval_period_steps",
        type=int,
        metavar="N",
        help="evaluate every N steps instead of by time, so that a run can be repeated exactly",
    )


def _add_limits(parser: argparse.ArgumentParser) -> None:
    """When a trial that does not end on its own is aborted."""
    add = parser.add_argument
    add(
        "--hang-seconds",
        type=float,
        metavar="S",
        help="abort a trial that makes no progress for S seconds (default: "
        f"{HANG_SECONDS:g}, and {WARMUP_SECONDS:g} until the first evaluation is over)",
    )
    add(
        "--notice-seconds",
        type=float,
        default=30.0,
        metavar="S",
        help="after SIGTERM, or when the budget is spent, abort a step that has not ended "
        "within S seconds (default: %(default)g)",
    )


def _add_places(parser: argparse.ArgumentParser) -> None:
    """Where logs and data lie, and what happens to logs that exist."""
    add = parser.add_argument
    add(
        "--experiment-dir",
        type=Path,
        default=Path("experiments"),
        metavar="DIR",
        help="directory to write logs to (default: %(default)s)",
    )
    add(
        "--experiment-name",
        metavar="NAME",
        help="name of the submission in the logs (default: the name of its directory)",
    )
    add(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="directory containing prepared data "
        "(default: $ALGOPERF_DATA_DIR, or else ~/.cache/algoperf)",
    )
    existing = parser.add_mutually_exclusive_group()
    for choice, text in (
        ("resume", "resume unfinished trials and keep finished ones"),
        ("overwrite", "delete existing trials and run them again"),
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
    add = parser.add_argument
    add(
        "--precision",
        default="float32",
        choices=PRECISIONS,
        help="compute precision (default: %(default)s)",
    )
    add("--torch-compile", action="store_true", help="compile PyTorch models")
    add(
        "--num-processes",
        type=int,
        default=1,
        metavar="N",
        help="number of processes that share each trial, one per GPU (PyTorch only)",
    )
    add(
        "--allow-partial-data",
        action="store_true",
        help="accept data that was prepared with --subset",
    )
    add(
        "--no-checkpoints",
        dest="save_checkpoints",
        action="store_false",
        help="save no checkpoints; trials cannot be resumed",
    )
    add(
        "--checkpoint-every",
        metavar="TIME|SIZE",
        default="auto",
        help="save a checkpoint at an evaluation if so much time has passed since the last "
        "(600, 10min, 1h; 0: at every evaluation), or so often that no more than a size is "
        "written per hour (20GB); by default, as often as costs 1%% of the run's time",
    )
    add(
        "--keep-evidence",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep the parameters of the first evaluation at each target, for "
        "`algoperf verify` (default: yes)",
    )
    add(
        "--verify",
        action="store_true",
        help="verify each trial when it has ended, as `algoperf verify` does",
    )
    add(
        "--tensorboard",
        action="store_true",
        help="also write the logs as TensorBoard event files",
    )
    add(
        "--calibrate",
        type=Path,
        metavar="FILE",
        help="first compare the speed of this machine with the one recorded in FILE, "
        "or record it there",
    )


def _add_instruments(parser: argparse.ArgumentParser) -> None:
    """What is measured while it trains, off its clock."""
    add = parser.add_argument
    add(
        "--cockpit",
        metavar="NAME",
        help="measure gradients and curvature while training, off the clock: light, economy, "
        "business, full, or quantities such as Alpha,GradNorm; `algoperf cockpit` shows them",
    )
    add(
        "--cockpit-every",
        default="10",
        metavar="N",
        help="measure every N steps, or at log:START,END[,STEPS[,BASE]] (default: %(default)s)",
    )
    add(
        "--cockpit-curvature",
        default="ggn_mc",
        choices=PROXIES,
        help="how the curvature's diagonal is found (default: %(default)s)",
    )
    add(
        "--cockpit-batch-norm",
        default="refuse",
        choices=("refuse", "coupled"),
        help="gradients of single examples where batch norm couples them: none, or those of "
        "the coupled losses, one backward pass each (default: %(default)s)",
    )


def execute(options: argparse.Namespace) -> int:
    """Runs all trials; status 1 if one failed."""
    values = {k: v for k, v in vars(options).items() if k != "execute"}
    if values["data_dir"] is None:
        del values["data_dir"]
    reference, workloads = values.pop("calibrate"), values.pop("workloads")
    after = _verify if values.pop("verify") else _leave
    names = workloads_of(workloads, rulesets.ruleset(options.ruleset))
    values |= _inferred(options)
    settings = [Settings(workload=name, **values) for name in names]
    for one in settings:
        cockpit.plan_of(one)  # refuses a misspelt instrument before anything starts
    if reference is not None:
        for one in settings:
            calibration.check(one, reference)
    is_good = single.run(settings, after_trial=after)
    return exit_status.OK if is_good else exit_status.FAILED


def _inferred(options: argparse.Namespace) -> dict[str, Any]:
    """What was left out and can be told from the submission; says what was told."""
    entry = make_entry(
        paths.absolute(options.submission_path),
        name=options.experiment_name,
        framework=options.framework,
        search_space=options.search_space,
        tuning=options.tuning,
    )
    told = []
    if options.framework is None:
        told.append(f"framework: {entry.framework}")
    if options.tuning is None and options.search_space is None:
        told.append(
            f"tuning: {entry.tuning} ({entry.search_space or 'no search space'})"
        )
    if told:
        console.tell("; ".join(told))
    return {
        "experiment_name": entry.name,
        "framework": entry.framework,
        "search_space": entry.search_space,
        "tuning": entry.tuning,
    }


def _leave(plan: TrialPlan) -> bool:
    return True


def _verify(plan: TrialPlan) -> bool:
    """Says whether what a trial claims is confirmed; False where it is not so."""
    if not plan.folder.is_dir():
        return True
    trial = logs.read_trial(plan.id, plan.folder)
    if not trial.num_evaluations:
        return True
    found = verification.verify(trial)
    output.say(verification.words(trial, found))
    return found.status is not Status.DIFFERS
