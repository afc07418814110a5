"""Finds wrong input before anything starts: no process, no folder, no lock.

No framework is imported and no code of the submission is executed: what only that can show, a
trial's process finds before it makes a folder.
"""

import contextlib
import importlib
import importlib.util
import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from algoperf import logs, paths, prepared, registry, submission
from algoperf.errors import BadData, BadSettings, MissingDependency
from algoperf.frameworks import check_framework
from algoperf.runner import loggers, profiling
from algoperf.runner.settings import Settings, default_data_dir

_RANK_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
_NUMBER_VARIABLES = (*_RANK_VARIABLES, "LOCAL_WORLD_SIZE", "MASTER_PORT")


def check_before_start(settings: Settings) -> None:
    """Raises `AlgoPerfError` for everything that can be known to be wrong beforehand."""
    _check_launcher(settings, os.environ)
    check_file(settings.submission_path, "submission file")
    if settings.search_space is not None:
        check_file(settings.search_space, "search space file")
    _check_packages(settings)
    submission.check_source(settings.submission_path)
    profiling.check(settings)
    _check_data(settings)
    _check_experiment_folder(settings)


def _check_launcher(settings: Settings, environment: Mapping[str, str]) -> None:
    """The variables of `torchrun`: whole numbers that fit each other and the settings."""
    for name in _NUMBER_VARIABLES:
        text = environment.get(name)
        if text is not None and not (text.isascii() and text.isdigit()):
            raise BadSettings(
                f"The environment variable {name} is {text!r}; torchrun sets it to a whole "
                "number. Unset it, or start the processes with torchrun."
            )
    world_size = int(environment.get("WORLD_SIZE", "1"))
    if world_size == 0:
        raise BadSettings("WORLD_SIZE is 0. Unset it, or set it to 1 or more.")
    if world_size == 1:
        return
    missing = [name for name in _RANK_VARIABLES if name not in environment]
    if missing:
        raise BadSettings(
            f"WORLD_SIZE is {world_size}, but {', '.join(missing)} is not set. Unset "
            "WORLD_SIZE, or start the processes with torchrun, which sets all of them."
        )
    if int(environment["RANK"]) >= world_size:
        raise BadSettings(
            f"RANK is {environment['RANK']}, but WORLD_SIZE is {world_size}; ranks are "
            "counted from 0. Start the processes with torchrun."
        )
    if not check_framework(settings.framework).uses_processes:
        raise BadSettings(
            f"torchrun has started {world_size} processes, but {settings.framework} uses "
            "all devices from one process. Start it without torchrun."
        )
    if settings.num_processes > 1:
        raise BadSettings(
            f"torchrun has started {world_size} processes already. Leave out "
            "--num-processes, or torchrun."
        )


def check_file(path: Path, what: str) -> None:
    """Refuses all but a regular file that can be read: a pipe or a device may block forever."""
    if path.is_dir():
        raise BadSettings(f"The {what} {paths.shown(path)} is a folder; give a file.")
    if not path.exists():
        raise BadSettings(f"There is no {what} {paths.shown(path)}.")
    if not path.is_file():
        raise BadSettings(f"The {what} {paths.shown(path)} is not a regular file.")
    if not os.access(path, os.R_OK):
        raise BadSettings(
            f"This user may not read the {what} {paths.shown(path)}. Change its permissions."
        )


def _check_packages(settings: Settings) -> None:
    """Packages that the framework, the data and the options need."""
    known = check_framework(settings.framework)
    for packages, extra, what in (
        (known.packages, known.extra, f"Framework {settings.framework!r}"),
        (settings.definition.packages, "data", f"Workload {settings.workload!r}"),
    ):
        missing = [name for name in packages if not is_importable(name)]
        if missing:
            raise MissingDependency(
                f"{what} needs the package{'s' * (len(missing) > 1)} {', '.join(missing)}, "
                f"which cannot be found. Run: pip install 'algoperf[{extra}]'."
            )
    loggers.check(settings.log_to)


def is_importable(name: str) -> bool:
    """Whether a package of that name is installed, without importing it."""
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _check_data(settings: Settings) -> None:
    """The prepared data are complete; the remedy names the folder that was given."""
    definition = settings.definition
    if not definition.needs_data:
        return
    try:
        prepared.PreparedData.open(
            settings.data_folder,
            dataset=definition.dataset,
            format_version=registry.format_version(definition.dataset),
            splits=definition.splits,
            allow_partial=settings.allow_partial_data,
        )
    except BadData as error:
        raise BadData(complete_remedy(str(error), settings.data_dir)) from None


def complete_remedy(text: str, data_dir: Path) -> str:
    """`text` with `--data-dir` in the `algoperf prepare` commands that lack it."""
    with contextlib.suppress(BadSettings):  # where there is no home directory
        if data_dir == paths.absolute(default_data_dir()):
            return text
    option = f" --data-dir {shlex.quote(str(data_dir))}"
    # A function, since a path may hold a backslash.
    return re.sub(r"`(algoperf prepare \w+)`", lambda m: f"`{m[1]}{option}`", text)


def _check_experiment_folder(settings: Settings) -> None:
    """Logs can be written: the nearest folder that exists is one, and may be written to."""
    folder = settings.experiment_dir
    trial = folder / settings.experiment_name / "study_100000"
    trial /= f"{settings.workload}_{settings.framework}/trial_100000"
    longest = trial / f".{logs.EVALUATIONS_FILE}.writing"
    try:
        os.stat(longest)
    except (FileNotFoundError, PermissionError):
        pass
    except NotADirectoryError:
        raise BadSettings(
            f"--experiment-dir {paths.shown(folder)}: the logs need a folder where there "
            "is a file. Remove the file, or choose another folder."
        ) from None
    except OSError as error:  # too long; a loop of links
        raise BadSettings(
            f"--experiment-dir {paths.shown(folder)} cannot be used: {error.strerror}."
        ) from None
    existing = next(path for path in (trial, *trial.parents) if os.path.isdir(path))
    if not os.access(existing, os.W_OK | os.X_OK):
        raise BadSettings(
            f"--experiment-dir {paths.shown(folder)}: this user may not write to "
            f"{existing}. Choose another folder, or change its permissions."
        )
