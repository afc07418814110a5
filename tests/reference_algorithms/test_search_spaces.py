"""The search spaces in the algorithms' folders."""

import json

import pytest

from algoperf import registry
from algoperf.runner import tuning

FOLDER = registry.wing_folder("reference_algorithms")
ALGORITHMS = (
    "adafactor",
    "adamw",
    "distributed_shampoo",
    "heavy_ball",
    "lamb",
    "muon",
    "nadamw",
    "nesterov",
    "sam",
)
NEWER = (  # without published ranges: ours, and published points where there are any
    "ademamix",
    "cautious_nadamw",
    "diloco",
    "lion",
    "mars_adamw",
    "normuon",
    "prodigy",
    "soap",
)
# Keys of the mini space alone: they make an algorithm cheap enough for a small workload.
CHEAPER = {"distributed_shampoo": {"block_size"}, "soap": {"largest_side"}}
SPACES = [
    path.relative_to(FOLDER).as_posix()
    for algorithm in (*ALGORITHMS, *NEWER)
    for path in sorted((FOLDER / algorithm).glob("tuning_search_space*.json"))
]


def load(path: str):
    return json.loads((FOLDER / path).read_text())


def test_every_algorithm_has_two_spaces_and_one_for_small_workloads():
    assert len(SPACES) == 3 * len(ALGORITHMS) + 2 * len(NEWER)


def test_every_algorithm_is_looked_at_here():
    # The Crowded Valley's spaces are tested with its draws.
    known = {*ALGORITHMS, *NEWER, "schedule_free_adamw", "crowded_valley"}
    assert known == {*registry.folders("reference_algorithms")}


@pytest.mark.parametrize("algorithm", (*ALGORITHMS, *NEWER))
def test_the_space_for_small_workloads_has_the_same_hyperparameters(algorithm):
    full = load(f"{algorithm}/tuning_search_space.json")
    mini = load(f"{algorithm}/tuning_search_space_mini.json")
    assert mini.keys() == full.keys() | CHEAPER.get(algorithm, set())


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
        ("lamb", "one_minus_beta1", 0.05, 0.3),
        ("lamb", "weight_decay", 0.001, 1.0),
        ("adafactor", "one_minus_beta1", 0.01, 0.45),
        ("adafactor", "weight_decay", 0.001, 1.0),
        ("sam", "one_minus_beta1", 0.05, 0.43),
        ("sam", "weight_decay", 0.01, 0.2),
        ("distributed_shampoo", "one_minus_beta1", 0.01, 0.15),
        ("distributed_shampoo", "weight_decay", 0.005, 1.0),
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


@pytest.mark.parametrize(
    ("algorithm", "rates"),
    [
        ("ademamix", [0.002, 3.878772442557e-4]),
        ("lion", [2e-4]),
        ("diloco", [0.000955]),
        ("muon", [0.0001357495179]),
        ("cautious_nadamw", [0.0017486387539278373]),
    ],
)
def test_lists_hold_the_published_points(algorithm, rates):
    points = load(f"{algorithm}/optlist.json")
    assert [point["learning_rate"] for point in points] == rates


def test_cautious_nadamws_point_is_nadamws():
    (point,) = load("cautious_nadamw/optlist.json")
    assert point == {**load("nadamw/optlist.json")[4], "cautious_decay": 0}


def test_sam_searches_three_distances_and_adafactor_no_beta2():
    assert load("sam/tuning_search_space.json")["rho"] == {
        "feasible_points": [0.01, 0.02, 0.05]
    }
    assert "beta2" not in load("adafactor/tuning_search_space.json")


@pytest.mark.parametrize(
    ("file", "rates"),
    [
        ("tuning_search_space.json", [0.003, 0.004, 0.005, 0.01, 0.002]),
        ("optlist_v05.json", [0.004, 0.003, 0.002, 0.005, 0.001]),
    ],
)
def test_schedule_free_lists_hold_five_points(file, rates):
    points = load(f"schedule_free_adamw/{file}")
    assert [point["learning_rate"] for point in points] == rates
    assert {point["warmup_factor"] for point in points} == {0.02}


@pytest.mark.parametrize(
    "path", sorted(p.relative_to(FOLDER).as_posix() for p in FOLDER.glob("*/*.json"))
)
def test_every_file_is_accepted_by_the_harness(path):
    space = tuning.load_search_space(FOLDER / path)
    content = load(path)
    num_points = 3 if isinstance(content, dict) else min(3, len(content))
    assert len(space.points(seed=0, study=1, num_trials=3)) == num_points
