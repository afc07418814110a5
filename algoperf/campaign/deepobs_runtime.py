"""How long optimizers take relative to SGD: pairs of short runs on one machine.

SGD and the other optimizer run one after the other, as often as there are pairs, for a few epochs
each. What was measured is kept in `DIR/runtime.json`, and only missing pairs are run.
"""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from algoperf import files, logs, registry
from algoperf.campaign.deepobs import Optimizer, Protocol, prepare
from algoperf.campaign.deepobs_points import LEARNING_RATE
from algoperf.errors import AlgoPerfError, BadLogs, BadSettings
from algoperf.evaluations import TOTAL_SECONDS
from algoperf.outcome import Outcome
from algoperf.runner import door, experiment
from algoperf.runner.settings import Settings

REFERENCE = "sgd"
PROBLEM = "mnist_mlp"
_NUM_EPOCHS = 3  # as in release 1.1
_FILE = "runtime.json"

# Seconds of SGD's run and of the other's, by the other's name.
Pairs = Mapping[str, Sequence[tuple[float, float]]]


def check(protocol: Protocol, problem: str, say: Callable[[str], None]) -> None:
    """Finds what is wrong before anything starts; prepares small data that are shipped."""
    names = [optimizer.entry.name for optimizer in protocol.optimizers]
    if REFERENCE not in names or len(names) < 2:
        raise BadSettings(
            f"--runtime compares optimizers with {REFERENCE}, but the optimizers are "
            f"{', '.join(names)}. Name one of them so, and give another: --optimizers "
            f"{REFERENCE}=FILE NAME=FILE."
        )
    prepare(problem, protocol.data_dir, say)
    with tempfile.TemporaryDirectory(prefix="algoperf-runtime-") as temporary:
        for optimizer in protocol.optimizers:
            settings = _settings(protocol, optimizer, problem, Path(temporary))
            door.check_before_start(settings)


def measure(
    protocol: Protocol, problem: str, num_pairs: int, say: Callable[[str], None]
) -> Pairs:
    """Runs the pairs that are missing; returns all."""
    path = protocol.folder / _FILE
    stored = _stored(path)
    found = stored.setdefault(problem, {})
    by_name = {optimizer.entry.name: optimizer for optimizer in protocol.optimizers}
    reference = by_name.pop(REFERENCE)
    for name, optimizer in by_name.items():
        pairs = found.setdefault(name, [])
        while len(pairs) < num_pairs:
            say(f"runtime of {name}, pair {len(pairs) + 1} of {num_pairs}")
            pair = [_seconds(protocol, o, problem) for o in (reference, optimizer)]
            pairs.append(pair)
            files.write_atomically(path, json.dumps(stored, indent=1) + "\n")
    return {name: [(a, b) for a, b in found[name]] for name in by_name}


def _stored(path: Path) -> dict[str, dict[str, list[list[float]]]]:
    if not path.exists():
        return {}
    try:
        content: dict[str, dict[str, list[list[float]]]]
        content = json.loads(files.read_regular(path))
        for pairs in (p for of in content.values() for p in of.values()):
            assert all(a > 0 and b > 0 for a, b in pairs)
    except (ValueError, TypeError, AttributeError, AssertionError):
        raise BadLogs(
            f"{path} is damaged. Restore it, or delete it to measure again."
        ) from None
    return content


def _settings(
    protocol: Protocol, optimizer: Optimizer, problem: str, folder: Path
) -> Settings:
    """A short run; with the smallest learning rate, so that it does not diverge."""
    definition, entry = registry.definition(problem), optimizer.entry
    point = min(optimizer.points, key=_learning_rate)
    space = folder / f"{entry.name}.json"
    files.write_atomically(space, json.dumps([dict(point)]))
    steps = definition.splits.train // definition.default_batch_size
    return Settings(
        entry.path,
        entry.framework,
        problem,
        folder,
        entry.name,
        protocol.data_dir,
        tuning="external",
        search_space=space,
        num_trials=1,
        num_studies=1,
        max_global_steps=steps * _NUM_EPOCHS,
        save_checkpoints=False,
        keep_evidence=False,
        seed=protocol.seed,
    )


def _learning_rate(point: Mapping[str, Any]) -> float:
    return float(point[LEARNING_RATE])


def _seconds(protocol: Protocol, optimizer: Optimizer, problem: str) -> float:
    """Of a whole run, evaluations included; not of starting its process."""
    with tempfile.TemporaryDirectory(prefix="algoperf-runtime-") as temporary:
        settings = _settings(protocol, optimizer, problem, Path(temporary))
        experiment.run(settings, lambda text: None)
        ((identity, folder),) = logs.trial_folders(settings.experiment_dir)
        trial = logs.read_trial(identity, folder)
        if trial.outcome not in (Outcome.REACHED, Outcome.NOT_REACHED):
            raise AlgoPerfError(
                f"The run of {optimizer.entry.name} on {problem} for its runtime failed: "
                f"{trial.reason}."
            )
        return float(trial.columns[TOTAL_SECONDS][-1])
