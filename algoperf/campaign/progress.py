"""How far a campaign is: counts per workload, times, costs; as lines or as one screen."""

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from algoperf import registry
from algoperf.campaign.ledger import Campaign, TrialState
from algoperf.campaign.plan import budget_seconds
from algoperf.campaign.verdict import State
from algoperf.outcome import Outcome
from algoperf.runner import experiment
from algoperf.runner.outcomes import Ending

_WIDE = 100  # columns of a terminal that shows everything
_FOR_WIDE = {5}  # the time that is spent


@dataclass
class Row:
    """One workload of a campaign."""

    workload: str
    counts: dict[State, int] = field(default_factory=lambda: dict.fromkeys(State, 0))
    seconds: float = 0.0  # wall time of finished trials
    left_seconds: float = 0.0  # of trials that are not finished, at most
    best: dict[str, float] = field(default_factory=dict)  # seconds by submission

    @property
    def num_trials(self) -> int:
        """Trials of the workload."""
        return sum(self.counts.values())


@dataclass(frozen=True)
class Summary:
    """Where a campaign stands."""

    rows: list[Row]
    causes: Mapping[str, int]  # failed trials by cause
    attempts: int
    failures: list[TrialState]

    def count(self, state: State) -> int:
        """Trials in that state."""
        return sum(row.counts[state] for row in self.rows)

    @property
    def seconds(self) -> float:
        """Wall time of finished trials, added up."""
        return sum(row.seconds for row in self.rows)


def summarise(ledger: Campaign, states: Iterable[TrialState]) -> Summary:
    """A summary of the states of a campaign's trials."""
    rows = {name: Row(name) for name in ledger.plan.workloads}
    causes: dict[str, int] = {}
    attempts, failures = 0, []
    for state in states:
        add(rows[state.plan.settings.workload], state, 1)
        attempts += state.verdict.attempts
        if state.verdict.state is State.FAILED:
            cause = state.verdict.cause.value if state.verdict.cause else ""
            causes[cause] = causes.get(cause, 0) + 1
            failures.append(state)
    return Summary(list(rows.values()), causes, attempts, failures)


def add(row: Row, state: TrialState, sign: int) -> None:
    """Counts a trial in, or with -1 out again."""
    settings, verdict = state.plan.settings, state.verdict
    row.counts[verdict.state] += sign
    if verdict.state in (State.WAITING, State.RUNNING):
        row.left_seconds += sign * budget_seconds(settings)
        return
    seconds = state.record.seconds if state.record else {}
    row.seconds += sign * float(seconds.get("total", 0.0))
    if state.outcome is Outcome.REACHED:
        taken = float(seconds.get("submission", 0.0))
        name = settings.experiment_name
        row.best[name] = min(taken, row.best.get(name, taken))


def duration(seconds: float) -> str:
    """As `algoperf report` writes it."""
    text: str = registry.scoring_module("tables").duration(seconds)
    return text


def eta(row: Row, slots: int) -> float:
    """Seconds until a workload may be done: the mean of its finished trials, or budgets."""
    left = row.counts[State.WAITING] + row.counts[State.RUNNING]
    done = row.num_trials - left
    expected = row.seconds / done * left if done and row.seconds else row.left_seconds
    return expected / max(1, slots)


def table(summary: Summary, slots: int) -> list[tuple[str, ...]]:
    """The rows of a screen or of `status`, with a header."""
    header = ("workload", "done", "running", "failed", "left", "spent", "left, est.")
    lines: list[tuple[str, ...]] = [(*header, "best time to target")]
    for row in summary.rows:
        counts = row.counts
        best = ", ".join(
            f"{name} {duration(seconds)}"
            for name, seconds in sorted(row.best.items(), key=lambda item: item[1])[:2]
        )
        left = counts[State.WAITING] + counts[State.RUNNING]
        lines.append(
            (
                row.workload,
                f"{counts[State.DONE]}/{row.num_trials}",
                str(counts[State.RUNNING]),
                str(counts[State.FAILED]),
                str(counts[State.WAITING]),
                duration(row.seconds),
                duration(eta(row, slots)) if left else "-",
                best or "-",
            )
        )
    return lines


def sentence(state: TrialState, *, is_left: bool) -> str:
    """A line about an attempt that has ended."""
    plan, verdict = state.plan, state.verdict
    again = " It will run again." if is_left else ""
    if state.outcome is not None and verdict.state is not State.RUNNING:
        ending = Ending(state.outcome, verdict.reason)
        caveats = state.record.caveats if state.record else ()
        return f"{experiment.sentence(plan, ending, caveats)}{again}"
    s = plan.settings
    what = verdict.cause or verdict.state
    reason = f": {verdict.reason}" if verdict.reason else ""
    return (
        f"{s.experiment_name}, {s.workload} ({s.framework}), study {plan.study}, trial "
        f"{plan.trial}: {what.value}{reason}.{again}"
    )


class Lines:
    """A line for each attempt that has ended: for logs of batch systems."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def started(self, key: str) -> None:
        """Not worth a line."""

    def ended(self, state: TrialState, *, is_left: bool) -> None:
        """One line."""
        self._say(sentence(state, is_left=is_left))

    def looked(self) -> None:
        """Nothing to draw."""


class Screen:
    """One screen of a terminal, drawn with rich."""

    def __init__(self, ledger: Campaign, slots: int) -> None:
        from rich.live import Live

        self._slots = slots
        self._states = {state.key: state for state in ledger.look_at_all()}
        self._rows = {name: Row(name) for name in ledger.plan.workloads}
        for state in self._states.values():
            add(self._rows[state.plan.settings.workload], state, 1)
        self._title = f"campaign {ledger.plan.name} in {ledger.folder}"
        self._last: list[str] = []
        self._ledger = ledger
        self._began = time.monotonic()
        self._live = Live(auto_refresh=False)
        self._live.update(self._draw())

    def __enter__(self) -> "Screen":
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.looked()
        self._live.stop()

    def ask(self, question: str) -> bool:
        """A question, with the screen out of the way."""
        self._live.stop()
        try:
            return ask(question)
        finally:
            self._live.start()

    def started(self, key: str) -> None:
        """An attempt runs now."""
        self._replace(key, self._ledger.look(key), is_running=True)

    def ended(self, state: TrialState, *, is_left: bool) -> None:
        """Its trial's new state, and a line."""
        self._replace(state.key, state, is_running=False)
        self._last = [*self._last[-4:], sentence(state, is_left=is_left)]

    def _replace(self, key: str, state: TrialState, *, is_running: bool) -> None:
        row = self._rows[state.plan.settings.workload]
        add(row, self._states[key], -1)
        if is_running:
            verdict = type(state.verdict)(State.RUNNING)
            state = TrialState(state.plan, verdict, None)
        self._states[key] = state
        add(row, state, 1)

    def looked(self) -> None:
        """Draws it anew."""
        self._live.update(self._draw(), refresh=True)

    def _draw(self) -> Any:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        summary = Summary(list(self._rows.values()), {}, 0, [])
        header, *rows = table(summary, self._slots)
        drawn = Table(
            title=self._title,
            title_justify="left",
            box=None,
            padding=(0, 2, 0, 0),
            pad_edge=False,
        )
        is_narrow = self._live.console.width < _WIDE
        shown = [n for n in range(len(header)) if not (is_narrow and n in _FOR_WIDE)]
        for number in shown:
            drawn.add_column(
                header[number],
                justify="right" if 0 < number < 7 else "left",
                no_wrap=True,
                # Narrow terminals cut the last column, not the names.
                min_width=max(len(row[number]) for row in (header, *rows))
                if number < 7
                else None,
            )
        for row in rows:
            drawn.add_row(*(Text(row[n], overflow="ellipsis") for n in shown))
        foot = f"running for {duration(time.monotonic() - self._began)}; Ctrl-C stops"
        return Group(drawn, Text(foot), *map(Text, self._last))


def ask(question: str) -> bool:
    """Asks on the terminal; no answer is a no."""
    try:
        print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip().lower() in ("y", "yes")
    except KeyboardInterrupt:  # a second Ctrl-C is an answer
        return True
