"""Runs what is missing of the shipped baselines, and packs all there are.

    OMP_NUM_THREADS=1 python -m algoperf.suite.make_baselines --framework jax --folder runs

Run it again to go on where it was stopped: finished runs stay in the folder, and what is packed
already is not run again. The runs of a workload share a process, so that most is imported and
compiled once; steps to target do not depend on that. `JAX_COMPILATION_CACHE_DIR=DIR` saves more.
"""

import argparse
import dataclasses
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from algoperf import exit_status, logs, paths
from algoperf.campaign.plan import Plan
from algoperf.frameworks import FRAMEWORKS
from algoperf.runner import experiment
from algoperf.runner.plan import FINAL_OUTCOMES, TrialPlan
from algoperf.runner.settings import default_data_dir
from algoperf.suite import baselines, design
from algoperf.suite.plans import make_plan
from algoperf.suite.runs import Results, from_trials

_MODULE = "algoperf.suite.make_baselines"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--framework", required=True, choices=list(FRAMEWORKS))
    add("--folder", required=True, type=Path, help="folder of the runs' logs")
    add("--baselines", nargs="+", default=list(baselines.names()), metavar="NAME")
    add("--workloads", nargs="+", metavar="NAME", help="default: all of the suite")
    add("--quick", action="store_true", help="only the suite's quick workloads")
    add("--seeds", type=int, default=design.SEEDS, metavar="N")
    add("--data-dir", type=Path, default=default_data_dir(), metavar="DIR")
    add(
        "--here", action="store_true", help=argparse.SUPPRESS
    )  # one workload, no packing
    return parser


def plan_of(options: argparse.Namespace, name: str, workload: str) -> Plan:
    """The runs of one baseline on one workload."""
    folder = paths.absolute(options.folder)
    entry = baselines.entry(name, options.framework, folder / ".points")
    return make_plan([entry], [workload], folder, options.seeds, options.data_dir)


def pairs_left(
    options: argparse.Namespace, workloads: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """Baselines and workloads that have runs neither packed nor in the folder."""
    packed = {results.name: results for results in baselines.shipped(options.framework)}
    for workload in workloads:
        for name in options.baselines:
            known = packed.get(name)
            if (
                known is not None
                and known.has(workload)
                and known.num_seeds(workload) >= options.seeds
            ):
                continue
            trials = plan_of(options, name, workload).trial_plans()
            if not all(map(_is_done, trials)):
                yield name, workload


def _is_done(trial: TrialPlan) -> bool:
    record = logs.read_outcome(trial.folder)
    return record is not None and record.outcome in FINAL_OUTCOMES


def packed_and(found: Sequence[Results], framework: str) -> list[Results]:
    """The packed runs with those that were found; where both have a seed, the found one."""
    both = {results.name: results for results in baselines.shipped(framework)}
    for results in found:
        old = both.get(results.name, results)
        runs = {name: dict(runs) for name, runs in old.runs.items() if old.has(name)}
        for workload, new in results.runs.items():
            runs[workload] = {**runs.get(workload, {}), **new}
        both[results.name] = dataclasses.replace(
            results,
            runs=runs,
            fingerprints={**old.fingerprints, **results.fingerprints},
        )
    return list(both.values())


def _run_here(options: argparse.Namespace) -> int:
    """Runs what is left of one workload in this process."""
    is_good = True
    for name, workload in pairs_left(options, options.workloads):
        for settings in plan_of(options, name, workload).all_settings():
            is_good &= experiment.run(dataclasses.replace(settings, isolate=False))
    return 0 if is_good else 1


def _command(options: argparse.Namespace, workload: str) -> list[str]:
    """Runs this module for one workload."""
    words = [sys.executable, "-m", _MODULE, "--here", "--workloads", workload]
    words += ["--framework", options.framework, "--folder", str(options.folder)]
    words += ["--seeds", str(options.seeds), "--data-dir", str(options.data_dir)]
    return [*words, "--baselines", *options.baselines]


def _pack(options: argparse.Namespace) -> None:
    trials = [
        trial
        for trial in logs.scan(options.folder).trials
        if trial.id.framework == options.framework
        and trial.id.submission in baselines.names()
    ]
    found = from_trials(trials, is_measured_here=False)
    if found:
        command = f"python -m {_MODULE} --framework {options.framework} --folder DIR"
        path = baselines.packed_file(options.framework)
        baselines.pack(path, packed_and(found, options.framework), command)
        print(f"packed: {path}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs and packs."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(given)
    workloads = design.chosen(options.workloads, is_quick=options.quick)
    if options.here:
        return _run_here(options)
    # Ends the child too: `subprocess.run` kills it when an exception passes through.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(exit_status.PREEMPTED))
    _pack(options)  # what an earlier call was stopped before
    for workload in workloads:
        if any(pairs_left(options, [workload])):
            subprocess.run(_command(options, workload))
            _pack(options)
    missing = baselines.gaps(
        baselines.shipped(options.framework), workloads, options.seeds
    )
    for name, lacking in missing.items():
        print(f"not run: {name} on {', '.join(lacking)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
