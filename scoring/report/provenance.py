"""Where the numbers come from: rules, targets, machines, and how to get them again."""

import hashlib
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import algoperf
from algoperf import logs
from algoperf.logs import Trial

from .. import published
from ..checks import hardware_words
from ..leaderboard import Leaderboard
from .document import (
    NONE,
    Cell,
    Code,
    Column,
    DataTable,
    Section,
    count_cell,
    duration_cell,
    text_cell,
)

_NOT_RECORDED = "not recorded"
_NOT_COMPUTED = "not computed: the files could not be read again"
_READ_FILES = (
    logs.EVALUATIONS_FILE,
    logs.HYPERPARAMETERS_FILE,
    logs.OUTCOME_FILE,
    "meta_data_*.json",
    "flags_*.json",
)


def rules_section(board: Leaderboard) -> Section:
    """The constants of the ruleset and the targets."""
    return Section(
        "rules",
        "Rules and targets",
        "What counts as reaching a target, which trials and studies are compared, and when "
        "a time is too slow to count.",
        [_rules_table(board), _targets_table(board)],
    )


def _rules_table(board: Leaderboard) -> DataTable:
    pool, rules = board.pool, board.pool.ruleset
    tuning = pool.tuning
    facts = {
        "ruleset": rules.name,
        "tuning": f"{tuning}"
        + (" (on the clock, no search space)" if tuning == "self" else ""),
        "studies": f"{pool.num_studies} scored; the rules ask for {rules.studies(tuning)}",
        "trials of a study": (
            f"at most {pool.num_trials} found; the rules ask for {rules.trials(tuning)}"
        ),
        "chosen trial of a study": (
            "the smallest index of the first evaluation at target (compatibility)"
            if board.compat
            else "the first to reach the validation target"
        ),
        "scored time": f"the chosen trial's time to the {rules.scored_split} target",
        "time of a workload": "median over the studies; a miss counts as infinite",
        "r_max, the limit of the performance ratio": f"{rules.max_performance_ratio:g}",
        "held-out workloads": ", ".join(pool.held_out) or "none",
        "score": (
            "trapezoid rule on 100 points, as published (compatibility)"
            if board.compat
            else "exact area under the profile"
        ),
        "tier": "full" if pool.tier == "full" else "development: no benchmark result",
    }
    return _facts_table("rules", "Rules used", facts)


def _facts_table(key: str, caption: str, facts: Mapping[str, str]) -> DataTable:
    columns = [Column("what", is_numeric=False), Column("value", is_numeric=False)]
    rows = [[text_cell(name), text_cell(value)] for name, value in facts.items()]
    return DataTable(key, caption, columns, rows, is_sortable=False)


def _targets_table(board: Leaderboard) -> DataTable:
    rows = []
    for name in board.pool.scored_workloads:
        facts = board.pool.workloads[name]
        target = facts.target
        budget = facts.budget_seconds
        rows.append(
            [
                Cell(name, name, detail="held out" if name != facts.base_name else ""),
                text_cell(target.metric),
                text_cell(target.better),
                _bound_cell(target.validation),
                _bound_cell(target.test),
                duration_cell(budget),
            ]
        )
    columns = [
        Column("workload", is_numeric=False),
        Column("metric", is_numeric=False),
        Column("better", is_numeric=False),
        Column("validation target"),
        Column("test target"),
        Column("budget"),
    ]
    return DataTable(
        "targets",
        "Targets and budgets",
        columns,
        rows,
        f"A target is reached by a finite value that is strictly better. {NONE}: not known.",
    )


def _bound_cell(bound: float | None) -> Cell:
    if bound is None:
        return text_cell("none")
    return Cell(f"{bound:.6g}", bound) if math.isfinite(bound) else Cell(NONE)


def machines_section(board: Leaderboard) -> Section:
    """Hardware, versions and commits, by how many trials recorded them."""
    return Section(
        "machines",
        "Hardware and versions",
        "What the trials recorded about the machines and the code that they ran on; times "
        "compare only on the same hardware.",
        [_machines_table(board)],
    )


_SETTINGS = ("hardware", "framework", "precision", "ran under", "versions", "commit")


def _machines_table(board: Leaderboard) -> DataTable:
    groups: Counter[tuple[str, ...]] = Counter()
    for entry in board.entries:
        for trial in board.pool.trials(entry.submission):
            groups[(entry.submission, *_setting(trial))] += 1
    recorded = [
        i
        for i in range(len(_SETTINGS))
        if any(group[i + 1] != _NOT_RECORDED for group in groups)
    ]
    rows = [
        [
            text_cell(submission),
            count_cell(count),
            *(text_cell(setting[i]) for i in recorded),
        ]
        for (submission, *setting), count in sorted(groups.items())
    ]
    columns = [Column("submission", is_numeric=False), Column("trials")]
    columns += [Column(_SETTINGS[i], is_numeric=False) for i in recorded]
    lacking = [n for i, n in enumerate(_SETTINGS) if i not in recorded]
    note = f"Not recorded in these logs: {', '.join(lacking)}." if lacking else ""
    return DataTable("machines", "What the trials ran on", columns, rows, note)


def _setting(trial: Trial) -> tuple[str, ...]:
    """In the order of _SETTINGS."""
    meta = trial.meta
    versions = published.versions(trial) if meta.versions is None else meta.versions
    listed = ", ".join(f"{name} {versions[name]}" for name in sorted(versions))
    return (
        hardware_words(trial) or _NOT_RECORDED,
        trial.id.framework,
        meta.precision or _NOT_RECORDED,
        meta.ruleset or _NOT_RECORDED,
        listed or _NOT_RECORDED,
        meta.commit or published.commit(trial) or _NOT_RECORDED,
    )


def reproduce_section(
    board: Leaderboard, command: str, targets_file: Path | None
) -> Section:
    """The command, and checksums of what it read."""
    trials = [t for e in board.entries for t in board.pool.trials(e.submission)]
    facts = {"version": f"algoperf {algoperf.__version__}"}
    facts["logs (SHA-256)"] = digest_of_logs(trials) or _NOT_COMPUTED
    if targets_file is not None:
        facts["targets file (SHA-256)"] = _digest_of_file(targets_file) or _NOT_COMPUTED
    blocks: list[DataTable | Code] = [_facts_table("read", "What was read", facts)]
    if command:
        blocks.insert(0, Code("The command that wrote this report", command))
    return Section(
        "reproduce",
        "How to reproduce",
        "The same logs, version and command reproduce this file byte for byte: nothing "
        "in it depends on the date, and resampling uses a fixed seed.",
        blocks,
    )


def _digest_of_file(path: Path) -> str:
    """Empty where it cannot be read (any more)."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def digest_of_logs(trials: Sequence[Trial]) -> str:
    """SHA-256 over the files that scoring reads, wherever the folders lie.

    Empty where a file cannot be read (any more).
    """
    digest = hashlib.sha256()
    named = {str(trial.id.folder(Path())): trial for trial in trials}
    for name in sorted(named):
        trial = named[name]
        files = sorted(f for pattern in _READ_FILES for f in trial.folder.glob(pattern))
        if trial.num_evaluations and not files:
            return ""
        for path in files:
            try:
                content = path.read_bytes()
            except OSError:
                return ""
            digest.update(os.fsencode(f"{name}/{path.name}\0{len(content)}\0"))
            digest.update(content)
    return digest.hexdigest()
