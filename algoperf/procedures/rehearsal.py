"""A rehearsal: the first steps of a submission on a small workload, as a real trial.

The runner runs it as any trial, in a process of its own and under all guards, so that what
ends a rehearsal would end a run. Its logs and its checkpoint lie in a temporary folder; they
tell how it ended, the memory in use, and the size of the optimizer's state. Then the trial
is resumed, as if it had been killed after its first evaluation, and must end with the same bits.

`python -m algoperf.procedures.rehearsal FRAMEWORK` prints the parameter counts of all full
workloads as JSON: apart, because it imports the framework.
"""

import dataclasses
import json
import math
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from algoperf import backend as backends
from algoperf import frameworks, leaves, logs, packages, plugins, registry
from algoperf.definition import WorkloadDefinition
from algoperf.errors import BadSettings
from algoperf.loading.source import Source
from algoperf.logs import Outcome
from algoperf.prepared import MANIFEST, Preparation
from algoperf.rulesets import TuningRuleset
from algoperf.runner import experiment
from algoperf.runner.checkpoints import files as checkpoint
from algoperf.runner.checkpoints import ranks
from algoperf.runner.checkpoints.snapshot import Snapshot
from algoperf.runner.checkpoints.state import REFUSAL_FILE
from algoperf.runner.launch import WrongInput
from algoperf.runner.settings import Settings, default_data_dir
from algoperf.runner.supervision.memory import DEVICE_COLUMN, HOST_COLUMN

NUM_STEPS = 3
_EVAL_PERIOD_STEPS = 2  # evaluates after steps 1 and 3: also what an evaluation leaves
_MOST_SHOWN = 5  # differences


@dataclass(frozen=True)
class StateSize:
    """How large an optimizer's state is, and for how large a model."""

    num_bytes: int
    num_params: int

    @property
    def bytes_per_param(self) -> float:
        """What is extrapolated to other models."""
        return self.num_bytes / self.num_params


@dataclass(frozen=True)
class Rehearsal:
    """How a rehearsal ended and what was measured in it."""

    workload: str
    outcome: Outcome | None  # None: it did not even start
    reason: str
    num_evaluations: int = 0
    host_bytes: float = math.nan  # most at an evaluation; NaN: not known
    device_bytes: float = math.nan
    state: StateSize | None = None  # None: the state could not be saved
    resume_problems: tuple[str, ...] = ()  # why a resumed trial would not be the same

    @property
    def is_good(self) -> bool:
        """Whether the steps were done and evaluated."""
        is_regular = self.outcome in (Outcome.REACHED, Outcome.NOT_REACHED)
        return is_regular and self.num_evaluations > 0


def rehearse(
    submission: Path,
    framework: str,
    workload: str,
    *,
    tuning: TuningRuleset,
    search_space: Path | None,
    data_dir: Path | None,
) -> Rehearsal:
    """Runs `NUM_STEPS` steps with the first point of the search space.

    data_dir: of prepared data; None: the default one, or the shipped data of a `_mini`
    workload where nothing is prepared. Raises `AlgoPerfError` for wrong input.
    """
    definition = registry.definition(workload)
    with tempfile.TemporaryDirectory(prefix="algoperf-rehearsal-") as temporary:
        folder = Path(temporary)
        settings = Settings(
            submission_path=submission.resolve(),
            framework=framework,
            workload=workload,
            experiment_dir=folder / "logs",
            experiment_name="rehearsal",
            data_dir=_data_dir(definition, data_dir, folder),
            tuning=tuning,
            search_space=search_space,
            num_trials=1,
            num_studies=1,
            max_global_steps=NUM_STEPS,
            eval_period_steps=_EVAL_PERIOD_STEPS,
            checkpoint_every="0",  # it is resumed from the first of several
        )
        said: list[str] = []
        try:
            experiment.run(settings, said.append)
        except WrongInput as error:
            return Rehearsal(workload, None, str(error))
        trials = [
            logs.read_trial(*place)
            for place in logs.trial_folders(settings.experiment_dir)
        ]
        if trials and trials[0].outcome is not None:
            result = _result(trials[0])
            if not result.is_good:
                return result
            problems = tuple(_resume_problems(settings, trials[0]))
            return dataclasses.replace(result, resume_problems=problems)
    return Rehearsal(workload, None, " ".join(said))


def _data_dir(
    definition: WorkloadDefinition, given: Path | None, temporary: Path
) -> Path:
    data_dir = given or default_data_dir()
    is_there = (data_dir / definition.prepared_name / MANIFEST).exists()
    if given or is_there or definition.tier != "mini":
        return data_dir
    prepare_shipped(definition, temporary)
    return temporary


def prepare_shipped(definition: WorkloadDefinition, data_dir: Path) -> None:
    """Prepares the data of a `_mini` workload, which are part of the package."""
    module = registry.prepare_module(definition.dataset)
    packages.check(
        plugins.optional(module, "PACKAGES", ()), f"Preparing {definition.name}"
    )
    with (
        tempfile.TemporaryDirectory(prefix="algoperf-raw-") as raw,
        Preparation(
            data_dir / definition.prepared_name,
            dataset=definition.dataset,
            format_version=module.FORMAT_VERSION,
        ) as preparation,
    ):
        module.expand_embedded(Path(raw))
        module.prepare(Path(raw), preparation, splits=definition.splits)


def _result(trial: logs.Trial) -> Rehearsal:
    def most(column: str) -> float:
        return max(trial.metric(column), default=math.nan)

    return Rehearsal(
        trial.id.workload,
        trial.outcome,
        trial.reason,
        trial.num_evaluations,
        most(HOST_COLUMN),
        most(DEVICE_COLUMN),
        _state_size(trial.folder / checkpoint.FOLDER),
    )


def _resume_problems(settings: Settings, trial: logs.Trial) -> list[str]:
    """Why a trial that is killed after its first evaluation and resumed ends differently."""
    reason = trial.folder / checkpoint.FOLDER / REFUSAL_FILE
    if reason.is_file():
        return [f"cannot be resumed: {reason.read_text().strip()}"]
    if len(_checkpoints(trial)) < 2:
        return []  # it ended at its first evaluation
    resumed = _resumed(settings, "resumed")
    problems = _differences(trial, resumed)
    if not problems or isinstance(resumed, str):
        return problems
    again = _resumed(settings, "resumed-again")
    if not isinstance(again, str) and _differences(again, resumed):
        return [
            "whether a resumed trial is the same cannot be told: two that were resumed alike "
            f"differ as well, so the computation is not deterministic ({problems[0]})"
        ]
    return problems


def _resumed(settings: Settings, name: str) -> logs.Trial | str:
    """The rehearsal, gone on from its first checkpoint; or why it did not go on."""
    folder = settings.experiment_dir.with_name(name)
    shutil.copytree(settings.experiment_dir, folder)
    ((identity, place),) = logs.trial_folders(folder)
    (place / logs.OUTCOME_FILE).unlink()
    for path in _checkpoints(logs.read_trial(identity, place))[1:]:
        shutil.rmtree(path)
    settings = dataclasses.replace(
        settings, experiment_dir=folder, on_existing="resume"
    )
    said: list[str] = []
    try:
        experiment.run(settings, said.append)
    except WrongInput as error:
        return str(error)
    trial = logs.read_trial(identity, place)
    if trial.outcome not in (Outcome.REACHED, Outcome.NOT_REACHED, Outcome.DIVERGED):
        return trial.reason or " ".join(said)
    return trial


def _checkpoints(trial: logs.Trial) -> list[Path]:
    """In the order of steps."""
    found = (trial.folder / checkpoint.FOLDER).glob("ckpt-*")
    return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]))


def _differences(trial: logs.Trial, resumed: logs.Trial | str) -> list[str]:
    """What is not bit for bit the same at the end of two trials; at most a few."""
    if isinstance(resumed, str):
        return [f"cannot be resumed: {resumed}"]
    states = [checkpoint.load(_checkpoints(t)[-1]) for t in (trial, resumed)]
    if states[0].step != states[1].step:
        return [f"it ended at step {states[0].step}, resumed at step {states[1].step}"]
    found = leaves.differences(*map(_leaves_of, states))
    rows = [{k: v for k, v in t.columns.items() if "/" in k} for t in (trial, resumed)]
    for name in sorted({*rows[0], *rows[1]}):
        values = [t.metric(name).tobytes() for t in (trial, resumed)]
        if values[0] != values[1]:
            found.append(f"the evaluations' {name} differs")
    more = f" (and {len(found) - _MOST_SHOWN} more)" if len(found) > _MOST_SHOWN else ""
    shown = [f"differs after a resume: {text}" for text in found[:_MOST_SHOWN]]
    return [*shown[:-1], shown[-1] + more] if shown else []


def _leaves_of(state: checkpoint.Checkpoint) -> leaves.Leaves:
    arrays, own = ranks.of_rank(0, state.arrays, Snapshot.from_json(state.rest).ranks)
    random = {"is": "random state", "state": own["random"]}
    tree = {**own["leaves"]["tree"]}
    tree["items"] = [*tree["items"], ["harness/random", random]]
    return arrays, {"tree": tree}


def _state_size(checkpoints: Path) -> StateSize | None:
    """Sizes from a checkpoint; every backend begins an array's name with its tree's."""
    paths = sorted(checkpoints.glob("ckpt-*"))
    if not paths:
        return None
    sizes = {"params": 0, "optimizer_state": 0}
    num_params = 0
    for name, array in checkpoint.load(paths[-1]).arrays.items():
        tree = name.partition("/")[0]
        if tree in sizes and not name.endswith("/grad"):  # those are counted elsewhere
            sizes[tree] += array.nbytes
            num_params += array.size if tree == "params" else 0
    return StateSize(sizes["optimizer_state"], num_params) if num_params else None


def framework_of(path: Path) -> tuple[str, str]:
    """The framework that a submission's files are written for, and how that was told."""
    framework = Source(path).framework()
    if framework is not None:
        return framework, f"what {path.name} imports"
    for framework in frameworks.FRAMEWORKS:
        if path.stem.endswith(f"_{framework}"):
            return framework, f"the name {path.name}"
    raise BadSettings(
        f"Cannot tell from the imports of {path} which framework it is for. Say it with "
        f"--framework ({' or '.join(frameworks.FRAMEWORKS)}), or leave the rehearsal out "
        "with --static."
    )


def parameter_counts(framework: str) -> dict[str, int]:
    """Numbers of parameters of the full base workloads; asked for in another process."""
    command = [sys.executable, "-m", "algoperf.procedures.rehearsal", framework]
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    counts: dict[str, int] = json.loads(result.stdout.splitlines()[-1])
    return counts


def count_elements(shapes: Any) -> int:
    """Numbers in a tree of shapes such as `workload.param_shapes`."""
    if isinstance(shapes, Mapping):
        return sum(map(count_elements, shapes.values()))
    return math.prod(shapes.shape_tuple)


def main(framework: str) -> None:
    """Prints `parameter_counts`; models are traced or made without memory, not computed."""
    backend = backends.load(framework)
    counts = {}
    for name, definition in registry.base_definitions().items():
        if definition.tier == "full" and registry.has_model(definition, framework):
            modules = registry.workload_modules(definition, framework)
            bound = backend.bind(definition, modules.model, modules.metrics)
            counts[name] = count_elements(bound.param_shapes)
    print(json.dumps(counts))


if __name__ == "__main__":
    main(sys.argv[1])
