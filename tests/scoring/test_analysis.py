"""The paper's analyses, against hand-made cases."""

import math
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from scoring_cases import (
    hit_at,
    published_board,
    targets,
    trial,
    unpack_published,
)

from algoperf import cli
from algoperf.definition import Target
from algoperf.errors import BadLogs, UnknownName
from algoperf.logs import Trial
from algoperf.scoring.analysis import (
    budgets,
    catalogue,
    crossing,
    distinctiveness,
    transfer,
)
from algoperf.scoring.figures import standalone
from algoperf.scoring.leaderboard import Leaderboard, score
from algoperf.scoring.tables import NONE

TARGET = Target("accuracy", 0.5, 0.5)
LOSS = Target("loss", 0.5, 0.5, better="lower")


@pytest.fixture
def board() -> Leaderboard:
    return published_board()


def tuned(workload: str, values: list[float]) -> list[Trial]:
    """One trial for each point, with that final accuracy."""
    return [
        trial(
            "a",
            workload,
            [(5, 0.0), (10, v)],
            number=i,
            hyperparameters={"learning_rate": i},
        )
        for i, v in enumerate(values, start=1)
    ]


def tuned_board() -> Leaderboard:
    known = targets("v", "w", held_out=["w_x"])
    trials = [*tuned("v", [0.9, 0.6, 0.3]), *tuned("w", [0.5, 0.8, 1.0])]
    return score([*trials, *tuned("w_x", [1.0, 0.6, 0.5])], "v0.5", targets=known)


def test_probability_of_the_best_adds_up_and_matches_draws():
    exact = budgets.probability_of_best(5, 3)
    draws = np.random.default_rng(0).integers(5, size=(200_000, 3)).min(axis=1)
    assert math.isclose(exact.sum(), 1.0)
    np.testing.assert_allclose(np.bincount(draws) / len(draws), exact, atol=0.005)


def test_one_trial_of_a_budget_has_the_trials_own_quartiles():
    values = np.arange(1.0, 101.0)
    found = budgets.simulate_budgets(values, values, (1,))
    assert (found.low[0], found.median[0], found.high[0]) == (25.0, 50.0, 75.0)


def test_a_larger_budget_is_never_worse():
    values = np.random.default_rng(1).normal(size=30)
    found = budgets.simulate_budgets(values, values)
    assert (np.diff(found.median) <= 0).all()


def test_the_chosen_trials_value_may_be_another_metric():
    found = budgets.simulate_budgets(np.array([1.0, 2.0]), np.array([7.0, 3.0]), (50,))
    assert found.median[0] == 7.0


def test_diverged_trials_are_chosen_last():
    found = budgets.simulate_budgets(
        np.array([np.inf, 1.0]), np.array([np.nan, 1.0]), (9,)
    )
    assert found.median[0] == 1.0


def test_a_trial_without_a_value_is_the_worst_and_shown_as_a_dash():
    values = [(5, 0.2), (5, 0.4), (5, math.nan)]
    runs = [trial("a", "w", [row], study=i + 1) for i, row in enumerate(values)]
    board = score(runs, "v0.5", targets=targets("w"))
    (table,) = catalogue.analyse("budgets", board).tables()
    cell = table.rows[0][1]  # one trial of three
    assert (cell.text, cell.value, cell.detail) == ("0.2", 0.2, f"({NONE} .. 0.4)")
    assert table.columns[1].is_numeric


def test_transfer_gap_by_hand():
    values = np.array([[1.0, 4.0], [2.0, 2.0], [1.5, 2.2]])
    found = transfer.transfer_gap(values, [LOSS, LOSS])
    np.testing.assert_allclose(found.gaps, [[0, 1], [1, 0], [0.5, 0.1]], atol=1e-12)
    assert (found.best_point, found.gap) == (2, 0.5)


def test_transfer_gap_is_mirrored_for_maximised_metrics():
    values = np.array([[1.0], [0.8]])
    found = transfer.transfer_gap(values, [TARGET])
    np.testing.assert_allclose(found.gaps[:, 0], [0.0, 0.2])


def test_a_point_that_diverges_somewhere_does_not_transfer():
    values = np.array([[1.0, np.nan], [2.0, 1.0]])
    found = transfer.transfer_gap(values, [LOSS, LOSS])
    assert found.best_point == 1 and found.gaps[0, 1] == math.inf


def test_ranks_share_the_better_place():
    assert distinctiveness.ranks(np.array([2.0, 1.0, 2.0, np.inf])).tolist() == [
        2,
        1,
        2,
        4,
    ]


def test_distinctiveness_by_hand():
    found = distinctiveness.distinctiveness(
        np.array([1.0, 2.0, 3.0]), np.array([2.0, 3.0, 1.0])
    )
    assert (found.base_best_on_variant, found.variant_best_on_base) == (2, 3)


def test_curves_cross_where_interpolation_says():
    a = trial("a", "w", [(0, 0.0), (10, 1.0)])
    b = trial("b", "w", [(0, 0.4), (10, 0.4)])
    found = crossing.crossings(a, b, TARGET)
    np.testing.assert_allclose(found.times, [4.0])
    assert found.reached == (10.0, math.inf)


def test_curves_that_touch_do_not_cross():
    a = trial("a", "w", [(0, 0.0), (5, 0.4), (10, 0.0)])
    b = trial("b", "w", [(0, 0.4), (10, 0.4)])
    assert not len(crossing.crossings(a, b, TARGET).times)


def test_a_curve_without_finite_values_crosses_nothing():
    a, b = trial("a", "w", [(0, math.nan)]), hit_at("b", "w", 10)
    assert not len(crossing.crossings(a, b, TARGET).times)


@pytest.mark.parametrize("name", list(catalogue.ANALYSES))
def test_every_analysis_makes_tables_and_figures(name: str):
    section = catalogue.analyse(name, tuned_board())
    assert all(table.text().strip() for table in section.tables())
    assert section.key == name and section.tables() and section.charts()
    for chart, legend in section.charts():
        assert ET.fromstring(standalone(chart, legend)).tag.endswith("svg")


@pytest.mark.parametrize("name", ["budgets", "crossing", "steps-vs-time"])
def test_analyses_of_real_logs(name: str, board: Leaderboard):
    tables = catalogue.analyse(name, board).tables()
    assert any("baseline" in table.text() for table in tables)


@pytest.mark.parametrize("suffix", [".html", ".json", ".csv", ".md", ".tex"])
def test_an_analysis_is_written_like_a_report(tmp_path, capsys, suffix):
    folder = unpack_published(tmp_path / "logs", submissions=["baseline", "adamg"])
    output = tmp_path / f"out{suffix}"
    words = ["analyze", "steps-vs-time", str(folder), "--rules", "v0.5"]
    words += ["-o", str(output), "--figures", str(tmp_path / "figures")]
    assert cli.main(words) == 0
    assert "Scores by time and by steps" in capsys.readouterr().out
    assert "baseline" in output.read_text()
    names = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert names == ["steps-vs-time_1.svg", "steps-vs-time_2.svg"]


def test_points_that_were_not_recorded_are_reported(board: Leaderboard):
    with pytest.raises(BadLogs, match="records no hyperparameters"):
        catalogue.analyse("transfer", board)


def test_an_unknown_analysis_suggests_a_name(board: Leaderboard):
    with pytest.raises(UnknownName, match="Did you mean 'crossing'"):
        catalogue.analyse("crossings", board)
