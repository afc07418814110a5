"""The search spaces in the algorithms' folders."""

import json

import pytest

from algoperf import registry

FOLDER = registry.wing_folder("reference_algorithms")
ALGORITHMS = ("adamw", "heavy_ball", "nadamw", "nesterov")
SPACES = [
    path.relative_to(FOLDER).as_posix()
    for algorithm in ALGORITHMS
    for path in sorted((FOLDER / algorithm).glob("tuning_search_space*.json"))
]


def load(path: str):
    return json.loads((FOLDER / path).read_text())


def test_every_algorithm_has_two_spaces():
    assert len(SPACES) == 2 * len(ALGORITHMS)


@pytest.mark.parametrize("path", SPACES)
def test_every_dimension_is_a_log_range_or_a_list_of_points(path):
    for name, dimension in load(path).items():
        if "feasible_points" in dimension:
            assert set(dimension) == {"feasible_points"}
            assert len(dimension["feasible_points"]) >= 1
        else:
            assert dimension["scaling"] == "log", name
            assert 0 < dimension["min"] < dimension["max"], name


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_fixed_beta1_space_differs_in_beta1_only(algorithm):
    free = load(f"{algorithm}/tuning_search_space.json")
    fixed = load(f"{algorithm}/tuning_search_space_fixed_beta1.json")
    assert fixed == {**free, "one_minus_beta1": {"feasible_points": [0.1]}}
    assert list(fixed) == list(free)


@pytest.mark.parametrize(
    ("algorithm", "key", "low", "high"),
    [
        ("adamw", "one_minus_beta1", 0.02, 0.5),
        ("nadamw", "one_minus_beta1", 0.004, 0.1),
        ("nesterov", "one_minus_beta1", 0.005, 0.3),
        ("heavy_ball", "one_minus_beta1", 0.005, 0.3),
        ("adamw", "learning_rate", 1e-4, 1e-2),
        ("heavy_ball", "learning_rate", 0.02, 5.0),
        ("nadamw", "weight_decay", 0.005, 1.0),
        ("nesterov", "weight_decay", 1e-7, 5e-5),
    ],
)
def test_published_range(algorithm, key, low, high):
    dimension = load(f"{algorithm}/tuning_search_space.json")[key]
    assert (dimension["min"], dimension["max"]) == (low, high)


def test_optlist_holds_the_five_published_points_with_the_keys_of_the_space():
    points = load("nadamw/optlist.json")
    keys = list(load("nadamw/tuning_search_space.json"))
    assert [list(point) for point in points] == [keys] * 5
    assert points[4]["learning_rate"] == 0.0017486387539278373
    assert points[0] == {**points[2], "label_smoothing": 0.1}
