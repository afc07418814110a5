"""The two stages of DeepOBS's protocol as campaigns: try a grid, then repeat the best setting.

Everything lies in one folder: `tuning/` (one study; its trials are the points of the grid),
`repeats/<problem>/` (the chosen point; as many studies of one trial as there are seeds) and
`points/` (the search spaces of both, which this module writes).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from algoperf import files, logs, registry
from algoperf.campaign import control, progress, stages
from algoperf.campaign.control import Conditions
from algoperf.campaign.engines import EngineOptions
from algoperf.campaign.ledger import Campaign
from algoperf.campaign.plan import Entry, Plan
from algoperf.campaign.verdict import State
from algoperf.errors import BadLogs, BadSettings
from algoperf.prepared import MANIFEST
from algoperf.procedures import rehearsal
from algoperf.runner.randomness import seed_for

_TUNING, _REPEATS, _POINTS = "tuning", "repeats", "points"

Point = Mapping[str, Any]


@dataclass(frozen=True)
class Optimizer:
    """A submission that takes part, with the points that are tried for it."""

    entry: Entry
    points: Sequence[Point]


@dataclass(frozen=True)
class Protocol:
    """What is to run."""

    optimizers: Sequence[Optimizer]
    problems: Sequence[str]
    folder: Path
    data_dir: Path
    mode: str = "final"  # how the best setting is chosen
    num_seeds: int = 10
    seed: int = 0
    jobs: int = 1

    @property
    def num_runs(self) -> int:
        """Of both stages."""
        grid = sum(len(optimizer.points) for optimizer in self.optimizers)
        repeats = self.num_seeds * len(self.optimizers)
        return len(self.problems) * (grid + repeats)


@dataclass
class Progress:
    """What has come of a protocol so far."""

    runs: list[Any] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    is_stopped: bool = False
    num_failed: int = 0  # trials
    seconds: dict[str, float] = field(default_factory=dict)  # of a run, by problem


def check(protocol: Protocol, say: Callable[[str], None]) -> None:
    """Finds what is wrong before anything starts; prepares small data that are shipped."""
    for name in protocol.problems:
        prepare(name, protocol.data_dir, say)
    stages.check(_tuning(protocol))


def prepare(name: str, data_dir: Path, say: Callable[[str], None]) -> None:
    """Prepares the data of a problem, where they are shipped and missing."""
    definition = registry.definition(name)
    if definition.epochs is None:
        raise BadSettings(
            f"{name} is no problem of DeepOBS: it is not trained by epochs. Choose "
            "problems of the tier deepobs; `algoperf list` shows them."
        )
    folder = data_dir / definition.prepared_name
    is_shipped = definition.is_mini and definition.needs_data
    if is_shipped and not (folder / MANIFEST).exists():
        say(f"preparing the data of {name} in {folder}")
        rehearsal.prepare_shipped(definition, data_dir)


def run(protocol: Protocol, say: Callable[[str], None]) -> Progress:
    """Runs what is missing of both stages; what is there already is left as it is."""
    found = Progress()
    plan = _tuning(protocol)
    tuning = _runs(plan, protocol, say, found)
    found.runs = tuning
    if found.is_stopped:
        return found
    say(_expectation(protocol, found.seconds))
    for problem in protocol.problems:
        chosen = _chosen(protocol, problem, tuning, found)
        if not chosen:
            continue
        repeats = _runs(_repeating(protocol, problem, chosen), protocol, say, found)
        found.runs = _with_repeats(found.runs, repeats)
        if found.is_stopped:
            break
    return found


def _expectation(protocol: Protocol, seconds: Mapping[str, float]) -> str:
    """How long the repeats may take, by the runs of the search."""
    num_runs = protocol.num_seeds * len(protocol.optimizers)
    total = sum(num_runs * seconds[problem] for problem in protocol.problems)
    words = progress.duration(total / protocol.jobs)
    return (
        f"{num_runs * len(protocol.problems):,} repeats; by the runs of the search they take "
        f"about {words} in all."
    )


def _tuning(protocol: Protocol) -> Plan:
    folder = protocol.folder / _TUNING
    entries = [
        replace(
            optimizer.entry,
            tuning="external",
            search_space=_written(
                protocol.folder / _POINTS / f"{optimizer.entry.name}.json",
                optimizer.points,
                folder / optimizer.entry.name,
            ),
        )
        for optimizer in protocol.optimizers
    ]
    # A study has as many trials as the longest list has points; shorter lists end sooner.
    longest = max(len(optimizer.points) for optimizer in protocol.optimizers)
    return _plan(
        protocol, folder, protocol.problems, entries, 1, longest, protocol.seed
    )


def _repeating(
    protocol: Protocol, problem: str, chosen: Sequence[tuple[Optimizer, Point]]
) -> Plan:
    folder = protocol.folder / _REPEATS / problem
    entries = [
        replace(
            optimizer.entry,
            tuning="external",
            search_space=_written(
                protocol.folder / _POINTS / problem / f"{optimizer.entry.name}.json",
                [point],
                folder / optimizer.entry.name,
            ),
        )
        for optimizer, point in chosen
    ]
    # Seeds of its own: a repeat must never be the very run that was chosen.
    seed, studies = seed_for("repeats", protocol.seed), protocol.num_seeds
    return _plan(protocol, folder, [problem], entries, studies, 1, seed)


def _plan(
    protocol: Protocol,
    folder: Path,
    problems: Sequence[str],
    entries: Sequence[Entry],
    studies: int,
    trials: int,
    seed: int,
) -> Plan:
    return Plan(
        folder.name,
        folder,
        tuple(entries),
        tuple(problems),
        protocol.data_dir,
        studies=studies,
        trials=trials,
        seed=seed,
    )


def _written(path: Path, points: Sequence[Point], used_in: Path) -> Path:
    """A search space's file; BadSettings where runs with other points lie in `used_in`."""
    content = [dict(point) for point in points]
    if path.exists() and used_in.exists():
        try:
            before = json.loads(files.read_regular(path))
        except ValueError as error:
            raise BadLogs(f"{path} is damaged ({error}). Restore it.") from None
        if before != content:
            raise BadSettings(
                f"The runs in {used_in} had the points of {path}, which differ from those of "
                "this call. Choose another --folder, or give the same --grid, --base and "
                "--select as before."
            )
    else:
        files.write_atomically(path, json.dumps(content, indent=2) + "\n")
    return path


def _runs(
    plan: Plan,
    protocol: Protocol,
    say: Callable[[str], None],
    found: Progress,
) -> list[Any]:
    """Runs a stage's campaign, and reads what its folder holds then."""
    ledger = Campaign(plan)
    ledger.write_manifest()
    options = EngineOptions(jobs=protocol.jobs, is_scored=False)
    is_complete = control.run(ledger, Conditions(options=options), say)
    found.is_stopped = not is_complete
    states = ledger.look_at_all()
    summary = progress.summarise(ledger, states)
    found.num_failed += len(summary.failures)
    for row in summary.rows:
        num_done = row.num_trials - row.counts[State.WAITING]
        found.seconds.setdefault(row.workload, row.seconds / max(1, num_done))
    trials = []
    for state in states:
        if (state.plan.folder / logs.HYPERPARAMETERS_FILE).exists():
            trials.append(logs.read_trial(state.plan.id, state.plan.folder))
    experiments = registry.scoring_module("protocols.deepobs.experiments")
    scan = experiments.runs_of(trials, first_seed=experiments.FIRST_SEED)
    found.left_out += scan.left_out
    runs: list[Any] = scan.runs
    return runs


def _chosen(
    protocol: Protocol, problem: str, tuning: Sequence[Any], found: Progress
) -> list[tuple[Optimizer, Point]]:
    """The point of each optimizer that is repeated; those without a run are noted."""
    indicators = registry.scoring_module("protocols.deepobs.indicators")
    own = [run for run in tuning if run.problem == problem]
    best = {r.optimizer: r.chosen for r in indicators.results(own, protocol.mode)}
    chosen = []
    for optimizer in protocol.optimizers:
        name = optimizer.entry.name
        if name in best:
            chosen.append((optimizer, best[name].runs[0].point))
        else:
            found.left_out.append(f"{name} has no complete run on {problem}")
    return chosen


def _with_repeats(runs: Sequence[Any], repeats: Sequence[Any]) -> list[Any]:
    """All runs, but those of the search that were repeated.

    A setting was chosen because its run of the search was good: that run would flatter it.
    """
    repeated = {(run.problem, run.optimizer, run.setting) for run in repeats}
    kept = [r for r in runs if (r.problem, r.optimizer, r.setting) not in repeated]
    return [*kept, *repeats]
