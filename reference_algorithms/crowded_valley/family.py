"""From a point to an optimizer of the family: its name, hyperparameters, schedule and rule."""

from dataclasses import dataclass
from typing import Any

from algoperf import spec

from . import rules
from .rules import Rule
from .schedules import FORMS, SCHEDULES, EpochSchedule, factors
from .spaces import MEMBERS

# The libraries' rules of these are the study's, in both frameworks.
OF_THE_LIBRARIES = ("sgd", "momentum", "nag", "adagrad", "adadelta")


@dataclass(frozen=True)
class Choice:
    """An optimizer of the family with its hyperparameters; those not given are defaults."""

    name: str
    values: dict[str, Any]
    schedule: str = "constant"
    form: str = FORMS[0]
    num_epochs: int | None = None

    @property
    def learning_rate(self) -> float:
        """The initial learning rate."""
        return float(self.values["learning_rate"])

    def rule(self) -> Rule:
        """Its update rule, for those that are not the libraries'."""
        return rule_of(self.name, self.values)


def choice(hyperparameters: spec.Hyperparameters) -> Choice:
    """What a point of a search space chooses: `optimizer`, and what else it names.

    Names of hyperparameters that the optimizer does not have are passed over, so that one
    search space may serve the whole family.
    """
    name: Any = getattr(hyperparameters, "optimizer", None)
    if name not in MEMBERS:
        raise ValueError(
            f"The hyperparameter optimizer is {name!r}; it must be one of: "
            f"{', '.join(MEMBERS)}. Run this family with external tuning and points that "
            "name an optimizer."
        )
    schedule = getattr(hyperparameters, "schedule", SCHEDULES[0])
    form = getattr(hyperparameters, "schedule_form", FORMS[0])
    for given, allowed, what in (
        (schedule, SCHEDULES, "schedule"),
        (form, FORMS, "schedule_form"),
    ):
        if given not in allowed:
            raise ValueError(
                f"The hyperparameter {what} is {given!r}; it must be one of: "
                f"{', '.join(allowed)}."
            )
    num_epochs = getattr(hyperparameters, "num_epochs", None)
    if schedule != SCHEDULES[0] and num_epochs is None:
        raise ValueError(
            f"The schedule {schedule} changes with the epoch. Give the number of epochs of "
            "the run as the hyperparameter num_epochs."
        )
    defaults = MEMBERS[name].defaults
    values = {key: getattr(hyperparameters, key, defaults[key]) for key in defaults}
    return Choice(name, values, schedule, form, num_epochs)


def schedule_of(hyperparameters: spec.Hyperparameters, step_hint: int) -> EpochSchedule:
    """The learning rate by step; the step hint is the length of the run."""
    chosen = choice(hyperparameters)
    number = chosen.num_epochs or 1
    found = factors(chosen.schedule, number, chosen.form)
    if chosen.schedule == SCHEDULES[0]:
        found = found[:1]
    steps = max(step_hint // number, 1)
    return EpochSchedule(chosen.learning_rate, tuple(found.tolist()), steps)


def table_of(name: str, values: dict[str, Any], num_steps: int) -> dict[str, Any]:
    """The table of an optimizer's rule; empty where the rule is the libraries'."""
    if name in OF_THE_LIBRARIES:
        return {}
    return rule_of(name, values).table(num_steps)


def rule_of(name: str, values: dict[str, Any]) -> Rule:
    """The rule of an optimizer that is not the libraries'.

    values: numbers, or arrays that broadcast against the parameters.
    """
    if name.startswith("lookahead_"):
        inner = _inner(name.removeprefix("lookahead_"), values)
        return rules.Lookahead(inner, values["k"], values["alpha"])
    return _inner(name, values)


def _inner(name: str, values: dict[str, Any]) -> Rule:
    if name == "momentum":
        return rules.Momentum(values["rho"])
    if name == "rmsprop":
        return rules.RMSProp(values["rho"], values["epsilon"])
    adam = {key: values[key] for key in ("beta1", "beta2", "epsilon")}
    if name in ("adam", "amsgrad"):
        return rules.Adam(**adam, has_maximum=name == "amsgrad")
    if name in ("adabound", "amsbound"):
        bound = {key: values[key] for key in ("learning_rate", "final_lr", "gamma")}
        return rules.AdaBound(**adam, **bound, has_maximum=name == "amsbound")
    others: dict[str, type[rules.Adam]] = {
        "nadam": rules.NAdam,
        "radam": rules.RAdam,
        "adabelief": rules.AdaBelief,
    }
    return others[name](**adam)
