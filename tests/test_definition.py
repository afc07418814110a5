import dataclasses
import math
from dataclasses import dataclass

import pytest

from algoperf.definition import (
    Limits,
    Splits,
    Target,
    Variant,
    WorkloadDefinition,
)
from algoperf.errors import UnknownName
from algoperf.spec import LossType


@dataclass(frozen=True)
class ModelConfig:
    width: int = 64
    activation: str = "relu"


@dataclass(frozen=True)
class DataConfig:
    crop: int = 224


def definition(**changes) -> WorkloadDefinition:
    values = {
        "name": "toy_images",
        "title": "Toy images",
        "dataset": "toys",
        "target": Target("accuracy", validation=0.91, test=0.9),
        "loss_type": LossType.SOFTMAX_CROSS_ENTROPY,
        "splits": Splits(train=100, eval_train=10, validation=20, test=30),
        "limits": {"v0.5": Limits(3_600, 1_000), "v0.6": Limits(1_800, 500)},
        "eval_period_seconds": 60,
        "eval_batch_size": 10,
        "default_batch_size": 8,
        "model": ModelConfig(),
        "data": DataConfig(),
        "variants": {
            "wide": Variant(Target("accuracy", 0.93, 0.92), model={"width": 128}),
            "large": Variant(
                Target("accuracy", 0.95, 0.94),
                data={"crop": 384},
                fields={"eval_batch_size": 5},
            ),
        },
        "mini": Variant(Target("accuracy", 0.8, 0.7), fields={"default_batch_size": 2}),
    }
    return WorkloadDefinition(**{**values, **changes})


@pytest.mark.parametrize(
    ("better", "value", "is_reached"),
    [
        ("higher", 0.9, False),
        ("higher", 0.9001, True),
        ("higher", 0.8, False),
        ("lower", 0.9, False),
        ("lower", 0.8999, True),
        ("lower", 1.0, False),
    ],
)
def test_a_target_is_reached_when_strictly_better(better, value, is_reached):
    target = Target("m", validation=0.9, test=0.9, better=better)
    assert target.reached({"validation/m": value}, "validation") is is_reached


@pytest.mark.parametrize("better", ["higher", "lower"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_reaches_no_target(better, value):
    target = Target("m", validation=0.9, test=0.9, better=better)
    assert not target.reached({"validation/m": value}, "validation")


@pytest.mark.parametrize(
    ("better", "best", "comparison"), [("higher", 3.0, ">"), ("lower", 1.0, "<")]
)
def test_a_targets_costs_fall_where_its_metric_improves(better, best, comparison):
    target = Target("m", validation=0.9, test=0.9, better=better)
    values = [2.0, 1.0, 3.0]
    assert min(values, key=target.cost) == best
    assert [target.cost(target.cost(value)) for value in values] == values
    assert target.comparison == comparison
    better_ones = [value for value in values if target.is_better(value, 2.0)]
    assert better_ones == [best]


def test_a_metric_that_was_not_measured_reaches_no_target():
    target = Target("accuracy", validation=0.9, test=0.8)
    assert not target.reached({"validation/loss": 99.0}, "validation")


def test_each_split_has_its_own_target():
    target = Target("accuracy", validation=0.9, test=0.8)
    metrics = {"validation/accuracy": 0.85, "test/accuracy": 0.85}
    assert not target.reached(metrics, "validation")
    assert target.reached(metrics, "test")


def test_splits_tell_their_sizes_by_name():
    splits = Splits(train=4, eval_train=3, validation=2, test=1)
    names = ("train", "eval_train", "validation", "test")
    assert [splits.size(name) for name in names] == [4, 3, 2, 1]


def test_a_definition_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        definition().name = "other"


def test_a_base_workload_is_its_own_base_folder_and_prepared_data():
    base = definition()
    assert base.is_base
    assert (base.base_name, base.folder) == ("toy_images", "toy_images")
    assert base.prepared_name == "toys"


def test_a_definition_lists_its_base_variants_and_mini_form():
    assert definition().names() == [
        "toy_images",
        "toy_images_wide",
        "toy_images_large",
        "toy_images_mini",
    ]


def test_the_base_is_found_by_its_own_name():
    base = definition()
    assert base.named("toy_images") is base


def test_a_variant_changes_what_it_names_and_nothing_else():
    base = definition()
    wide = base.named("toy_images_wide")
    assert wide.target.validation == 0.93
    assert wide.model == ModelConfig(width=128)
    changed = {"name", "target", "model", "variants", "mini"}
    for field in dataclasses.fields(WorkloadDefinition):
        if field.name not in changed:
            assert getattr(wide, field.name) == getattr(base, field.name), field.name


def test_a_variant_may_change_data_and_fields():
    large = definition().named("toy_images_large")
    assert (large.data.crop, large.eval_batch_size) == (384, 5)


def test_a_variant_is_no_base_and_knows_its_own():
    wide = definition().named("toy_images_wide")
    assert not wide.is_base
    assert (wide.base_name, wide.folder) == ("toy_images", "toy_images")
    assert wide.names() == ["toy_images_wide"]


def test_the_mini_form_has_its_own_tier_and_prepared_data():
    mini = definition().named("toy_images_mini")
    assert (mini.tier, mini.prepared_name) == ("mini", "toys_mini")
    assert mini.default_batch_size == 2
    assert not mini.is_base


def test_a_mini_form_may_share_prepared_data():
    shared = Variant(Target("accuracy", 0.8, 0.7), fields={"prepared_name": "toys"})
    mini = definition(mini=shared).named("toy_images_mini")
    assert (mini.tier, mini.prepared_name) == ("mini", "toys")


@pytest.mark.parametrize("part", ["model", "data", "fields"])
def test_a_misspelt_field_of_a_variant_fails(part):
    bad = Variant(Target("accuracy", 0.8, 0.7), **{part: {"widht": 3}})
    with pytest.raises(TypeError, match="widht"):
        definition(variants={"bad": bad}).named("toy_images_bad")


def test_an_unknown_variant_is_refused_with_a_suggestion():
    with pytest.raises(UnknownName, match="Did you mean 'toy_images_wide'"):
        definition().named("toy_images_wdie")


def test_a_workload_without_mini_form_has_none():
    with pytest.raises(UnknownName, match="toy_images_mini"):
        definition(mini=None).named("toy_images_mini")


def test_one_evaluation_batch_size_serves_every_framework():
    assert definition().eval_batch_size_for("jax") == 10


def test_evaluation_batch_sizes_may_differ_by_framework():
    by_framework = definition(eval_batch_size={"jax": 16, "pytorch": 4})
    assert by_framework.eval_batch_size_for("pytorch") == 4


def test_a_framework_that_is_not_listed_evaluates_in_the_largest_batches():
    by_framework = definition(eval_batch_size={"jax": 16, "pytorch": 4})
    assert by_framework.eval_batch_size_for("toy") == 16
