"""Runs a campaign for people: a screen or lines, Ctrl-C and SIGTERM, one driver at a time."""

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType

from algoperf.campaign import engines
from algoperf.campaign.drive import Drive, Watcher
from algoperf.campaign.engines import Engine, EngineOptions
from algoperf.campaign.ledger import Campaign
from algoperf.campaign.plan import budget_seconds
from algoperf.campaign.progress import Lines, Screen, ask
from algoperf.runner.settings import Settings

_QUESTION = (
    "Stop this campaign? Running trials save a checkpoint; run it again to go on."
)


class Interruption:
    """Whether somebody wants the campaign to stop: by Ctrl-C, SIGTERM, or `cancel`."""

    def __init__(
        self, is_cancelled: Callable[[], bool], ask: Callable[[str], bool] | None
    ) -> None:
        """ask: asks a person; None: nobody is there."""
        self._is_cancelled = is_cancelled
        self._ask = ask
        self._is_asking = False
        self._is_interrupted = False
        self._is_certain = False

    @contextlib.contextmanager
    def listening(self) -> Iterator["Interruption"]:
        """Within, the two signals are answered here."""
        numbers = {signal.SIGINT: self._interrupt, signal.SIGTERM: self._terminate}
        before = {number: signal.getsignal(number) for number in numbers}
        for number, handler in numbers.items():
            signal.signal(number, handler)
        try:
            yield self
        finally:
            for number, previous in before.items():
                signal.signal(number, previous)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self._is_interrupted = True
        if self._is_asking:
            raise KeyboardInterrupt

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        self._is_certain = True

    def should_stop(self) -> bool:
        """Looks, and asks once where a person can answer."""
        if self._is_certain or self._is_cancelled():
            return True
        if not self._is_interrupted:
            return False
        self._is_interrupted = False
        self._is_certain = self._ask is None or self._answer(self._ask)
        return self._is_certain

    def _answer(self, ask: Callable[[str], bool]) -> bool:
        self._is_asking = True
        try:
            return ask(_QUESTION)
        except KeyboardInterrupt:
            return True
        finally:
            self._is_asking = False


@dataclass(frozen=True)
class Conditions:
    """How a campaign is run, beside its plan."""

    engine: str = "local"
    options: EngineOptions = field(default_factory=EngineOptions)
    calibrate: bool = False


def run(ledger: Campaign, conditions: Conditions, say: Callable[[str], None]) -> bool:
    """Runs what is left of a campaign; False if it was stopped before the end."""
    with ledger.driven():
        engine = engines.make(conditions.engine, conditions.options, ledger.folder)
        calibrate = cheapest(ledger) if conditions.calibrate else None
        with contextlib.ExitStack() as stack:
            watcher: Watcher = Lines(say)
            question: Callable[[str], bool] | None = None
            if sys.stdin is not None and sys.stdin.isatty():
                question = ask
            if sys.stdout is not None and sys.stdout.isatty():
                screen = stack.enter_context(Screen(ledger, engine.slots))
                watcher, question = screen, screen.ask
            interruption = Interruption(ledger.is_cancelled, question)
            stack.enter_context(interruption.listening())
            return _drive(ledger, engine, watcher, interruption, conditions, calibrate)


def _drive(
    ledger: Campaign,
    engine: Engine,
    watcher: Watcher,
    interruption: Interruption,
    conditions: Conditions,
    calibrate: Settings | None,
) -> bool:
    return Drive(
        ledger,
        engine,
        watcher,
        is_scored=conditions.options.is_scored,
        calibrate=calibrate,
        should_stop=interruption.should_stop,
    ).run()


def cheapest(ledger: Campaign) -> Settings:
    """The settings with the smallest budget: what measures the speed of every machine."""
    return min(ledger.plan.all_settings(), key=budget_seconds)
