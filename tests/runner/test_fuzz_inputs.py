"""Damaged input: search spaces, checkpoints, prepared data, flags. 700 seeded mutations.

Never a traceback for the user, and nothing that is wrong is accepted. (Logs: `tests/scoring`.)
"""

import dataclasses
import json
import math
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from algoperf import cli
from algoperf.campaign import single
from algoperf.errors import AlgoPerfError
from algoperf.prepared import MANIFEST, PreparedData
from algoperf.runner.checkpoints import files as checkpoint
from algoperf.runner.checkpoints.files import Checkpoint
from algoperf.runner.tuning import as_hyperparameters, load_search_space

SPACE = {
    "learning_rate": {"min": 1e-4, "max": 1e-2, "scaling": "log"},
    "beta1": {"min": 0.8, "max": 0.99, "scaling": "linear"},
    "decay": {"feasible_points": [0.0, 0.1, 0.2]},
}
ODD_VALUES = [
    None,
    True,
    -1,
    0,
    1e999,
    float("nan"),
    10**400,
    "",
    "x",
    "log",
    [],
    {},
    [[]],
    {"min": 0},
    "\ud800",
    " ",
]


def damaged_bytes(data: bytes, rng: random.Random) -> bytes:
    """Some bytes replaced, inserted or removed, or the end cut off."""
    content = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(content) or 1)
        kind = rng.randrange(4)
        if kind == 0:
            content[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            content[at:at] = rng.choice(
                [b'"', b"}", b"[", b",", b"\x00", b"\xff", b"9"]
            )
        elif kind == 2:
            del content[at : at + rng.randint(1, 40)]
        else:
            del content[at:]
    return bytes(content)


def damaged_json(value, rng: random.Random):
    """One value somewhere inside replaced by an odd one, or a key renamed or dropped."""
    if isinstance(value, dict) and value and rng.random() < 0.8:
        key = rng.choice(list(value))
        kind = rng.randrange(4)
        rest = {k: v for k, v in value.items() if k != key}
        if kind == 0:
            return {**rest, key: damaged_json(value[key], rng)}
        if kind == 1:
            return {
                **rest,
                rng.choice(["class", "a b", "", "_x", key + "s"]): value[key],
            }
        if kind == 2:
            return rest
        return {**rest, key: rng.choice(ODD_VALUES)}
    if isinstance(value, list) and value and rng.random() < 0.8:
        at = rng.randrange(len(value))
        return [*value[:at], damaged_json(value[at], rng), *value[at + 1 :]]
    return rng.choice(ODD_VALUES)


def text_of(value, rng: random.Random) -> bytes:
    text = json.dumps(value).encode()
    return damaged_bytes(text, rng) if rng.random() < 0.4 else text


@pytest.mark.parametrize("part", range(4))
def test_a_damaged_search_space_is_an_error_or_still_one(tmp_path, part):
    rng = random.Random(part)
    path = tmp_path / "space.json"
    for _ in range(60):
        original = rng.choice(
            [SPACE, [{"rate": 0.1, "on": True}, {"rate": 1, "on": 0}]]
        )
        path.write_bytes(text_of(damaged_json(original, rng), rng))
        try:
            points = load_search_space(path).points(seed=1, study=1, num_trials=3)
        except AlgoPerfError as error:
            assert str(path) in str(error)
            continue
        for point in points:
            as_hyperparameters(point)
            check_point(point, json.loads(path.read_bytes()))


def check_point(point, space) -> None:
    assert point
    for name, value in point.items():
        if isinstance(value, float):
            assert math.isfinite(value)
        if isinstance(space, dict) and "min" in space[name]:
            assert space[name]["min"] <= value <= space[name]["max"]


def saved(folder: Path, step: int) -> Checkpoint:
    made = Checkpoint(
        step,
        {"weight": np.arange(12.0).reshape(3, 4) + step, "count": np.array(step)},
        {"position": step, "eval_results": [[1, {"loss": 0.5}]]},
        {"seed": 3, "framework": "toy"},
    )
    checkpoint.save(folder, made)
    return made


def are_equal(a: Checkpoint, b: Checkpoint) -> bool:
    return (
        (a.step, dict(a.rest), dict(a.identity))
        == (b.step, dict(b.rest), dict(b.identity))
        and a.arrays.keys() == b.arrays.keys()
        and all(np.array_equal(a.arrays[k], b.arrays[k]) for k in a.arrays)
    )


@pytest.mark.parametrize("part", range(4))
def test_a_damaged_checkpoint_falls_back_or_is_the_same(tmp_path, part):
    rng = random.Random(part)
    whole = tmp_path / "whole"
    made = {step: saved(whole, step) for step in (4, 8)}
    for number in range(40):
        folder = tmp_path / str(number)
        shutil.copytree(whole, folder)
        path = rng.choice(sorted(folder.rglob("*.*")))
        if path.suffix == ".json" and rng.random() < 0.5:
            path.write_bytes(
                text_of(damaged_json(json.loads(path.read_text()), rng), rng)
            )
        else:
            path.write_bytes(damaged_bytes(path.read_bytes(), rng))
        warnings: list[str] = []
        found = checkpoint.load_latest(folder, made[8].identity, warnings.append)
        assert found is not None  # at most one is damaged
        assert are_equal(found, made[found.step])
        assert found.step == 8 or "damaged" in warnings[0]
        shutil.rmtree(folder)


@pytest.fixture
def prepared(tmp_path):
    import toy_workload

    toy_workload.prepare(tmp_path)
    return tmp_path / "blobs"


def test_a_damaged_manifest_is_an_error_or_still_right(prepared):
    import toy_workload

    rng = random.Random(5)
    path = prepared / MANIFEST
    original = json.loads(path.read_text())
    for _ in range(150):
        path.write_bytes(text_of(damaged_json(original, rng), rng))
        try:
            data = PreparedData.open(
                prepared, dataset="blobs", format_version=1, splits=toy_workload.SPLITS
            )
        except AlgoPerfError as error:
            assert str(prepared) in str(error)
            continue
        counts = {k: getattr(toy_workload.SPLITS, k) for k in ("train", "test")}
        assert counts.items() <= dict(data.counts).items()
        assert data.manifest.dataset == "blobs"


ODD_WORDS = [
    "",
    "-1",
    "0",
    "nan",
    "1e400",
    "x",
    "--",
    "\x00",
    "../..",
    "/",
    "NaN",
    "[]",
]


@pytest.fixture
def flags(toy, tmp_path):
    settings = toy()
    return [
        str(settings.submission_path),
        *("--framework", "toy"),
        *("--workload", "blobs"),
        *("--search-space", str(settings.search_space)),
        *("--data-dir", str(settings.data_dir)),
        *("--experiment-dir", str(tmp_path / "logs")),
        *("--experiment-name", "name"),
        *("--trials", "1"),
        *("--studies", "1"),
        *("--first-trial", "1"),
        *("--max-steps", "1"),
        *("--seed", "1"),
        *("--precision", "float32"),
        *("--num-processes", "1"),
        *("--eval-every-steps", "1"),
        *("--hang-seconds", "60"),
    ]


def test_damaged_flags_are_one_message_and_never_a_traceback(
    flags, tmp_path, monkeypatch, capsys
):
    from algoperf.logs import Outcome
    from algoperf.runner import experiment
    from algoperf.runner.outcomes import Ending

    started = []

    def no_process(plan, observers=()):
        started.append(plan.settings)
        return Ending(Outcome.NOT_REACHED, "not run")

    monkeypatch.setattr(experiment, "launch", no_process)
    monkeypatch.setattr(single, "launch", no_process)
    rng = random.Random(6)
    for _ in range(150):
        words = list(flags)
        for _ in range(rng.randint(1, 2)):
            at = rng.randrange(len(words))
            kind = rng.randrange(4)
            if kind == 0:
                del words[at]
            elif kind == 1:
                words[at] = rng.choice(ODD_WORDS)
            elif kind == 2:
                words.insert(at, rng.choice([*ODD_WORDS, "--resume", "--overwrite"]))
            else:
                words[at] = words[at][:-1]
        try:
            status = cli.main(["run", *words])
        except SystemExit as end:  # argparse: usage and one message
            status = end.code
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        # 1: no trial ended well, for none had a process.
        assert status in (0, 1) or (status == 2 and said.err.strip()), words
    for settings in started:
        check_settings(settings)


def check_settings(settings) -> None:
    """A run that was started has values that make sense."""
    assert settings.framework == "toy"
    for name in ("num_trials", "num_studies", "max_global_steps", "eval_period_steps"):
        value = getattr(settings, name)
        assert value is None or value >= 1
    assert math.isfinite(settings.hang_seconds) and settings.hang_seconds > 0
    assert dataclasses.asdict(settings)["experiment_name"] not in ("", ".", "..")
