"""What `algoperf campaign` prints, as text and as JSON."""

import dataclasses
from pathlib import Path
from typing import Any

from algoperf import registry
from algoperf.campaign import progress
from algoperf.campaign.ledger import Campaign
from algoperf.campaign.plan import Plan
from algoperf.campaign.progress import Summary
from algoperf.campaign.stages import Cost
from algoperf.campaign.verdict import State
from algoperf.download import readable_size

_MOST_FAILURES = 10


def _aligned(title: str, header: object, rows: object) -> str:
    text: str = registry.scoring_module("tables").aligned(title, header, rows)
    return text


def cost(plan: Plan, found: list[Cost]) -> str:
    """What a campaign costs at most, as a table and three sentences."""
    header = ["workload", "trials", "at most", "one trial", "expected", "disk"]
    rows = [
        [
            cost.workload,
            f"{cost.trials:,}",
            progress.duration(cost.seconds),
            progress.duration(cost.longest),
            progress.duration(cost.expected_seconds),
            readable_size(int(cost.disk_bytes)),
        ]
        for cost in found
    ]
    total = sum(cost.seconds for cost in found)
    trials = sum(cost.trials for cost in found)
    disk = readable_size(int(sum(cost.disk_bytes for cost in found)))
    longest = progress.duration(max(cost.longest for cost in found))
    text = _aligned(
        f"Campaign {plan.name}: {len(plan.submissions)} submissions", header, rows
    )
    return (
        f"{text}\n{trials:,} trials, at most {progress.duration(total)} of submission time in "
        f"all and {disk} of disk.\nHowever many machines share it, it takes as long as its "
        f"longest trial: at most {longest}, and evaluations.\nBudgets are the worst case; "
        "evaluations are not counted. Mini workloads' checkpoints are too small to count."
    )


def cost_json(plan: Plan, found: list[Cost], manifest: Path) -> dict[str, Any]:
    """The same for programs."""
    return {
        "campaign": plan.name,
        "manifest": str(manifest),
        "workloads": [dataclasses.asdict(cost) for cost in found],
    }


def status(ledger: Campaign, summary: Summary) -> str:
    """Where a campaign stands, what failed, and what to do about it."""
    header, *rows = progress.table(summary, 1)
    lines = [_aligned(f"Campaign {ledger.plan.name} in {ledger.folder}", header, rows)]
    for state in summary.failures[:_MOST_FAILURES]:
        lines.append(f"failed: {progress.sentence(state, is_left=False)}")
    more = len(summary.failures) - _MOST_FAILURES
    lines += [f"failed: {more} more"] if more > 0 else []
    for cause in summary.causes:
        lines.append(
            f"Run them again with: algoperf campaign retry {ledger.folder} --cause {cause}"
        )
    return "\n".join(lines)


def status_json(ledger: Campaign, summary: Summary) -> dict[str, Any]:
    """The same for programs."""
    return {
        "folder": str(ledger.folder),
        "is_driven": ledger.is_driven(),
        "states": {state.value: summary.count(state) for state in State},
        "causes": dict(summary.causes),
        "attempts": summary.attempts,
        "seconds": summary.seconds,
        "workloads": {
            row.workload: {state.value: row.counts[state] for state in State}
            | {"best_seconds": row.best}
            for row in summary.rows
        },
    }
