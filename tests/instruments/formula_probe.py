"""Instruments on functions that are given by formula: a recorder around any numpy loop."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from algoperf import instrument_logs
from algoperf.instrument_logs import InstrumentLog
from algoperf.instruments.measuring import Options
from algoperf.instruments.recorder import Plan, Recorder
from algoperf.probe import NotMeasurable, Point
from algoperf.probe_base import ProbeBase
from algoperf.probe_chunks import Chunk


@dataclass(frozen=True)
class Formula:
    """examples(theta, batch): losses [B] and gradients [B, D]; hessian: [D, D]."""

    examples: Any
    hessian: Any


class FormulaProbe(ProbeBase):
    """`algoperf.probe.Probe` of one vector `theta`."""

    names = ("theta",)

    def __init__(self, formula, size):
        super().__init__(None)
        self.formula, self.num_parameters = formula, size

    def copy(self, params, model_state):
        return Point({"theta": params["theta"].copy()}, model_state)

    def held(self, params):
        return params

    def copy_sample(self, sample):
        return sample

    def dots(self, a, b):
        return np.array([a["theta"] @ b["theta"]])

    def combine(self, a, x, b, y):
        return {"theta": a * x["theta"] + b * y["theta"]}

    def from_numpy(self, arrays):
        return dict(arrays)

    def to_numpy(self, vector):
        return dict(vector)

    def are_rows(self, sample, num_rows):
        return True

    def summed(self, point, sample):
        losses = self._examples(point, sample)[0]
        return losses, float(len(losses))

    def _examples(self, point, sample):
        return self.formula.examples(point.values["theta"], sample.batch)

    def batch_gradient(self, point, sample):
        losses, grads = self._examples(point, sample)
        return losses, float(len(losses)), {"theta": grads.mean(0)}

    def batch_slopes(self, point, sample, directions):
        losses, grads = self._examples(point, sample)
        slopes = np.stack([grads @ d["theta"] for d in directions], 1)
        return losses, slopes, float(len(losses))

    def chunk(self, point, sample, request):
        losses, grads = self._examples(point, sample)
        grads = grads[request.indices] * request.weights[:, None]
        return Chunk(
            losses[request.indices] * request.weights,
            (grads**2).sum(1),
            np.stack([grads @ d["theta"] for d in request.directions], 1)
            if request.directions
            else np.zeros((len(grads), 0)),
            {"theta": grads.sum(0)},
            {"theta": (grads**2).sum(0)},
            {"theta": grads},
        )

    def hessian(self, point, sample):
        matrix = self.formula.hessian(point.values["theta"], sample.batch)
        return lambda vector: {"theta": matrix @ vector["theta"]}

    ggn = hessian

    def relabelled(self, point, sample, seed):
        raise NotMeasurable("there are no labels")


@dataclass(frozen=True)
class View:
    """A step as a recorder sees it."""

    step: int
    params: Any
    batch: Any
    model_state: Any = None
    key: Any = None


def descend(formula, start, batches, rate, plan: Plan, folder):
    """Gradient descent from `start` over `batches`; what the instruments measured."""
    recorder = Recorder(
        FormulaProbe(formula, len(start)),
        plan,
        Options(proxy="hessian_exact"),
        log=InstrumentLog(folder, {"quantities": list(plan.names)}, 0),
    )
    theta = np.array(start, np.float64)
    for step, batch in enumerate(batches):
        is_wanted = recorder.wants(step)
        if is_wanted:
            recorder.before_step(View(step, {"theta": theta}, batch))
        theta = theta - rate(step) * formula.examples(theta, batch)[1].mean(0)
        if is_wanted:
            recorder.after_step(View(step, {"theta": theta}, batch))
    recorder.close()
    return instrument_logs.read(folder)
