"""Measures at the steps of a schedule and writes what it finds, off the submission's clock.

A `Recorder` is a step hook: the trial calls it before and after a step. All quantities of a step
are those of its parameters before the update, its batch and its key; they are computed after
the update, from copies, because two of them need the update's direction. Alpha needs the next
step's batch too, and follows then.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from algoperf.instrument_logs import InstrumentLog
from algoperf.instruments.alpha import End, alpha
from algoperf.instruments.measuring import Options, Ranges, Step
from algoperf.instruments.schedules import Linear, Schedule
from algoperf.probe import NotMeasurable, Point, Probe, Sample, Vector, norms

_START = "start"  # of this step: its own direction
_END = "end"  # of the step before: that one's direction
_SAME = 1e-6  # relative difference of products with the same parameters
_MOVED = (
    "not at steps after which the parameters changed before the next step began, as where "
    "prepare_for_eval puts averaged weights in their place"
)


class View(Protocol):
    """One training step as the trial shows it; see `runner.step_hooks.StepView`."""

    @property
    def step(self) -> int:
        """0 is the first."""
        ...

    @property
    def params(self) -> Any:
        """Of the submission."""
        ...

    @property
    def model_state(self) -> Any:
        """Of the submission."""
        ...

    @property
    def batch(self) -> Any:
        """The one that the update gets."""
        ...

    @property
    def key(self) -> Any:
        """The one that the update gets."""
        ...


@dataclass(frozen=True)
class Plan:
    """Which quantities are measured when."""

    names: tuple[str, ...]
    schedule: Schedule = field(default_factory=Linear)
    own: Mapping[str, Schedule] = field(default_factory=dict)  # of single quantities
    # When histograms' ranges are adapted to what was counted; None: never.
    adapt_bins: Schedule | None = None

    def at(self, step: int) -> list[str]:
        """The quantities that are measured at a step."""
        return [n for n in self.names if self.own.get(n, self.schedule)(step)]


@dataclass(frozen=True)
class _Pending:
    """A step whose Alpha awaits the next batch."""

    step: int
    direction: Vector  # not yet divided by its length
    length: float
    start: End
    left: list[
        float
    ]  # the direction times the parameters that the step left, by tensor


class Recorder:
    """Implements `runner.step_hooks.StepHook`."""

    def __init__(
        self,
        probe: Probe,
        plan: Plan,
        options: Options,
        *,
        log: InstrumentLog | None,
        check: Callable[[int, Any], None] = lambda step, params: None,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        """log: None on all processes but the first, which measure all the same.

        check(step, params): raises what is to be said of parameters that are not the model's.
        """
        self._probe, self._plan, self._options = probe, plan, options
        self._log, self._check, self._now = log, check, now
        self._began = now()
        self._ranges = options.ranges
        self._first: Vector | None = None  # the parameters that training began with
        self._pending: _Pending | None = None
        self._before: tuple[Point, Sample] | None = None

    def wants(self, step: int) -> bool:
        """Whether anything is measured at that step, or has to be kept from it."""
        is_start = self._first is None and "Distance" in self._plan.names
        return is_start or self._pending is not None or bool(self._plan.at(step))

    def before_step(self, view: View) -> None:
        """Copies what the update may destroy."""
        self._check(view.step, view.params)
        point = self._probe.copy(view.params, view.model_state)
        if self._first is None and "Distance" in self._plan.names:
            self._first = point.values
        sample = self._probe.copy_sample(Sample(view.batch, view.key))
        self._before = (point, sample)

    def after_step(self, view: View) -> None:
        """Measures the step that was taken."""
        assert self._before is not None, "before_step comes first"
        point, sample = self._before
        self._before = None
        names, pending = self._plan.at(view.step), self._pending
        if not names and pending is None:
            return
        begin = self._now()
        update, left = self._update(view, point) if names else (None, [])
        length = 0.0 if update is None else _length(self._probe, update)
        directions: dict[str, Vector] = {}
        if pending is not None:
            directions[_END] = pending.direction
        # A length that is not a number gives an alpha that is none either.
        if "Alpha" in names and update is not None and length != 0:
            directions[_START] = update
        options = Options(
            self._options.proxy,
            self._options.coupled,
            _seed_of(self._options.seed, view.step),
            self._ranges,
        )
        step = Step(self._probe, options, point, sample, names, directions)
        found = step.run(update)
        self._add_norms(names, found.values, update, point)
        self._finish(pending, step, view.step, point)
        self._pending = self._started(view.step, names, step, directions, length, left)
        if self._plan.adapt_bins is not None and self._plan.adapt_bins(view.step):
            self._ranges = step.adapted_ranges()
        if names and self._log is not None:
            found.microseconds["all"] = (self._now() - begin) * 1e6
            rest = {"refused": found.refused, "estimators": found.estimators}
            self._log.add(
                view.step,
                view.step,
                found.values,
                microseconds={k: round(v) for k, v in found.microseconds.items()},
                **{name: part for name, part in rest.items() if part},
            )

    def _update(self, view: View, point: Point) -> tuple[Vector, list[float]]:
        """The step that was taken, and its products with the parameters that it left."""
        self._check(view.step, view.params)
        held = self._probe.held(view.params)
        update = self._probe.combine(1.0, held, -1.0, point.values)
        return update, self._probe.dots(update, held).tolist()

    def _add_norms(
        self,
        names: list[str],
        values: dict[str, Any],
        update: Vector | None,
        point: Point,
    ) -> None:
        if "UpdateSize" in names and update is not None:
            values["UpdateSize"] = norms(self._probe, update).tolist()
        if "Distance" in names and self._first is not None:
            moved = self._probe.combine(1.0, point.values, -1.0, self._first)
            values["Distance"] = norms(self._probe, moved).tolist()
        if "Time" in names:
            values["Time"] = self._now() - self._began

    def _started(
        self,
        number: int,
        names: list[str],
        step: Step,
        directions: Mapping[str, Vector],
        length: float,
        left: list[float],
    ) -> _Pending | None:
        """What Alpha of this step needs at the next one; None where it has no more to wait."""
        found = step.found
        if "Alpha" not in names:
            return None
        if _START not in directions:
            found.values["Alpha"] = alpha(0.0, _NOWHERE, _NOWHERE)
            return None
        try:
            losses, slopes = step.observed(_START)
            start = End.of(losses, slopes / length)
        except NotMeasurable as error:
            found.refused["Alpha"] = str(error)
            return None
        return _Pending(number, directions[_START], length, start, left)

    def _finish(
        self, pending: _Pending | None, step: Step, at: int, point: Point
    ) -> None:
        """Alpha of the step before, with this step's batch at its end."""
        if pending is None:
            return
        found = self._probe.dots(pending.direction, point.values)
        if not np.allclose(found, pending.left, rtol=_SAME, atol=0, equal_nan=True):
            if self._log is not None:
                self._log.add(pending.step, at, {}, refused={"Alpha": _MOVED})
            return
        losses, slopes = step.observed(_END)
        end = End.of(losses, slopes / pending.length)
        value = alpha(pending.length, pending.start, end)
        if self._log is not None:
            self._log.add(pending.step, at, {"Alpha": value})

    def state(self) -> dict[str, Any]:
        """What a resumed trial goes on from."""
        pending = self._pending
        return {
            "first": dict(self._first) if self._first is not None else {},
            "direction": dict(pending.direction) if pending is not None else {},
            "pending": []
            if pending is None
            else [
                float(pending.step),
                pending.length,
                pending.start.loss,
                pending.start.slope,
                pending.start.loss_variance,
                pending.start.slope_variance,
                *pending.left,
            ],
            "ranges": self._ranges.reaches(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state` has returned."""
        self._first = dict(state["first"]) or None
        self._pending = None
        if state["pending"]:
            step, length, *rest = map(float, state["pending"])
            direction = dict(state["direction"])
            start, left = End(*rest[:4]), rest[4:]
            self._pending = _Pending(int(step), direction, length, start, left)
        self._ranges = Ranges.reaching([float(r) for r in state["ranges"]])

    def close(self) -> None:
        """Closes the file."""
        if self._log is not None:
            self._log.close()


_NOWHERE = End(0.0, 0.0, 0.0, 0.0)


def _length(probe: Probe, update: Vector) -> float:
    return float(np.sqrt(np.square(norms(probe, update)).sum()))


def _seed_of(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, step]).generate_state(1)[0])
