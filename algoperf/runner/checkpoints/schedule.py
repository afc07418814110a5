"""When a checkpoint is due: at evaluations, as often as `--checkpoint-every` says."""

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from algoperf.errors import BadSettings

AUTO = "auto"
_SHARE = 0.01  # of wall time, that checkpoints take at most when their period is `auto`
_FREE_SECONDS = (
    2.0  # beyond the share, so that small states are saved at every evaluation
)
_MAX_SECONDS = 31_536_000.0  # a year
_SECONDS = {"": 1.0, "s": 1.0, "min": 60.0, "h": 3_600.0}
_BYTES = {"MB": 1e6, "GB": 1e9, "TB": 1e12}
_MONOTONIC = time.perf_counter  # taken before a submission is loaded
_FORM = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")


@dataclass(frozen=True)
class Period:
    """How often checkpoints are written; neither: as often as costs 1 % of wall time."""

    seconds: float | None = None  # of wall time, at least, from one to the next
    bytes_per_hour: float | None = None  # on average, at most

    @classmethod
    def parse(cls, text: str) -> "Period":
        """From `auto`, a time such as `600`, `10min` or `1h`, or a size such as `20GB`.

        A size is what may be written per hour. `BadSettings` for anything else.
        """
        if text == AUTO:
            return cls()
        match = _FORM.fullmatch(text.strip())
        number, unit = (float(match[1]), match[2]) if match else (0.0, "?")
        if unit in _SECONDS and number * _SECONDS[unit] <= _MAX_SECONDS:
            return cls(seconds=number * _SECONDS[unit])
        if unit in _BYTES and number > 0:
            return cls(bytes_per_hour=number * _BYTES[unit])
        raise BadSettings(
            f"--checkpoint-every is {text!r}; it must be `{AUTO}`, a time of at most a year "
            "such as 600, 10min or 1h (0: at every evaluation), or a size that may be "
            "written per hour, such as 500MB or 20GB."
        )


class Schedule:
    """Decides at an evaluation whether a checkpoint is due."""

    def __init__(
        self, period: Period | None = None, now: Callable[[], float] = _MONOTONIC
    ) -> None:
        """`period`: None is `auto`; `now`: wall time in seconds."""
        self._period = period or Period()
        self._now = now
        self._begin = now()
        self._saved_at: float | None = None
        self._size_bytes = 0
        self._spent = self._spent_on_last = 0.0
        self._num_cpus = os.cpu_count() or 1

    def is_due(self) -> bool:
        """Whether one should be written now. The first one always is."""
        if self._saved_at is None:
            return True
        now, period = self._now(), self._period
        since = now - self._saved_at
        if period.seconds is not None:
            return since >= period.seconds
        if period.bytes_per_hour is not None:
            return since >= 3_600 * self._size_bytes / period.bytes_per_hour
        allowed = _FREE_SECONDS + _SHARE * (now - self._begin)
        return self._spent + self._spent_on_last <= allowed

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """Within, the trial stands still for a checkpoint."""
        self._saved_at = began = self._now()
        self._spent_on_last = 0.0
        yield
        self._spend(self._now() - began)

    def saved(self, size_bytes: int) -> None:
        """Takes note of the last one's size."""
        self._size_bytes = size_bytes

    def written(self, cpu_seconds: float) -> None:
        """Takes note of what writing the last one in the background has cost.

        A thread that computes beside the training takes one of the processors from it.
        """
        self._spend(cpu_seconds / self._num_cpus)

    def _spend(self, seconds: float) -> None:
        self._spent += seconds
        self._spent_on_last += seconds
