import itertools
import json
import math
import os
import subprocess
import sys

import pytest

from algoperf.errors import BadSearchSpace
from algoperf.runner.tuning import (
    PointList,
    SearchSpace,
    as_hyperparameters,
    load_search_space,
)

LOG = {"min": 1e-4, "max": 1e-2, "scaling": "log"}
LINEAR = {"min": 0.0, "max": 1.0, "scaling": "linear"}
DIMENSIONS = {
    "learning_rate": LOG,
    "one_minus_beta1": LINEAR,
    "beta2": {"min": 0.9, "max": 0.999, "scaling": "linear"},
    "weight_decay": {"min": 1e-4, "max": 0.5, "scaling": "log"},
    "dropout_rate": {"feasible_points": [0.0, 0.1, 0.2]},
}
PRINT_POINTS = """
from algoperf.runner.tuning import SearchSpace
space = {"a": {"min": 0, "max": 1, "scaling": "linear"}, "b": {"feasible_points": [1, 2]}}
print(SearchSpace(space, "s").points(3, 2, 5))
"""


def space(dimensions=None) -> SearchSpace:
    return SearchSpace(DIMENSIONS if dimensions is None else dimensions, "space.json")


def column(points, name) -> list:
    return [point[name] for point in points]


def write(folder, content) -> object:
    path = folder / "space.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_points_are_a_function_of_seed_study_and_trial():
    assert space().points(3, 2, 5) == space().points(3, 2, 5)


def test_points_do_not_depend_on_the_process():
    outputs = {
        subprocess.run(
            [sys.executable, "-c", PRINT_POINTS],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_more_trials_only_append_points():
    assert space().points(0, 1, 40)[:7] == space().points(0, 1, 7)


def test_studies_share_no_point():
    points = [space().points(0, study, 20) for study in range(1, 6)]
    for name in ("learning_rate", "one_minus_beta1", "beta2", "weight_decay"):
        values = [value for study in points for value in column(study, name)]
        assert len(set(values)) == 100


def test_another_campaign_seed_gives_other_points():
    assert space().points(0, 1, 5) != space().points(1, 1, 5)


def test_a_hyperparameter_is_not_moved_by_those_after_it():
    alone = space({"learning_rate": LOG}).points(0, 1, 5)
    assert column(alone, "learning_rate") == column(
        space().points(0, 1, 5), "learning_rate"
    )


@pytest.mark.parametrize("study", range(1, 6))
def test_every_value_lies_in_its_range(study):
    points = space().points(0, study, 200)
    for name in ("learning_rate", "one_minus_beta1", "beta2", "weight_decay"):
        low, high = DIMENSIONS[name]["min"], DIMENSIONS[name]["max"]
        assert all(low <= value <= high for value in column(points, name))


def test_every_feasible_point_is_visited_and_no_other():
    values = column(space().points(0, 1, 60), "dropout_rate")
    assert set(values) == {0.0, 0.1, 0.2}
    assert all(values.count(value) >= 15 for value in set(values))


def test_linear_scaling_spreads_values_evenly():
    values = column(space({"a": LINEAR}).points(0, 1, 200), "a")
    assert sum(value < 0.5 for value in values) == pytest.approx(100, abs=3)


def test_log_scaling_spreads_exponents_evenly():
    values = column(space({"a": LOG}).points(0, 1, 200), "a")
    assert sum(value < 1e-3 for value in values) == pytest.approx(100, abs=3)


@pytest.mark.parametrize("seed", range(20))
def test_the_first_16_points_reach_all_16_parts_of_the_range(seed):
    values = column(space({"a": LINEAR}).points(seed, 1, 16), "a")
    assert {int(16 * value) for value in values} == set(range(16))


def test_36_points_spread_over_every_plane():
    """Of 36 cells, 36 independent points reach 23 on average."""
    dimensions = dict.fromkeys("abcde", LINEAR)
    reached = []
    for seed, (x, y) in itertools.product(
        range(10), itertools.combinations("abcde", 2)
    ):
        points = space(dimensions).points(seed, 1, 36)
        reached.append(len({(int(6 * p[x]), int(6 * p[y])) for p in points}))
    assert sum(reached) / len(reached) > 25.5


def test_equal_bounds_fix_a_value():
    fixed = {"a": {"min": 0.5, "max": 0.5, "scaling": "log"}}
    assert column(space(fixed).points(0, 1, 3), "a") == [0.5, 0.5, 0.5]


def test_a_log_range_may_span_all_magnitudes():
    wide = {"a": {"min": 1e-200, "max": 1e200, "scaling": "log"}}
    exponents = [math.log10(v) for v in column(space(wide).points(0, 1, 50), "a")]
    assert min(exponents) < -100 and max(exponents) > 100


def test_a_submission_gets_a_namedtuple():
    hyperparameters = as_hyperparameters({"learning_rate": 0.1, "beta2": 0.9})
    assert hyperparameters.learning_rate == 0.1
    assert hyperparameters._asdict() == {"learning_rate": 0.1, "beta2": 0.9}
    assert hyperparameters == (0.1, 0.9)


def test_points_of_a_list_come_from_it_without_replacement():
    points = PointList([{"a": value} for value in range(20)], "list.json")
    drawn = column(points.points(0, 1, 8), "a")
    assert len(set(drawn)) == 8
    assert set(drawn) <= set(range(20))


def test_points_of_a_list_are_shuffled():
    points = PointList([{"a": value} for value in range(20)], "list.json")
    assert column(points.points(0, 1, 20), "a") != list(range(20))
    assert points.points(0, 1, 20) != points.points(1, 1, 20)


def test_studies_share_no_point_of_a_list_that_is_long_enough():
    points = PointList([{"a": value} for value in range(20)], "list.json")
    drawn = [
        value for s in (1, 2, 3, 4) for value in column(points.points(0, s, 5), "a")
    ]
    assert sorted(drawn) == list(range(20))


def test_a_study_takes_no_more_points_than_the_list_holds():
    points = PointList([{"a": value} for value in range(5)], "list.json")
    assert sorted(column(points.points(0, 3, 20), "a")) == list(range(5))


def test_a_file_of_ranges_is_a_search_space(tmp_path):
    loaded = load_search_space(write(tmp_path, DIMENSIONS))
    assert loaded.points(0, 1, 3) == space().points(0, 1, 3)


def test_a_file_of_points_is_a_point_list(tmp_path):
    loaded = load_search_space(write(tmp_path, [{"a": 1}, {"a": 2}]))
    assert sorted(column(loaded.points(0, 1, 2), "a")) == [1, 2]


def rate(**changes) -> dict:
    return {"rate": {"min": 0.1, "max": 1.0, "scaling": "linear", **changes}}


MALFORMED = {  # what is wrong: (content of the file, what the message must say)
    "bad JSON": ('{"rate": ', ["not valid JSON", "line 1"]),
    "empty file": ("", ["not valid JSON"]),
    "no object or list": ("3", ["JSON object", "JSON list", "int"]),
    "nested too deeply": ("[" * 100_000, ["not valid JSON"]),
    "no hyperparameter": ({}, ["at least one"]),
    "no object": ({"rate": 0.1}, ["'rate'", "feasible_points", "0.1"]),
    "min above max": (rate(min=2.0), ["'rate'", "min 2.0", "max 1.0", "swap"]),
    "log with 0": (rate(min=0, scaling="log"), ["'rate'", "log", "above 0"]),
    "log below 0": (rate(min=-1.0, scaling="log"), ["'rate'", "log", "above 0"]),
    "unknown scaling": (rate(scaling="lin"), ["'rate'", "'lin'", "linear, log"]),
    "misspelt scaling": (rate(scaling="lienar"), ["Did you mean 'linear'?"]),
    "scaling no text": (rate(scaling=None), ["'rate'", "None", "linear, log"]),
    "scaling a list": (rate(scaling=["log"]), ["'rate'", "linear, log"]),
    "misspelt key": ({"rate": {"mim": 0, "max": 1}}, ["'mim'", "Did you mean 'min'?"]),
    "missing key": ({"rate": {"min": 0, "max": 1}}, ["'rate'", "lacks scaling"]),
    "bool bound": (rate(min=False), ["'rate'", "False", "number"]),
    "text bound": (rate(max="1"), ["'rate'", "'1'", "number"]),
    "NaN bound": (rate(max=math.nan), ["'rate'", "nan", "finite"]),
    "infinite bound": (rate(max=math.inf), ["'rate'", "inf", "finite"]),
    "bound beyond floats": (rate(max=10**400), ["'rate'", "finite"]),
    "named twice": (
        '{"rate": {"feasible_points": [1]}, "rate": {}}',
        ["'rate'", "twice"],
    ),
    "no points": ({"rate": {"feasible_points": []}}, ["'rate'", "at least one"]),
    "points no list": ({"rate": {"feasible_points": 3}}, ["'rate'", "must be a list"]),
    "points and range": (rate(feasible_points=[1]), ["'rate'", "stand alone"]),
    "NaN point": ({"rate": {"feasible_points": [math.nan]}}, ["'rate'", "finite"]),
    "keyword": ({"class": LINEAR}, ["'class'", "name of a hyperparameter"]),
    "blank in name": ({"a b": LINEAR}, ["'a b'", "name of a hyperparameter"]),
    "digit first": ({"1st": LINEAR}, ["'1st'", "name of a hyperparameter"]),
    "underscore first": ({"_rate": LINEAR}, ["'_rate'", "name of a hyperparameter"]),
    "empty name": ({"": LINEAR}, ["''", "name of a hyperparameter"]),
    "empty list": ([], ["at least one point"]),
    "list of numbers": ([1, 2], ["point 0", "object"]),
    "list of texts": (["rate"], ["point 0", "object"]),
    "empty point": ([{}], ["point 0"]),
    "points differ": ([{"a": 1}, {"b": 1}], ["point 1", "same names", "a"]),
    "keyword in list": ([{"class": 1}], ["'class'", "name of a hyperparameter"]),
    "NaN in list": ([{"a": math.nan}], ["point 0", "finite"]),
}


@pytest.mark.parametrize(("content", "said"), MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_space_is_refused_by_file_entry_and_remedy(tmp_path, content, said):
    path = write(tmp_path, content)
    with pytest.raises(BadSearchSpace) as caught:
        load_search_space(path)
    text = str(caught.value)
    assert str(path) in text
    assert [words for words in said if words not in text] == []


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(
        BadSearchSpace, match=r"none\.json cannot be read: No such file"
    ):
        load_search_space(tmp_path / "none.json")


def test_a_file_that_is_not_text_is_refused(tmp_path):
    path = tmp_path / "space.json"
    path.write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(BadSearchSpace, match=r"space\.json"):
        load_search_space(path)
