"""`algoperf run`: times a submission on a workload."""

import argparse
from pathlib import Path

from algoperf.procedures import calibration
from algoperf.rulesets import DEFAULT_RULESET, RULESETS, TUNING_RULESETS
from algoperf.runner import experiment
from algoperf.runner.settings import PRECISIONS, Settings, default_data_dir
from algoperf.runner.supervision.watchdog import HANG_SECONDS, WARMUP_SECONDS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    _add_task(parser)
    _add_trials(parser)
    _add_places(parser)
    _add_execution(parser)


def _add_task(parser: argparse.ArgumentParser) -> None:
    """What is run, under which rules."""
    add = parser.add_argument
    add(
        "submission_path",
        type=Path,
        metavar="SUBMISSION",
        help="the submission's Python file",
    )
    add("--framework", required=True, metavar="NAME", help="jax or pytorch")
    add("--workload", required=True, metavar="NAME", help="see `algoperf list`")
    add(
        "--search-space",
        type=Path,
        metavar="FILE",
        help="JSON; needed for external tuning",
    )
    add(
        "--ruleset",
        default=DEFAULT_RULESET,
        choices=list(RULESETS),
        help="default: %(default)s",
    )
    add(
        "--tuning-ruleset",
        dest="tuning",
        default="external",
        choices=TUNING_RULESETS,
        help="default: %(default)s",
    )


def _add_trials(parser: argparse.ArgumentParser) -> None:
    """Which trials, and how long."""
    add = parser.add_argument
    add("--trials", dest="num_trials", type=int, metavar="N", help="of each study")
    add(
        "--studies",
        dest="num_studies",
        type=int,
        metavar="N",
        help="default: the ruleset's",
    )
    add(
        "--first-study",
        type=int,
        default=1,
        metavar="N",
        help="number of the first study",
    )
    add("--first-trial", type=int, default=1, metavar="N", help="of each study")
    add("--last-trial", type=int, metavar="N", help="of each study")
    add("--seed", type=int, default=0, metavar="N", help="of the campaign; default: 0")
    add(
        "--max-steps",
        dest="max_global_steps",
        type=int,
        metavar="N",
        help="end after N steps",
    )
    add(
        "--eval-every-steps",
        dest="eval_period_steps",
        type=int,
        metavar="N",
        help="evaluate by steps, not by time, so that a run can be repeated exactly",
    )
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
        help="where logs go; default: %(default)s",
    )
    add(
        "--experiment-name",
        metavar="NAME",
        help="the submission's name in the logs; default: its folder's name",
    )
    add(
        "--data-dir",
        type=Path,
        default=default_data_dir(),
        metavar="DIR",
        help="of prepared data; default: $ALGOPERF_DATA_DIR or %(default)s",
    )
    existing = parser.add_mutually_exclusive_group()
    for choice, text in (
        ("resume", "go on with unfinished trials"),
        ("overwrite", "replace trials that exist"),
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
        help="default: %(default)s",
    )
    add("--torch-compile", action="store_true", help="compile PyTorch models")
    add(
        "--num-processes",
        type=int,
        default=1,
        metavar="N",
        help="PyTorch: processes (one per GPU) that share each trial",
    )
    add(
        "--allow-partial-data",
        action="store_true",
        help="accept data made with --subset",
    )
    add("--no-checkpoints", dest="save_checkpoints", action="store_false")
    add("--tensorboard", action="store_true", help="also write TensorBoard events")
    add(
        "--calibrate",
        type=Path,
        metavar="FILE",
        help="first compare this machine's speed with the one in FILE, or record it there",
    )


def execute(options: argparse.Namespace) -> int:
    """Runs all trials; status 1 if one failed."""
    values = {k: v for k, v in vars(options).items() if k != "execute"}
    if values["experiment_name"] is None:
        values["experiment_name"] = options.submission_path.resolve().parent.name
    reference = values.pop("calibrate")
    settings = Settings(**values)
    if reference is not None:
        calibration.check(settings, reference)
    return 0 if experiment.run(settings) else 1
