"""What `--log-to` names: observers that copy trials to other tools, off the submission's clock."""

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from algoperf.errors import BadSettings, MissingDependency, near
from algoperf.runner.trial_observers import TrialObserver


@dataclass(frozen=True)
class _Logger:
    """A logger of ours: the package that it needs, and where it is."""

    package: str
    place: str  # MODULE:FUNCTION


LOGGERS = {
    "tensorboard": _Logger(
        "tensorboard", "algoperf.runner.loggers.tensorboard_events:TensorBoard"
    ),
    "wandb": _Logger("wandb", "algoperf.runner.loggers.wandb_runs:WeightsAndBiases"),
    "mlflow": _Logger("mlflow", "algoperf.runner.loggers.mlflow_runs:MLflow"),
}


def check(names: Sequence[str]) -> None:
    """Raises `AlgoPerfError` for a name that is no logger and for a package that is missing."""
    for name in names:
        if ":" in name:
            _function(name)
            continue
        if name not in LOGGERS:
            raise BadSettings(
                f"--log-to: there is no logger named {name!r}.{near(name, LOGGERS)} Choose "
                f"from {', '.join(LOGGERS)}, or give an observer of yours as MODULE:FUNCTION."
            )
        package = LOGGERS[name].package
        if not _is_installed(package):
            raise MissingDependency(
                f"--log-to {name} needs the package {package}, which cannot be found. "
                f"Run: pip install 'algoperf[{name}]'."
            )


def make(names: Sequence[str]) -> list[TrialObserver]:
    """The loggers of those names; `check` says what can be wrong with them."""
    check(names)
    return [
        _function(LOGGERS[name].place if name in LOGGERS else name)() for name in names
    ]


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def _function(place: str) -> Callable[[], TrialObserver]:
    """What `MODULE:FUNCTION` names."""
    module_name, _, name = place.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (ImportError, ValueError) as error:
        raise BadSettings(
            f"--log-to {place}: the module {module_name!r} cannot be imported ({error}). It "
            "must be installed, or in a folder that PYTHONPATH names."
        ) from None
    function: Callable[[], TrialObserver] | None = getattr(module, name, None)
    if not callable(function):
        raise BadSettings(
            f"--log-to {place}: {module_name} has no function or class {name!r}."
        )
    return function
