"""Runs the suite's campaigns: all seeds at once, or seed by seed until it is decided.

The sequential rule: after each round from the second on, one seed more of every workload, the
verdict is looked at with intervals of level 1 - 0.05 / L, where L is the number of looks that
there can be. By Bonferroni's inequality the probability of a wrong decision at any of them stays
below 5 %. The first verdict other than "undecided" ends the runs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from algoperf import logs
from algoperf.campaign import control, stages
from algoperf.campaign.control import Conditions
from algoperf.campaign.engines import EngineOptions
from algoperf.campaign.ledger import Campaign
from algoperf.campaign.plan import Entry, Plan
from algoperf.runner.supervision.preemption import Preempted
from algoperf.suite.plans import make_plan
from algoperf.suite.runs import Results, from_trials
from algoperf.suite.statistics import LEVEL, UNDECIDED

FIRST_LOOK = 2  # rounds: one seed does not show its spread


def level_of(seeds: int, *, is_sequential: bool) -> float:
    """The level of intervals, for as many looks as there can be."""
    looks = max(1, seeds - FIRST_LOOK + 1) if is_sequential else 1
    return 1 - (1 - LEVEL) / looks


@dataclass(frozen=True)
class Order:
    """What is to be run, and where."""

    entries: tuple[Entry, ...]
    workloads: tuple[str, ...]
    folder: Path
    data_dir: Path
    seeds: int
    seed: int = 0
    trials: int | None = None
    jobs: int = 1

    def plan(self, rounds: int) -> Plan:
        """The campaign of the first rounds."""
        return make_plan(
            self.entries,
            self.workloads,
            self.folder,
            rounds,
            self.data_dir,
            trials=self.trials,
            seed=self.seed,
        )


def run(
    order: Order,
    say: Callable[[str], None],
    verdict: Callable[[Sequence[Results]], str] | None = None,
) -> list[Results]:
    """Runs what is left of the order; returns all runs in its folder.

    verdict: what the runs so far say; given, it is asked after every round from the second on,
    and anything but "undecided" ends the runs. Raises `Preempted` if somebody stopped them.
    """
    numbers = range(1, order.seeds + 1) if verdict else [order.seeds]
    found: list[Results] = []
    for rounds in numbers:
        _drive(order.plan(rounds), order.jobs, say)
        found = results_in(order)
        if verdict is None or rounds < FIRST_LOOK:
            continue
        decided = verdict(found)
        if decided != UNDECIDED and rounds < order.seeds:
            say(f"decided after {rounds} of {order.seeds} seeds: {decided}.")
            break
    return found


def _drive(plan: Plan, jobs: int, say: Callable[[str], None]) -> None:
    stages.prepare_shipped(plan, say)
    stages.check(plan)
    ledger = Campaign(plan)
    ledger.write_manifest()
    options = EngineOptions(jobs=jobs, is_scored=False)
    if not control.run(ledger, Conditions("local", options), say):
        raise Preempted


def results_in(order: Order) -> list[Results]:
    """The runs of the order's submissions and workloads that its folder holds."""
    trials = [
        trial
        for trial in logs.scan(order.folder).trials
        if trial.id.submission in {entry.name for entry in order.entries}
        and trial.id.workload in order.workloads
        and trial.id.study <= order.seeds
    ]
    return from_trials(trials, is_measured_here=order.jobs == 1)
