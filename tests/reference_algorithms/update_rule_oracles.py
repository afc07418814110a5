"""Float64 numpy transcriptions of the published update rules and schedules."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import newer_oracles as newer
import numpy as np
from shampoo_oracle import Shampoo

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


def _without(point: Mapping[str, float], *keys: str) -> dict[str, float]:
    return {key: value for key, value in point.items() if key not in keys}


POINTS: Mapping[str, Mapping[str, float]] = {
    "adamw": _ADAM,
    "nadamw": _ADAM,
    "nesterov": _MOMENTUM,
    "heavy_ball": _MOMENTUM,
    "lamb": _ADAM,
    "adafactor": _without(_ADAM, "beta2"),
    "sam": {**_ADAM, "rho": 0.7},
    "distributed_shampoo": _ADAM,
    "schedule_free_adamw": _ADAM,
    "muon": {**_ADAM, "one_minus_momentum": 0.08},
    "ademamix": {**_ADAM, "one_minus_beta3": 0.01, "alpha": 4.0, "ramp_factor": 0.6},
    "lion": _ADAM,
    "cautious_nadamw": {**_ADAM, "cautious_decay": 1},
    "mars_adamw": {**_ADAM, "gamma": 0.025},
    "diloco": {
        **_ADAM,
        "outer_period": 3,
        "outer_learning_rate": 0.3,
        "outer_momentum": 0.8,
    },
    "normuon": {**_ADAM, "one_minus_momentum": 0.08, "neuron_beta2": 0.9},
    "prodigy": {**_ADAM, "learning_rate": 1.0},
    "soap": {**_ADAM, "statistics_beta": 0.9, "refresh_every": 3},
}
ALGORITHMS = tuple(POINTS)
# Distributed Shampoo preconditions from step 101 on.
STEP_HINTS = dict.fromkeys(ALGORITHMS, STEP_HINT) | {"distributed_shampoo": 140}
# The loss is <gradient, theta> + curvature / 2 |theta|^2 where it matters at which
# point the gradient is taken.
CURVATURES = dict.fromkeys(ALGORITHMS, 0.0) | {
    "sam": 0.5,
    "schedule_free_adamw": 0.5,
    "diloco": 0.5,
    "prodigy": 0.5,
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

    def direction(self, g: np.ndarray, t: int) -> np.ndarray:
        b1, b2 = 1 - self.point["one_minus_beta1"], self.point["beta2"]
        self.m = b1 * self.m + (1 - b1) * g
        self.v = b2 * self.v + (1 - b2) * g**2
        top = b1 * self.m + (1 - b1) * g if self.looks_ahead else self.m
        m_hat = top / (1 - b1**t)
        v_hat = self.v / (1 - b2**t)
        return m_hat / (np.sqrt(v_hat) + 1e-8)

    def update(self, theta: np.ndarray, g: np.ndarray, t: int) -> np.ndarray:
        eta = cosine_rate(t - 1, self.point, STEP_HINT)
        decay = self.point["weight_decay"] * theta
        return theta - eta * (self.direction(g, t) + decay)


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


class _Lamb(_Adam):
    def update(self, theta: np.ndarray, g: np.ndarray, t: int) -> np.ndarray:
        u = self.direction(g, t) + self.point["weight_decay"] * theta
        sizes = np.linalg.norm(theta), np.linalg.norm(u)
        ratio = sizes[0] / sizes[1] if all(sizes) else 1.0
        return theta - cosine_rate(t - 1, self.point, STEP_HINT) * ratio * u


class _Adafactor:
    def __init__(self, point: Mapping[str, float]) -> None:
        self.point = point
        self.rows: Any = 0.0
        self.columns: Any = 0.0
        self.v: Any = 0.0
        self.m: Any = 0.0

    def second_moment(self, g: np.ndarray, t: int) -> np.ndarray:
        decay = 0.99 * (1 - 0.99 ** (t - 1)) / (1 - 0.99**t)
        q = g**2 + 1e-30
        if g.ndim < 2:
            self.v = decay * self.v + (1 - decay) * q
            return self.v
        self.rows = decay * self.rows + (1 - decay) * q.mean(axis=-1)
        self.columns = decay * self.columns + (1 - decay) * q.mean(axis=-2)
        relative = self.rows / self.rows.mean(axis=-1, keepdims=True)
        return np.einsum("...r,...c->...rc", relative, self.columns)

    def update(self, theta: np.ndarray, g: np.ndarray, t: int) -> np.ndarray:
        b1 = 1 - self.point["one_minus_beta1"]
        eta = cosine_rate(t - 1, self.point, STEP_HINT)
        u = g / np.sqrt(self.second_moment(g, t))
        u = u / max(1.0, math.sqrt((u**2).mean()))
        self.m = b1 * self.m + (1 - b1) * eta * u
        return theta - self.m - eta * self.point["weight_decay"] * theta


class _Muon:
    def __init__(self, point: Mapping[str, float], matrix: tuple[int, int]) -> None:
        self.point = point
        self.matrix = matrix
        self.m: Any = 0.0

    def update(self, theta: np.ndarray, g: np.ndarray, t: int) -> np.ndarray:
        beta = 1 - self.point["one_minus_momentum"]
        self.m = beta * self.m + (1 - beta) * g
        ahead = (beta * self.m + (1 - beta) * g).reshape(self.matrix)
        left, singular, right = np.linalg.svd(ahead, full_matrices=False)
        # The polynomial of the iteration acts on singular values alone.
        s = singular / np.linalg.norm(ahead)
        for _ in range(5):
            s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
        update = 0.2 * math.sqrt(max(self.matrix)) * (left * s) @ right
        eta = cosine_rate(t - 1, self.point, STEP_HINT)
        decay = self.point["weight_decay"] * theta
        return theta - eta * (update.reshape(theta.shape) + decay)


class _ScheduleFree:
    """`theta` is y; x and z are kept in full."""

    def __init__(self, point: Mapping[str, float], theta: np.ndarray) -> None:
        self.point = point
        self.x = self.z = theta
        self.v: Any = 0.0
        self.sum_of_weights = 0.0

    def update(self, theta: np.ndarray, g: np.ndarray, t: int) -> np.ndarray:
        point = self.point
        warmup = int(point["warmup_factor"] * 0.75 * STEP_HINT)
        eta = max(point["learning_rate"] * min(1.0, t / warmup), 1e-8)
        s = eta * math.sqrt(1 - point["beta2"] ** t)
        self.z = self.z - s * point["weight_decay"] * theta
        self.v = point["beta2"] * self.v + (1 - point["beta2"]) * g**2
        self.z = self.z - s * g / (np.sqrt(self.v) + 1e-8)
        self.sum_of_weights += eta**2
        self.x = self.x + eta**2 / self.sum_of_weights * (self.z - self.x)
        return self.x + point["one_minus_beta1"] * (self.z - self.x)


def rule(algorithm: str, name: str, theta: np.ndarray, framework: str = "jax") -> Any:
    """The state of an algorithm's rule for one tensor of `SHAPES`.

    framework: decides which axis of a matrix counts its output neurons.
    """
    point = POINTS[algorithm]
    if algorithm in ("nesterov", "heavy_ball"):
        return _Momentum(point, looks_ahead=algorithm == "nesterov")
    if algorithm == "muon" and name in MATRICES:
        return _Muon(point, MATRICES[name])
    if algorithm == "lamb":
        return _Lamb(point, looks_ahead=False)
    if algorithm == "adafactor":
        return _Adafactor(point)
    if algorithm == "schedule_free_adamw":
        return _ScheduleFree(point, theta)
    if algorithm == "distributed_shampoo":
        rate = functools.partial(cosine_rate, point=point, step_hint=140)
        return Shampoo(point, rate, beta2=point["beta2"])
    if algorithm in NEWER:
        return _newer_rule(algorithm, name, theta, framework)
    return _Adam(point, looks_ahead=algorithm in ("nadamw", "muon"))


NEWER = (
    "ademamix",
    "lion",
    "cautious_nadamw",
    "mars_adamw",
    "diloco",
    "normuon",
    "soap",
)


def _newer_rule(algorithm: str, name: str, theta: np.ndarray, framework: str) -> Any:
    point = POINTS[algorithm]
    rate = functools.partial(cosine_rate, point=point, step_hint=STEP_HINT)
    if algorithm == "ademamix":
        return newer.AdEMAMix(point, rate, int(point["ramp_factor"] * STEP_HINT))
    if algorithm == "diloco":
        return newer.DiLoCo(point, rate, theta)
    if algorithm == "normuon":
        if name not in MATRICES:
            return _Adam(point, looks_ahead=True)
        output_axis = {"jax": 1, "pytorch": 0}[framework]
        return newer.NorMuon(point, rate, MATRICES[name], output_axis)
    if algorithm == "soap":
        return newer.Soap(point, rate, SOAPS_MATRICES.get(name))
    kinds = {
        "lion": newer.Lion,
        "cautious_nadamw": newer.CautiousNadamW,
        "mars_adamw": newer.Mars,
    }
    return kinds[algorithm](point, rate)


MATRICES = {"kernel": (4, 3), "kernel_2": (4, 3), "query": (4, 6)}  # Muon's


def clipped(grads: Params, max_norm: float) -> Params:
    """The published global-norm clipping."""
    norm = math.sqrt(sum(float((g**2).sum()) for g in grads.values()))
    factor = min(max(max_norm / (norm + 1e-6), 0.0), 1.0)
    return {name: g * factor for name, g in grads.items()}


def _perturbed(theta: Params, grads: Params, curvature: float, rho: float) -> Params:
    """SAM's second gradient: at a distance of rho along the first."""
    norm = math.sqrt(sum(float((g**2).sum()) for g in grads.values()))
    there = {n: theta[n] + rho * grads[n] / norm for n in theta}
    return {n: grads[n] + curvature * (there[n] - theta[n]) for n in theta}


class _OfEach:
    """A rule that treats every tensor by itself."""

    def __init__(self, algorithm: str, params: Params, framework: str) -> None:
        self.rules = {n: rule(algorithm, n, x, framework) for n, x in params.items()}

    def update(self, theta: Params, grads: Params, t: int) -> Params:
        return {n: self.rules[n].update(theta[n], grads[n], t) for n in theta}


def trajectory(
    algorithm: str,
    params: Params,
    gradients: Sequence[Params],
    framework: str = "jax",
) -> list[Params]:
    """Parameters after each step with the algorithm's point of `POINTS`."""
    point, curvature = POINTS[algorithm], CURVATURES[algorithm]
    state: Any = _OfEach(algorithm, params, framework)
    if algorithm == "prodigy":
        rate = functools.partial(cosine_rate, point=point, step_hint=STEP_HINT)
        state = newer.Prodigy(point, rate, params)
    theta, path = dict(params), []
    for t, given in enumerate(gradients, start=1):
        grads = {n: given[n] + curvature * theta[n] for n in theta}
        if algorithm == "sam":
            grads = _perturbed(theta, grads, curvature, point["rho"])
        theta = state.update(theta, grads, t)
        path.append(theta)
    return path


SHAPES = {
    "bias": (3,),
    "conv": (2, 3, 4),
    "head": (3, 2),
    "kernel": (4, 3),
    "kernel_2": (4, 3),
    "query": (4, 2, 3),
}
# Of each matrix, one side is at most one longer than the other: the eigenvectors that a
# first gradient leaves open are one, so that they agree but for the sign.
SOAPS_SHAPES = {**SHAPES, "conv": (2, 2, 3), "query": (3, 2, 2)}
SOAPS_MATRICES = {
    "conv": (4, 3),
    "head": (3, 2),
    "kernel": (4, 3),
    "kernel_2": (4, 3),
    "query": (3, 4),
}


def random_problem(
    seed: int = 0,
    num_steps: int = NUM_STEPS,
    shapes: Mapping[str, tuple[int, ...]] = SHAPES,
) -> tuple[Params, list[Params]]:
    """Start parameters and the gradients of some steps."""
    rng = np.random.default_rng(seed)

    def draw() -> Params:
        return {name: rng.normal(size=shape) for name, shape in shapes.items()}

    return draw(), [draw() for _ in range(num_steps)]
