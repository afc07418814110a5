"""Records come back as they were written, and those of older or other harnesses are read."""

import dataclasses
import json
import math
import re

import pytest

from algoperf.definition import Target
from algoperf.errors import BadLogs
from algoperf.evaluations import EvaluationRow
from algoperf.outcome import Outcome, OutcomeRecord
from algoperf.runner.checkpoints.snapshot import Snapshot
from algoperf.runner.trial_parts import Costs
from algoperf.trial_meta import Devices, Host, TrialMeta, target_from_json, utc_now

META = TrialMeta(
    workload="mnist_mini",
    base_workload="mnist",
    tier="mini",
    framework="jax",
    ruleset="paper",
    tuning_ruleset="self",
    target=Target("accuracy", 0.9, None, "higher"),
    budget_seconds=7.5,
    step_hint=100,
    batch_size=64,
    batch_size_source="submission",
    precision="float32",
    partial_data=True,
    target_setting=True,
    eval_period_steps=3,
    seed=2**62 + 1,
    study=2,
    trial=4,
    num_processes=2,
    torch_inductor_cache="/a/folder",
    began="2026-01-02T03:04:05.678Z",
    devices=Devices(
        framework="jax",
        platform="cpu",
        device_kind="cpu",
        num_devices=1,
        versions={"jax": "0.9"},
        warnings=("slow",),
        settings={"xla_flags": ""},
    ),
    host=Host("a processor", 2, 2**30, "Linux"),
    versions={"numpy": "2.0"},
    commit="abc",
    about={"title": "T", "authors": ["A"]},
    others={"note": "kept"},
)
SNAPSHOT = Snapshot(
    ranks=[{"rest": {"leaves": {}}}],
    position=7,
    eval_results=[(3, {"validation/loss": 0.5})],
    validation_reached=True,
    test_reached=False,
    training_complete=False,
    evaluated_at=1.5,
    data_wait=0.25,
    costs=Costs(1.0, 0.5, 0.25),
    seconds={"submission": 2.0},
    rows={"columns": ["global_step"], "rows": [["3"]]},
)


def through_json(value):
    return json.loads(json.dumps(value))


def test_meta_data_come_back():
    assert TrialMeta.from_json(through_json(META.to_json())) == META


def test_every_field_of_the_example_is_set_so_that_none_is_forgotten():
    for record in (META, META.target, META.host, SNAPSHOT):
        unset = {
            f.name
            for f in dataclasses.fields(record)
            if getattr(record, f.name) is None
        }
        assert unset <= {"test"}


def test_an_outcome_comes_back():
    record = OutcomeRecord(
        Outcome.REACHED, "fast", {"total": 2.0}, {"data_wait": 0.1}, ("slow",), "then"
    )
    assert OutcomeRecord.from_json(through_json(record.to_json()), "") == record


def test_a_row_comes_back_also_from_text():
    row = EvaluationRow(
        3, 1.5, 2.5, 3.5, 4.5, 5.5, {"test/loss": 0.1 + 0.2}, {"host_memory_bytes": 5}
    )
    assert EvaluationRow.from_json(row.to_json()) == row
    texts = {name: str(cell) for name, cell in row.to_json().items()}
    assert EvaluationRow.from_json({**texts, "validation/loss": ""}) == row


def test_a_snapshot_comes_back():
    assert Snapshot.from_json(through_json(SNAPSHOT.to_json())) == SNAPSHOT


def test_records_of_the_published_harness_are_kept_as_they_are():
    content = {"gpu_count": 8, "workload.target_metric_name": "wer"}
    meta = TrialMeta.from_json(content)
    assert meta.others == content and not meta.is_own


@pytest.mark.parametrize(
    "content", [{}, {"host": 3, "devices": [], "versions": None, "target": None}]
)
def test_what_an_old_record_lacks_is_not_known(content):
    meta = TrialMeta.from_json(content)
    assert meta == TrialMeta() and not meta.is_own


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"target": 3}, "f.json: the target must be an object, not 3"),
        ({"target": {}}, "must have 'metric' and 'better'"),
        (
            {"target": {"metric": "a", "better": "higher", "validation": "x"}},
            "'validation' must be a finite number, not 'x'",
        ),
        ({"budget_seconds": -1}, "f.json: 'budget_seconds' must be above 0"),
        ({"budget_seconds": 10**400}, "must be a finite number"),
    ],
)
def test_a_target_that_is_none_is_an_error_that_names_the_file(content, words):
    with pytest.raises(BadLogs, match=re.escape(words)):
        TrialMeta.from_json(content, "f.json")


def test_a_test_target_that_is_not_recorded_is_told_from_none():
    record = {"metric": "a", "better": "higher", "validation": 0.5}
    assert math.isnan(target_from_json(record, "").test)
    assert target_from_json({**record, "test": None}, "").test is None


def test_moments_are_in_utc():
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", utc_now())
