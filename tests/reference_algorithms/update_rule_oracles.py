"""Float64 numpy transcriptions of the published update rules and schedules."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Params = dict[str, np.ndarray]

STEP_HINT = 16
NUM_STEPS = 20  # beyond the step hint, where the rate must stay at its final value

_REGULARISATION = {"dropout_rate": 0.1, "label_smoothing": 0.1, "warmup_factor": 0.2}
_ADAM = {
    **_REGULARISATION,
    "learning_rate": 0.02,
    "one_minus_beta1": 0.13,
    "beta2": 0.97,
    "weight_decay": 0.3,
}
_MOMENTUM = {
    **_REGULARISATION,
    "learning_rate": 0.05,
    "one_minus_beta1": 0.2,
    "weight_decay": 0.01,
    "decay_steps_factor": 0.7,
    "end_factor": 0.05,
}
POINTS: Mapping[str, Mapping[str, float]] = {
    "adamw": _ADAM,
    "nadamw": _ADAM,
    "nesterov": _MOMENTUM,
    "heavy_ball": _MOMENTUM,
}


def cosine_rate(step: int, point: Mapping[str, float], step_hint: int) -> float:
    """Warm-up and cosine: the rate after `step` updates."""
    warmup = int(point["warmup_factor"] * step_hint)
    if step < warmup:
        return point["learning_rate"] * step / warmup
    if step >= step_hint:
        return 0.0
    angle = math.pi * (step - warmup) / max(step_hint - warmup, 1)
    return point["learning_rate"] * 0.5 * (1 + math.cos(angle))


def linear_rate(step: int, point: Mapping[str, float], step_hint: int) -> float:
    """Warm-up, linear decay, constant: the rate after `step` updates."""
    peak = point["learning_rate"]
    final = peak * point["end_factor"]
    warmup = int(point["warmup_factor"] * step_hint)
    decay = int((step_hint - warmup) * point["decay_steps_factor"])
    if step < warmup:
        return peak * step / warmup
    if step >= warmup + decay:
        return final
    return peak + (final - peak) * (step - warmup) / decay


class _Adam:
    def __init__(self, point: Mapping[str, float], *, looks_ahead: bool) -> None:
        self.point = point
        self.looks_ahead = looks_ahead
        self.m: Any = 0.0
        self.v: Any = 0.0

    def update(self, theta: np.ndarray, g: np.ndarray, t: int) -> np.ndarray:
        b1, b2 = 1 - self.point["one_minus_beta1"], self.point["beta2"]
        self.m = b1 * self.m + (1 - b1) * g
        self.v = b2 * self.v + (1 - b2) * g**2
        top = b1 * self.m + (1 - b1) * g if self.looks_ahead else self.m
        m_hat = top / (1 - b1**t)
        v_hat = self.v / (1 - b2**t)
        direction = m_hat / (np.sqrt(v_hat) + 1e-8)
        eta = cosine_rate(t - 1, self.point, STEP_HINT)
        return theta - eta * (direction + self.point["weight_decay"] * theta)


class _Momentum:
    def __init__(self, point: Mapping[str, float], *, looks_ahead: bool) -> None:
        self.point = point
        self.looks_ahead = looks_ahead
        self.m: Any = 0.0

    def update(self, theta: np.ndarray, g: np.ndarray, t: int) -> np.ndarray:
        beta = 1 - self.point["one_minus_beta1"]
        g = g + self.point["weight_decay"] * theta
        self.m = beta * self.m + g
        direction = g + beta * self.m if self.looks_ahead else self.m
        return theta - linear_rate(t - 1, self.point, STEP_HINT) * direction


def clipped(grads: Params, max_norm: float) -> Params:
    """The published global-norm clipping."""
    norm = math.sqrt(sum(float((g**2).sum()) for g in grads.values()))
    factor = min(max(max_norm / (norm + 1e-6), 0.0), 1.0)
    return {name: g * factor for name, g in grads.items()}


def trajectory(
    algorithm: str, params: Params, gradients: Sequence[Params]
) -> list[Params]:
    """Parameters after each step with the algorithm's point of `POINTS`."""
    rule = _Adam if algorithm in ("adamw", "nadamw") else _Momentum
    looks_ahead = algorithm in ("nadamw", "nesterov")
    states = {n: rule(POINTS[algorithm], looks_ahead=looks_ahead) for n in params}
    theta, path = dict(params), []
    for t, grads in enumerate(gradients, start=1):
        theta = {n: states[n].update(theta[n], grads[n], t) for n in theta}
        path.append(theta)
    return path


def random_problem(seed: int = 0) -> tuple[Params, list[Params]]:
    """Start parameters and the gradients of `NUM_STEPS` steps."""
    rng = np.random.default_rng(seed)
    shapes = {"bias": (3,), "kernel": (4, 3)}

    def draw() -> Params:
        return {name: rng.normal(size=shape) for name, shape in shapes.items()}

    return draw(), [draw() for _ in range(NUM_STEPS)]
