"""`algoperf run`: times a submission on workloads."""

import argparse
from collections.abc import Sequence
from typing import Any

from algoperf import console, exit_status, logs, paths, rulesets
from algoperf.campaign import single
from algoperf.campaign.plan import make_entry, workloads_of
from algoperf.commands import output, run_arguments, run_text
from algoperf.errors import BadSettings
from algoperf.procedures import calibration, verification
from algoperf.runner import cockpit, experiment
from algoperf.runner.plan import TrialPlan
from algoperf.runner.settings import Settings
from algoperf.runner.supervision.preemption import Preempted
from algoperf.verification_record import Status

EXAMPLES = """\
examples:
  Three trials on 5,000 digits, which need no download:
    algoperf prepare mnist_mini
    algoperf run submissions/mine/submission.py --workload mnist_mini \\
        --studies 1 --trials 3
  All small workloads, logged to TensorBoard too:
    algoperf run submissions/mine/submission.py --workload tier:mini \\
        --studies 1 --log-to tensorboard
  Continue after an interruption: the same command with --resume."""
UNSCORED_FOLDER = ".unscored"
_NOT_SETTINGS = {"execute", "calibrate", "workloads", "verify", "json"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    run_arguments.add_arguments(parser)


def execute(options: argparse.Namespace) -> int:
    """Runs all trials; status 1 if one failed."""
    output.check(options.json)
    settings = _settings(options)
    for one in settings:
        cockpit.plan_of(one)  # refuses a misspelt instrument before anything starts
    if options.calibrate is not None:
        for one in settings:
            calibration.check(one, options.calibrate)
    is_printed = options.json != output.STDOUT
    try:
        say = output.say if is_printed else console.tell
        if options.pdb:
            is_good = all([experiment.run(one, say) for one in settings])
        else:
            is_good = single.run(
                settings,
                say=say,
                after_trial=_verify if options.verify else _leave,
            )
    except (Preempted, KeyboardInterrupt):
        _tell_hints(settings)
        raise
    if options.json is not None and experiment.is_first_process():
        output.write_json(options.json, run_text.as_json(settings), "Outcomes")
    _tell_hints(settings)
    return exit_status.OK if is_good else exit_status.FAILED


def _tell_hints(settings: Sequence[Settings]) -> None:
    if experiment.is_first_process() and (text := run_text.hints(settings)):
        console.tell(text)


def _settings(options: argparse.Namespace) -> list[Settings]:
    """The settings of each workload."""
    values = {k: v for k, v in vars(options).items() if k not in _NOT_SETTINGS}
    if values["data_dir"] is None:
        del values["data_dir"]
    values["log_to"] = tuple(dict.fromkeys(options.log_to or ()))
    names = workloads_of(options.workloads, rulesets.ruleset(options.ruleset))
    values |= _inferred(options)
    if options.profile_dir is not None or options.pdb:
        values |= _unscored(options)
    return [Settings(workload=name, **values) for name in names]


def _unscored(options: argparse.Namespace) -> dict[str, Any]:
    """Where logs go that must not be ranked; those of an earlier look are replaced."""
    if options.pdb and (options.num_processes > 1 or experiment.is_under_torchrun()):
        raise BadSettings("--pdb debugs one process. Leave --num-processes out.")
    profile = options.profile_dir
    return {
        "experiment_dir": options.experiment_dir / UNSCORED_FOLDER,
        "profile_dir": None if profile is None else paths.absolute(profile),
        "on_existing": "overwrite",
        "isolate": not options.pdb,
    }


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
