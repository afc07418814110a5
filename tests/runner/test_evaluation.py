"""Evaluating parameters on the splits of the toy workload."""

import dataclasses

import pytest
import toy_backend
import toy_workload

from algoperf import rulesets
from algoperf.errors import BadData
from algoperf.runner.evaluation import Evaluator
from algoperf.workload import Workload


def evaluate(folder, splits):
    backend = toy_backend.ToyBackend()
    definition = dataclasses.replace(toy_workload.DEFINITION, splits=splits)
    rules = rulesets.ruleset("paper")
    workload = Workload(
        definition,
        backend,
        toy_workload,
        toy_workload,
        ruleset=rules,
        tuning="external",
    )
    evaluator = Evaluator(
        workload, backend, toy_workload, toy_workload, data_folder=folder, seed=0
    )
    return evaluator.evaluate(toy_workload.build(definition.model), {})


def test_every_split_is_evaluated_under_its_published_name(tmp_path):
    metrics = evaluate(tmp_path, toy_workload.SPLITS)
    assert {name.partition("/")[0] for name in metrics} == {
        "train",
        "validation",
        "test",
    }
    assert metrics["validation/num_examples"] == 20


def test_a_split_without_examples_has_no_metrics(tmp_path):
    metrics = evaluate(tmp_path, dataclasses.replace(toy_workload.SPLITS, test=0))
    assert {name.partition("/")[0] for name in metrics} == {"train", "validation"}


def test_a_split_with_other_examples_than_defined_is_refused(tmp_path, monkeypatch):
    summarise = toy_workload.summarise
    monkeypatch.setattr(
        toy_workload, "summarise", lambda parts: summarise(list(parts)[:-1])
    )
    with pytest.raises(BadData, match="counted 16 examples instead of 20"):
        evaluate(tmp_path, toy_workload.SPLITS)
