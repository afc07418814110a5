"""`algoperf campaign`: many submissions, workloads, studies and trials from one plan."""

import argparse
import dataclasses
import json
import shutil
from pathlib import Path

from algoperf import console, exit_status, paths
from algoperf.campaign import control, plan_file, progress, slurm_jobs, stages
from algoperf.campaign.control import Conditions
from algoperf.campaign.engines import NAMES, EngineOptions
from algoperf.campaign.ledger import Campaign, has_manifest
from algoperf.campaign.plan import Plan
from algoperf.campaign.verdict import Cause
from algoperf.commands import arguments, campaign_text, output
from algoperf.commands.scoring_options import count
from algoperf.errors import AlgoPerfError, BadSettings
from algoperf.log_folders import CAMPAIGN_FOLDER
from algoperf.rulesets import RULESETS

EXAMPLES = """\
examples:
  algoperf campaign plan mini --submissions submissions/*/submission.py
  algoperf campaign run plan.toml
  algoperf campaign status campaigns/mine
docs/campaigns.md describes plans and clusters."""

_PLAN_OPTIONS = (
    "folder",
    "data_dir",
    "workloads",
    "ruleset",
    "studies",
    "trials",
    "seed",
)
_RETRYABLE = [cause.value for cause in Cause if cause is not Cause.PREEMPTED]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the subcommands."""
    actions = parser.add_subparsers(metavar="ACTION", required=True, dest="action")
    for name, (add, summary, _) in _ACTIONS.items():
        action = actions.add_parser(name, help=summary, description=summary)
        action.register("type", Path, arguments.path)
        action.register("type", int, arguments.whole_number)
        add(action)


def execute(options: argparse.Namespace) -> int:
    """Runs the chosen action."""
    status: int = _ACTIONS[options.action][2](options)
    return status


def _add_plan(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--schema",
        action="store_true",
        help="Print the JSON schema of plan files, for editors, and exit.",
    )
    parser.add_argument(
        "what",
        nargs="?",
        metavar="FILE|NAME",
        help=f"TOML file of the plan, or one of: {', '.join(plan_file.BUILT_IN)}.",
    )
    _add_plan_options(parser)
    parser.add_argument(
        "--speeds",
        type=Path,
        metavar="FILE",
        help="Calibration file with measured step times, for a better estimate.",
    )
    output.add_json(parser, "the costs")


def _add_plan_options(parser: argparse.ArgumentParser) -> None:
    """What may be said instead of in the file."""
    add = parser.add_argument
    add(
        "--submissions",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="Python files of submissions, in addition to those of the plan.",
    )
    add(
        "--workloads",
        nargs="+",
        metavar="NAME",
        help="Workloads, or tier:mini or tier:full (default: as in the plan).",
    )
    add("--folder", type=Path, metavar="DIR", help="Directory to write logs to.")
    add(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="Directory containing prepared data.",
    )
    add("--ruleset", choices=list(RULESETS), help="Rules to run under.")
    add("--studies", type=int, metavar="N", help="Number of studies.")
    add("--trials", type=int, metavar="N", help="Number of trials per study.")
    add("--seed", type=int, metavar="N", help="Seed of the campaign.")


def _add_run(parser: argparse.ArgumentParser) -> None:
    add, limited = parser.add_argument, count(10_000)
    add(
        "what",
        metavar="FILE|NAME|DIR",
        help="TOML file of the plan, a built-in plan, or the folder of a campaign.",
    )
    _add_plan_options(parser)
    _add_engine_options(parser)
    add(
        "--unscored",
        action="store_true",
        help="Allow trials to share machines and studies to mix hardware; nothing is ranked.",
    )
    add(
        "--calibrate",
        action="store_true",
        help="Compare the speed of every machine before its first trial.",
    )
    add(
        "--dry-run-steps",
        type=limited,
        metavar="K",
        help="Rehearse only: one trial of each submission on each workload for K steps, "
        "logged separately.",
    )


def _add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Where trials run, and how many at a time."""
    add, limited = parser.add_argument, count(10_000)
    add(
        "--engine",
        choices=NAMES,
        default="local",
        help="Where trials run (default: %(default)s).",
    )
    add(
        "--jobs",
        type=limited,
        default=1,
        metavar="N",
        help="With the local engine: number of concurrent trials, each on its own cores and GPUs.",
    )
    add(
        "--max-nodes",
        type=limited,
        metavar="N",
        help="Use at most N nodes of a cluster.",
    )
    add(
        "--per-node",
        type=limited,
        default=1,
        metavar="N",
        help="With Ray and --unscored: number of concurrent trials per node (default: 1).",
    )
    add(
        "--address",
        metavar="TEXT",
        help="Address of a Ray cluster: ray://HOST:PORT, HOST:PORT or auto (default: start one "
        "on this machine).",
    )
    add(
        "--sbatch",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="With Slurm: option for sbatch; may be given several times.",
    )


def _add_status(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "directory", type=Path, metavar="DIR", help="Folder of the campaign."
    )
    parser.add_argument(
        "--json",
        type=Path,
        nargs="?",
        const=output.STDOUT,
        metavar="FILE",
        help="Write the status to FILE as JSON; without FILE or with - print it instead of the "
        "text.",
    )


def _add_retry(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "directory", type=Path, metavar="DIR", help="Folder of the campaign."
    )
    parser.add_argument(
        "--cause",
        required=True,
        action="append",
        choices=_RETRYABLE,
        help="Cause of failure of the trials to retry; may be given several times.",
    )


def _add_cancel(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "directory", type=Path, metavar="DIR", help="Folder of the campaign."
    )


def _plan_of(options: argparse.Namespace) -> Plan:
    """The plan that a file, a name, or a campaign's folder stands for."""
    values = {name: getattr(options, name) for name in _PLAN_OPTIONS}
    folder = Path(options.what)
    # A folder of the same name as a built-in plan is `./mini`.
    if options.what in plan_file.BUILT_IN or not has_manifest(folder):
        return plan_file.load(options.what, values, options.submissions)
    given = [name for name, value in values.items() if value is not None]
    if given or options.submissions:
        name = (given or ["submissions"])[0].replace("_", "-")
        raise BadSettings(
            f"--{name} cannot be given with the folder of a campaign, whose plan stands in "
            "it. Give the plan's file to change it."
        )
    return Campaign.open(paths.absolute(folder)).plan


def _plan(options: argparse.Namespace) -> int:
    if options.schema:
        output.say(json.dumps(plan_file.schema(), indent=2))
        return exit_status.OK
    if options.what is None:
        raise BadSettings(
            f"Give a plan: a TOML file, or one of {', '.join(plan_file.BUILT_IN)}."
        )
    plan = _plan_of(options)
    for hint in stages.check(plan, is_data_coming=True):
        console.tell(f"look at: {hint}")
    found = stages.costs(plan, options.speeds)
    ledger = Campaign(plan)
    path = ledger.write_manifest(costs=[dataclasses.asdict(cost) for cost in found])
    if options.json is not None:
        content = campaign_text.cost_json(plan, found, path)
        output.write_json(options.json, content, "Costs")
    if options.json != output.STDOUT:
        output.say(campaign_text.cost(plan, found))
        output.say(f"Manifest: {path}")
    return exit_status.OK


def _run(options: argparse.Namespace) -> int:
    plan = _plan_of(options)
    conditions = _conditions(options)
    if options.dry_run_steps is not None:
        plan = _dry_run(plan, options.dry_run_steps)
    stages.prepare_shipped(plan, output.say)
    stages.check(plan)  # `campaign plan` shows what else to look at
    ledger = Campaign(plan)
    ledger.write_manifest()
    is_complete = control.run(ledger, conditions, output.say)
    summary = progress.summarise(ledger, ledger.look_at_all())
    output.say(campaign_text.status(ledger, summary))
    if not is_complete:
        output.say(f"Stopped. Go on with: algoperf campaign run {plan.folder}")
        return exit_status.PREEMPTED
    if conditions.options.is_scored and options.dry_run_steps is None:
        _say_ranking(plan)
    return exit_status.FAILED if summary.failures else exit_status.OK


def _conditions(options: argparse.Namespace) -> Conditions:
    is_scored = not options.unscored and options.dry_run_steps is None
    if options.per_node > 1 and is_scored:
        raise BadSettings(
            f"--per-node is {options.per_node}, but timed trials need a node each. Leave it "
            "out, or add --unscored."
        )
    if options.engine == "local" and options.jobs > 1:
        output.say(
            f"warning: {options.jobs} trials share this machine: they slow each other down, "
            "and their times are not comparable with others."
        )
    chosen = EngineOptions(
        jobs=options.jobs,
        max_nodes=options.max_nodes,
        is_scored=is_scored,
        address=options.address,
        per_node=options.per_node,
        sbatch=tuple(map(_pair, options.sbatch)),
    )
    return Conditions(options.engine, chosen, options.calibrate)


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not name or not sign:
        raise BadSettings(
            f"--sbatch {text!r} must be KEY=VALUE, such as partition=gpu."
        )
    return name, value


def _dry_run(plan: Plan, steps: int) -> Plan:
    """One trial of everything for a few steps, in a folder that scoring passes over.

    An earlier rehearsal is removed: it may have been of other code.
    """
    folder = plan.folder / CAMPAIGN_FOLDER / "dry_run"
    if has_manifest(folder):
        with Campaign.open(folder).driven():
            shutil.rmtree(folder)
    return dataclasses.replace(
        plan,
        folder=folder,
        studies=1,
        trials=1,
        max_steps=steps,
    )


def _say_ranking(plan: Plan) -> None:
    try:
        for board in stages.leaderboards(plan):
            output.say(board.text())
    except AlgoPerfError as error:
        output.say(f"No ranking yet: {error}")


def _status(options: argparse.Namespace) -> int:
    ledger = Campaign.open(paths.absolute(options.directory))
    summary = progress.summarise(ledger, ledger.look_at_all())
    if options.json is not None:
        content = campaign_text.status_json(ledger, summary)
        output.write_json(options.json, content, "Status")
    if options.json != output.STDOUT:
        output.say(campaign_text.status(ledger, summary))
    return exit_status.FAILED if summary.failures else exit_status.OK


def _retry(options: argparse.Namespace) -> int:
    folder = paths.absolute(options.directory)
    found = Campaign.open(folder).retry(Cause(name) for name in options.cause)
    if found:
        output.say(
            f"{len(found)} trials will run again. Go on with: algoperf campaign run {folder}"
        )
    else:
        output.say("No trial has failed for that cause.")
    return exit_status.OK


def _cancel(options: argparse.Namespace) -> int:
    ledger = Campaign.open(paths.absolute(options.directory))
    cancelled = slurm_jobs.cancel(ledger.folder)
    if cancelled:
        output.say(f"Cancelled the Slurm jobs {', '.join(cancelled)}.")
    if ledger.is_driven():
        ledger.request_cancel()
        output.say("The running `algoperf campaign run` stops within seconds.")
    elif not cancelled:
        output.say("Nothing is running.")
    return exit_status.OK


_ACTIONS = {
    "plan": (_add_plan, "Check a plan and print what it will cost.", _plan),
    "run": (_add_run, "Run what is left of a campaign.", _run),
    "status": (_add_status, "Print how far a campaign is.", _status),
    "retry": (_add_retry, "Let failed trials run again.", _retry),
    "cancel": (_add_cancel, "Stop a campaign that is running.", _cancel),
}
