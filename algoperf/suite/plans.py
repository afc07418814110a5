"""Plans of the suite's runs: by steps, one study for every seed."""

from collections.abc import Sequence
from pathlib import Path

from algoperf.campaign.plan import Entry, Plan
from algoperf.suite import design


def make_plan(
    entries: Sequence[Entry],
    workloads: Sequence[str],
    folder: Path,
    seeds: int,
    data_dir: Path,
    *,
    trials: int | None = None,
    seed: int = 0,
) -> Plan:
    """A campaign of these submissions, all with the same seeds.

    trials: points of a search space that each seed tries; None: all of a list of points.
    """
    return Plan(
        "suite",
        folder,
        tuple(entries),
        tuple(workloads),
        data_dir,
        ruleset=design.RULESET,
        studies=seeds,
        trials=trials,
        seed=seed,
        checkpoints=False,
        by_steps=True,
    )
