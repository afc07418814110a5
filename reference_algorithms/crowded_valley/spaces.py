"""The members of the family as data: defaults, what the study tuned, and in which ranges."""

from collections.abc import Mapping
from dataclasses import dataclass

LEARNING_RATE = "learning_rate"


@dataclass(frozen=True)
class Range:
    """Where a hyperparameter is drawn from: evenly in its logarithm, or an integer evenly."""

    low: float  # the decimal logarithm; of an integer, the number itself
    high: float
    is_one_minus: bool = False  # 1 minus what is drawn is the value
    is_integer: bool = False  # `high` is exclusive then


@dataclass(frozen=True)
class Member:
    """An optimizer: its published name, defaults, and what is tuned, in the order of draws."""

    title: str
    defaults: Mapping[str, float]
    tuned: tuple[str, ...]


# The study's exponents are rounded: 0.5 to 0.999 for beta1, 0.8 to 0.999 for beta2. The
# generator's upper end of k is exclusive, so 20 never comes.
RANGES: Mapping[str, Range] = {
    LEARNING_RATE: Range(-4, 0),
    "rho": Range(-4, 0, is_one_minus=True),
    "beta1": Range(-0.301, -0.00043),
    "beta2": Range(-0.0969, -0.00043),
    "final_lr": Range(-3, -0.301),
    "gamma": Range(-4, -1),
    "alpha": Range(-4, 0),
    "k": Range(1, 20, is_integer=True),
}

_BETAS = {"beta1": 0.9, "beta2": 0.999}
_BOUNDS = {"final_lr": 0.1, "gamma": 1e-3}
_AHEAD: dict[str, float] = {"k": 5, "alpha": 0.5}


def _member(
    title: str, rate: float, tuned: tuple[str, ...] = (), **others: float
) -> Member:
    return Member(title, {LEARNING_RATE: rate, **others}, (LEARNING_RATE, *tuned))


_ADAM = ("beta1", "beta2")
_BOUND = ("final_lr", "beta1", "beta2", "gamma")

MEMBERS: Mapping[str, Member] = {
    "sgd": _member("SGD", 1e-2),
    "momentum": _member("Momentum", 1e-2, ("rho",), rho=0.99),
    "nag": _member("NAG", 1e-2, ("rho",), rho=0.99),
    "adagrad": _member("AdaGrad", 1e-2, initial_accumulator=0.1),
    "adadelta": _member("AdaDelta", 1e-3, ("rho",), rho=0.95, epsilon=1e-8),
    "rmsprop": _member("RMSProp", 1e-3, ("rho",), rho=0.9, epsilon=1e-10),
    "adam": _member("Adam", 1e-3, _ADAM, **_BETAS, epsilon=1e-8),
    "amsgrad": _member("AMSGrad", 1e-2, _ADAM, **_BETAS, epsilon=1e-8),
    "adabound": _member("AdaBound", 1e-3, _BOUND, **_BETAS, **_BOUNDS, epsilon=1e-8),
    "amsbound": _member("AMSBound", 1e-3, _BOUND, **_BETAS, **_BOUNDS, epsilon=1e-8),
    "nadam": _member("NAdam", 1e-3, _ADAM, **_BETAS, epsilon=1e-7),
    "radam": _member("RAdam", 1e-3, _ADAM, **_BETAS, epsilon=1e-7),
    "adabelief": _member("AdaBelief", 1e-3, _ADAM, **_BETAS, epsilon=1e-14),
    "lookahead_momentum": _member(
        "LA(Mom.)", 1e-2, ("rho", "k", "alpha"), rho=0.99, **_AHEAD
    ),
    "lookahead_radam": _member(
        "LA(RAdam)", 1e-3, (*_ADAM, "k", "alpha"), **_BETAS, epsilon=1e-7, **_AHEAD
    ),
}
