"""The published draws of the Crowded Valley study, and the refined ranges."""

import json

import numpy as np
import pytest

from algoperf import registry
from algoperf.campaign import crowded_valley_points as points
from algoperf.errors import BadSettings

MEMBERS = points.family().MEMBERS
# The sheet's check values: the tuned values of samples in the order of the draws.
ONE = [[3.148912e-3], [6.351221e-1], [8.471801e-2]]
TWO = [[3.148912e-3, 0.3648779], [8.471801e-2, 0.9751896], [4.207989e-4, 0.9995793]]
THREE = [
    [3.148912e-3, 0.9655087, 0.9412727],
    [2.481041e-2, 0.5570504, 0.8282259],
    [1.707397e-4, 0.9106397, 0.9143018],
]
FIVE = [
    [3.148912e-3, 0.3681103, 0.8298802, 0.913803, 2.938028e-4],
    [4.207054e-4, 1.434722e-3, 0.9106397, 0.9143018, 1.331122e-2],
]
AHEAD = [
    [3.148912e-3, 0.3648779, 11, 0.131451],
    [2.440061e-2, 0.993928, 11, 6.870614e-3],
    [2.161894e-3, 0.9996272, 3, 1.208754e-4],
]
AHEAD_OF_RADAM = [
    [3.148912e-3, 0.9655087, 0.9412727, 7, 6.071989e-3],
    [2.511306e-4, 0.6871261, 0.8615746, 8, 6.796578e-2],
]
PUBLISHED = {
    **dict.fromkeys(("sgd", "adagrad"), ONE),
    **dict.fromkeys(("momentum", "nag", "rmsprop", "adadelta"), TWO),
    **dict.fromkeys(("adam", "amsgrad", "nadam", "radam", "adabelief"), THREE),
    **dict.fromkeys(("adabound", "amsbound"), FIVE),
    "lookahead_momentum": AHEAD,
    "lookahead_radam": AHEAD_OF_RADAM,
}


def test_every_member_has_published_draws_here():
    assert set(PUBLISHED) == set(MEMBERS)
    assert len(MEMBERS) == 15


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_first_samples_are_the_published_ones(name):
    found = points.draws(name, 3)
    for sample, values in zip(found, PUBLISHED[name], strict=False):
        drawn = [sample[key] for key in MEMBERS[name].tuned]
        assert drawn == pytest.approx(values, rel=5e-7)
        untuned = sample.keys() - set(MEMBERS[name].tuned)
        assert {k: sample[k] for k in untuned} == {
            k: MEMBERS[name].defaults[k] for k in untuned
        }


@pytest.mark.parametrize("name", MEMBERS)
def test_a_small_budget_is_the_beginning_of_a_larger_one(name):
    large = points.draws(name, 50)
    assert points.draws(name, 25) == large[:25]
    ks = {sample.get("k", 1) for sample in large}
    assert ks <= set(range(1, 20))


# The sheet's refined cells: both ends of a range are values of the medium list.
@pytest.mark.parametrize(
    ("low", "high", "inside"),
    [
        (0.0234238, 0.171234, 11),
        (0.0153759, 0.728665, 18),
        (0.0545673, 0.757948, 12),
    ],
)
def test_the_published_refined_ranges_end_at_values_of_the_medium_list(
    low, high, inside
):
    rates = np.array([s["learning_rate"] for s in points.draws("adagrad", 50)])
    for end in (low, high):
        assert np.abs(rates / end - 1).min() < 5e-6
    is_in = (rates >= low * (1 - 1e-5)) & (rates <= high * (1 + 1e-5))
    assert is_in.sum() == inside


def test_refined_points_lie_in_the_ranges_of_the_best():
    medium = points.draws("momentum", 50)
    best = [medium[7], medium[3], medium[11]]
    found = points.refined("momentum", best)
    assert len(found) == 25
    for key, turn in (("learning_rate", float), ("rho", lambda rho: 1 - rho)):
        low, high = (end(turn(b[key]) for b in best) for end in (min, max))
        drawn = [turn(sample[key]) for sample in found]
        assert min(drawn) >= low * (1 - 1e-9)
        assert max(drawn) <= high * (1 + 1e-9)
        # The numbers of the first list, mapped to the new range.
        u = [np.log(turn(s[key]) / 1e-4) / np.log(1e4) for s in medium[:25]]
        mapped = [np.log(value / low) / np.log(high / low) for value in drawn]
        assert mapped == pytest.approx(u, abs=1e-9)


def test_refined_integers_include_both_ends():
    best = [{"learning_rate": 0.1, "rho": 0.9, "alpha": 0.5, "k": k} for k in (4, 5)]
    found = points.refined("lookahead_momentum", best)
    assert {sample["k"] for sample in found} == {4, 5}


def test_one_best_point_leaves_one_point():
    best = points.draws("adam", 1)
    found = points.refined("adam", best)
    assert all(s == pytest.approx(best[0]) for s in found)


def test_the_space_beside_the_submissions_names_every_member():
    folder = registry.wing_folder("reference_algorithms") / "crowded_valley"
    space = json.loads((folder / "tuning_search_space.json").read_text())
    assert space["optimizer"]["feasible_points"] == list(MEMBERS)


def test_an_unknown_optimizer_is_told_with_a_near_name():
    with pytest.raises(BadSettings, match="Did you mean 'adam'"):
        points.member("adamm")
