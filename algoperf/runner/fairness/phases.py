"""Tells listeners when a phase that is not charged to the submission begins and ends.

The clock shows what it does on a board (see `Clock`); this is a board that listeners can watch.
Steps cost nothing but a comparison: nobody is told of phases of the submission.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from algoperf.runner.clock import Numbers, Phase

_PHASES = tuple(Phase)
_SUBMISSION = 1.0 + _PHASES.index(Phase.SUBMISSION)


class PhaseListener(Protocol):
    """Is told of phases in which the submission's clock stands still."""

    def begin(self, phase: Phase) -> None:
        """A phase has begun."""
        ...

    def end(self, phase: Phase) -> None:
        """A phase has ended."""
        ...


class WatchedBoard:
    """Hands the clock's numbers on to a board, and phases to listeners."""

    def __init__(
        self, board: Numbers | None, listeners: Sequence[PhaseListener] = ()
    ) -> None:
        self.listeners = list(listeners)
        self._board: Numbers = [0.0] * 3 if board is None else board
        self._running: Phase | None = None

    def __setitem__(self, place: int, value: float, /) -> None:
        """Sets a number of the board; place 0 says which phase runs."""
        self._board[place] = value
        if place or value == _SUBMISSION:
            return
        if value:
            phase = self._running = _PHASES[int(value) - 1]
            self._tell(lambda listener: listener.begin(phase))
        elif self._running is not None:
            phase, self._running = self._running, None
            self._tell(lambda listener: listener.end(phase))

    def _tell(self, tell: Callable[[PhaseListener], None]) -> None:
        for listener in self.listeners:
            tell(listener)
