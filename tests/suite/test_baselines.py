"""Shipped baselines: points that algorithms take, logs that come back as they were packed."""

import dataclasses
import json
import math

import pytest
from made_runs import FOUR, even, results

from algoperf import frameworks, logs, registry
from algoperf.errors import BadLogs, UnknownName
from algoperf.outcome import Outcome, OutcomeRecord
from algoperf.runner.tuning import load_search_space
from algoperf.suite import baselines, design, make_baselines

SHIPPED = [
    name for name in frameworks.FRAMEWORKS if baselines.packed_file(name).exists()
]


def test_there_are_at_least_ten():
    assert len(baselines.names()) >= 10


@pytest.mark.parametrize("name", baselines.names())
def test_a_point_has_what_the_algorithms_own_space_has(name, tmp_path):
    """What it has beyond that are options that another file of the algorithm sets."""
    folder = registry.wing_folder("reference_algorithms") / name
    taken = set()
    for path in folder.glob("*.json"):
        content = json.loads(path.read_text())
        taken |= set(content if isinstance(content, dict) else content[0])
    space = json.loads((folder / "tuning_search_space.json").read_text())
    needed = set(space if isinstance(space, dict) else space[0])
    assert needed <= set(baselines.point(name)) <= taken


@pytest.mark.parametrize("framework", ["jax", "pytorch"])
def test_a_baseline_is_a_submission_with_one_point(framework, tmp_path):
    entry = baselines.entry("lion", framework, tmp_path)
    assert entry.path.is_file()
    assert load_search_space(entry.search_space).points(0, 1, 5) == [
        baselines.point("lion")
    ]


def test_an_unknown_baseline_is_named_with_a_near_one():
    with pytest.raises(UnknownName, match=r"'nadmw'.*nadamw"):
        baselines.point("nadmw")


def test_packed_runs_come_back(tmp_path):
    made = [even("b"), results("a", {FOUR[0]: [100, None, 90]})]
    path = tmp_path / "logs.json"
    baselines.pack(path, made, "the command")
    found = baselines.unpack(path)
    assert [r.name for r in found] == ["a", "b"]
    assert found[0].runs[FOUR[0]][2].steps == math.inf
    assert not found[0].runs[FOUR[0]][2].is_hit
    for before, after in zip(sorted(made, key=lambda r: r.name), found, strict=True):
        for workload, runs in before.runs.items():
            for seed, run in runs.items():
                again = after.runs[workload][seed]
                assert dataclasses.replace(again, seconds=0) == dataclasses.replace(
                    run, seconds=0
                )


def test_the_file_says_how_it_was_made(tmp_path):
    path = tmp_path / "logs.json"
    baselines.pack(path, [even("a")], "the command")
    made = json.loads(path.read_text())["made"]
    assert made["command"] == "the command"
    assert made["first_run"] == made["last_run"] == "2026-01-01T00:00:00Z"
    assert made["machines"] == [{"cpu": "made up", "versions": {"numpy": "2"}}]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 9}', '{"version": 1}'])
def test_a_damaged_file_is_one_sentence(text, tmp_path):
    path = tmp_path / "logs.json"
    path.write_text(text)
    with pytest.raises(BadLogs, match=r"logs\.json"):
        baselines.unpack(path)


def test_curves_that_are_not_finite_survive(tmp_path):
    broken = results("a", {FOUR[0]: [None]})
    run = dataclasses.replace(
        broken.runs[FOUR[0]][1], curve=((1, math.nan), (2, math.inf))
    )
    path = tmp_path / "logs.json"
    baselines.pack(path, [dataclasses.replace(broken, runs={FOUR[0]: {1: run}})], "x")
    curve = baselines.unpack(path)[0].runs[FOUR[0]][1].curve
    assert [step for step, _ in curve] == [1, 2]
    assert all(math.isnan(value) for _, value in curve)


def test_what_was_not_run_is_named():
    whole = even(baselines.names()[0])
    short = results(baselines.names()[1], {FOUR[0]: [100, 100]})
    gaps = baselines.gaps([whole, short], FOUR)
    assert whole.name not in gaps
    assert gaps[short.name] == list(FOUR)
    assert set(gaps) == set(baselines.names()[1:])


def test_runs_of_another_form_of_a_workload_do_not_count():
    old = even("a")
    old = dataclasses.replace(old, fingerprints={**old.fingerprints, FOUR[0]: "0" * 12})
    assert not old.has(FOUR[0])
    assert old.has(FOUR[1])


def test_new_runs_are_added_to_the_packed_ones(monkeypatch):
    old = results("a", {FOUR[0]: [100, 110]})
    monkeypatch.setattr(baselines, "shipped", lambda framework: [old])
    new = results("a", {FOUR[0]: [100, 110, 120], FOUR[1]: [50]})
    third = dataclasses.replace(
        new, runs={FOUR[0]: {3: new.runs[FOUR[0]][3]}, **{FOUR[1]: new.runs[FOUR[1]]}}
    )
    (found,) = make_baselines.packed_and([third], "jax")
    assert sorted(found.runs[FOUR[0]]) == [1, 2, 3]
    assert sorted(found.runs[FOUR[1]]) == [1]


@pytest.mark.parametrize("framework", SHIPPED)
def test_what_is_shipped_can_be_read_and_is_of_today(framework):
    found = baselines.shipped(framework)
    assert found
    for own in found:
        assert own.framework == framework
        assert own.point == baselines.point(own.name)
        for workload, runs in own.runs.items():
            assert own.has(workload), f"{own.name} on {workload}: make it anew"
            for run in runs.values():
                assert run.curve
                assert run.machine["versions"]
    made = baselines.provenance(framework)
    assert made["command"].startswith("python -m algoperf.suite.make_baselines")


def test_the_seeds_of_a_workload_are_the_same_for_all(tmp_path):
    """So that runs are paired."""
    plans = [
        make_baselines.plan_of(
            make_baselines._parser().parse_args(
                ["--framework", "jax", "--folder", str(tmp_path)]
            ),
            name,
            design.QUICK[0],
        ).trial_plans()
        for name in ("lion", "muon")
    ]
    assert [trial.seed for trial in plans[0]] == [trial.seed for trial in plans[1]]
    assert len(plans[0]) == design.SEEDS


def test_packed_baselines_are_not_run_again(monkeypatch, tmp_path):
    monkeypatch.setattr(baselines, "shipped", lambda framework: [even("lion")])
    words = [
        "--framework",
        "jax",
        "--folder",
        str(tmp_path),
        "--baselines",
        "lion",
        "muon",
    ]
    options = make_baselines._parser().parse_args(words)
    assert list(make_baselines.pairs_left(options, FOUR[:1])) == [("muon", FOUR[0])]


def test_a_run_that_was_stopped_is_run_again(monkeypatch, tmp_path):
    monkeypatch.setattr(baselines, "shipped", lambda framework: [])
    words = ["--framework", "jax", "--folder", str(tmp_path), "--baselines", "lion"]
    options = make_baselines._parser().parse_args([*words, "--seeds", "1"])
    (trial,) = make_baselines.plan_of(options, "lion", FOUR[0]).trial_plans()
    trial.folder.mkdir(parents=True)
    for outcome, is_left in ((Outcome.PREEMPTED, True), (Outcome.NOT_REACHED, False)):
        logs.write_outcome(trial.folder, OutcomeRecord(outcome))
        assert any(make_baselines.pairs_left(options, FOUR[:1])) is is_left
