"""Analyses that tell how far to trust a board: grid, relax, frameworks, power; by hand."""

import math
import re

import numpy as np
import pytest
from scoring_cases import (
    hit_at,
    published_board,
    published_v10_trials,
    targets,
    trial,
)

from algoperf.definition import Target
from algoperf.errors import BadLogs
from algoperf.scoring.analysis import crossing, frameworks, grid, power, relax
from algoperf.scoring.leaderboard import Leaderboard, score
from algoperf.scoring.report.content import make_document
from algoperf.scoring.tables import DataTable
from algoperf.scoring.times import MISS

HIGHER = Target("accuracy", 0.5, 0.5)
INF = math.inf


def lower(values: list[float], seconds: list[float]):
    """A trial that logged a loss."""
    made = trial("a", "w", [(s, 0.0) for s in seconds])
    made.columns["validation/loss"] = np.array(values)
    return made


@pytest.fixture(scope="module")
def v10() -> Leaderboard:
    return score(published_v10_trials(), "v1.0")


def table_of(section, key: str) -> DataTable:
    return next(table for table in section.tables() if table.key == key)


def column(table: DataTable, name: str) -> dict[str, object]:
    at = [c.name for c in table.columns].index(name)
    return {row[0].text: row[at].value for row in table.rows}


# Grid


def test_an_accuracy_crosses_its_target_on_a_straight_line():
    run = trial("a", "w", [(100, 0.2), (200, 0.6), (300, 0.9)], steps=[10, 20, 30])
    hit = grid.interpolated_hit(run, HIGHER, "validation", INF)
    assert (hit.seconds, hit.steps) == (pytest.approx(175), pytest.approx(17.5))


def test_a_loss_crosses_its_target_on_a_straight_line_of_its_logarithm():
    target = Target("loss", validation=2.0, test=None, better="lower")
    run = lower([4.0, 1.0], [100, 300])
    hit = grid.interpolated_hit(run, target, "validation", INF)
    assert hit.seconds == pytest.approx(200)  # half of the way from log 4 to log 1


@pytest.mark.parametrize(
    "rows",
    [
        [(100, 0.6)],  # the first evaluation: nothing before it
        [(50, math.nan), (100, 0.6)],
    ],
)
def test_without_a_value_before_the_time_stays(rows):
    hit = grid.interpolated_hit(trial("a", "w", rows), HIGHER, "validation", INF)
    assert hit.seconds == 100


def test_a_loss_that_is_not_positive_has_no_logarithm_and_keeps_its_time():
    target = Target("loss", validation=-1.0, test=None, better="lower")
    run = lower([0.5, -2.0], [100, 300])
    assert grid.interpolated_hit(run, target, "validation", INF).seconds == 300


def test_a_miss_stays_a_miss():
    run = trial("a", "w", [(100, 0.2), (200, 0.5)])
    assert grid.interpolated_hit(run, HIGHER, "validation", INF) is MISS


def test_corrected_times_decide_where_the_grid_hid_a_difference():
    known = targets("w")
    a = trial("a", "w", [(100, 0.3), (200, 0.9)])  # crosses at 133 s
    b = trial("b", "w", [(100, 0.3), (200, 0.55)])  # crosses at 180 s
    board = score([a, b], "v0.5", targets=known)
    assert board.scores == {"a": 1.0, "b": 1.0}
    exact = grid.corrected(board)
    assert exact.entry("a").seconds["w"] == pytest.approx(100 + 100 / 3)
    assert exact.entry("b").seconds["w"] == pytest.approx(180)
    assert exact.scores["b"] == pytest.approx((4 - 1.35) / 3)
    assert grid.grid_seconds(board, "w") == 100


def test_corrected_times_are_never_later_than_the_raw_ones(v10: Leaderboard):
    exact = grid.corrected(v10)
    for entry in v10.entries:
        for name, seconds in entry.seconds.items():
            corrected = exact.entry(entry.submission).seconds[name]
            assert corrected <= seconds or math.isinf(seconds)


# Relaxed targets


def test_targets_are_relaxed_in_the_direction_that_is_easier():
    loss = Target("loss", validation=2.0, test=3.0, better="lower")
    relaxed = relax.relaxed(loss, 0.1)
    assert (relaxed.validation, relaxed.test) == (
        pytest.approx(2.2),
        pytest.approx(3.3),
    )
    easier = relax.relaxed(Target("accuracy", 0.8, None), 0.1)
    assert (easier.validation, easier.test) == (pytest.approx(0.72), None)
    assert relax.relaxed(Target("score", -1.0, None), 0.1).validation == -1.1


def test_easier_targets_are_reached_by_more(v10: Leaderboard):
    assert relax.relaxed_board(v10, 0.0).scores == v10.scores
    solved = [
        sum(e.num_solved for e in relax.relaxed_board(v10, share).entries)
        for share in (0.0, 0.05)
    ]
    assert solved[0] < solved[1]


def test_attainment_is_the_median_time_to_any_bound():
    trials = [
        trial("a", "w", [(10, 0.2), (20, 0.4), (30, 0.3)], study=1),
        trial("a", "w", [(15, 0.5)], study=2),
        trial("a", "w", [(1, math.nan), (40, 0.6)], study=3),
    ]
    board = score(trials, "v0.5", targets=targets("w"))
    found = relax.attainment(board, "a", "w", np.array([0.1, 0.3, 0.4, 0.55]))
    assert found.tolist() == [15, 20, 40, INF]


def test_attainment_at_the_target_is_the_scored_time(v10: Leaderboard):
    for entry in v10.entries:
        for workload in ("wmt", "ogbg", "finewebedu_lm"):
            bound = np.array([v10.pool.target(workload).validation])
            found = relax.attainment(v10, entry.submission, workload, bound)
            assert found.tolist() == [entry.seconds[workload]]


# Frameworks


def test_seconds_per_step_are_the_median_over_intervals():
    run = trial("a", "w", [(0, 0), (10, 0), (40, 0), (60, 0)], steps=[0, 10, 20, 40])
    assert frameworks.seconds_per_step(run) == 1.0
    assert math.isnan(frameworks.seconds_per_step(trial("a", "w", [(5, 0.1)])))
    same = trial("a", "w", [(5, 0.1), (6, 0.1)], steps=[3, 3])
    assert math.isnan(frameworks.seconds_per_step(same))


@pytest.mark.parametrize(
    ("name", "algorithm"),
    [
        ("muon_torch", "muon"),
        ("muon", "muon"),
        ("schedule_free_adamw_jax_v2", "schedule_free_adamw_v2"),
        ("adam (pytorch)", "adam"),
        ("torchlight", "torchlight"),
    ],
)
def test_names_of_one_algorithm_are_equal_but_for_the_framework(name, algorithm):
    assert frameworks.algorithm_name(name) == algorithm


def framework_board() -> Leaderboard:
    """A step takes 1 s in JAX and 2 s in PyTorch; both need 100 steps."""
    rows = [(0, 0.1), (50, 0.2), (100, 0.9)]
    slow = [(2 * seconds, value) for seconds, value in rows]
    steps = [0, 50, 100]
    return score(
        [
            trial("a", "w", rows, steps=steps),
            trial("a_torch", "w", slow, steps=steps, framework="pytorch"),
        ],
        "v0.5",
        targets=targets("w"),
    )


def test_a_framework_that_is_half_as_fast_is_taken_out():
    board = framework_board()
    assert frameworks.pairs(board) == [frameworks.Pair("a", "a", "a_torch")]
    section = frameworks.report(board)
    assert column(table_of(section, "framework_ratios"), "a")["w"] == 2.0
    scores = table_of(section, "framework_scores")
    assert column(scores, "score")["a_torch"] == pytest.approx(2 / 3)
    assert column(scores, "at equal speed")["a_torch"] == pytest.approx(1.0)
    assert column(scores, "framework's part")["a_torch"] == pytest.approx(-1 / 3)


def test_the_chart_of_frameworks_names_every_workload(v10: Leaderboard):
    (chart,) = [chart for chart, _ in frameworks.report(v10).charts()]
    for name in v10.pool.scored_workloads:
        assert f">{name}</text>" in chart.body
    dots = chart.body.count('class="dot')
    assert dots == 2 * len(
        v10.pool.scored_workloads
    )  # two algorithms in both frameworks


def test_the_best_rank_is_on_top(v10: Leaderboard):
    rank = next(c for c, _ in relax.report(v10).charts() if c.title == "Rank")
    ticks = re.findall(r'y="([\d.]+)" text-anchor="end" class="tick">(\d)<', rank.body)
    places = {int(words): float(y) for y, words in ticks}
    assert sorted(places, key=places.__getitem__) == [1, 2, 3, 4, 5, 6]


def test_waiting_for_data_is_shown_where_it_was_logged(tmp_path):
    from algoperf import logs
    from algoperf.logs import EvaluationRow, Outcome, OutcomeRecord, TrialId, TrialLog

    for wait, number in ((0.1, 1), (0.3, 2)):
        folder = TrialId("a", 1, "w", "jax", number).folder(tmp_path)
        log = TrialLog(folder)
        for step in (1, 2):
            times = {"accumulated_submission_time": step, "score": step}
            cells = {"global_step": step, **times, "validation/accuracy": 0.9}
            log.add_evaluation(EvaluationRow.from_json(cells))
        log.finish(OutcomeRecord(Outcome.REACHED, shares={"data_wait": wait}))
    board = score(logs.read(tmp_path), "v0.5", targets=targets("w"))
    table = table_of(frameworks.report(board), "data_wait")
    assert column(table, "median")["a"] == pytest.approx(0.2)
    assert column(table, "largest")["a"] == 0.3


def test_logs_without_steps_have_no_step_times():
    board = score([hit_at("a", "w", 1)], "v0.5", targets=targets("w"))
    one = score([trial("a", "w", [(1, 0.9)])], "v0.5", targets=targets("w"))
    assert frameworks.report(board).tables()
    with pytest.raises(BadLogs, match="no step times"):
        frameworks.report(one)


# Power


def studies(name: str, *seconds: float):
    return [hit_at(name, "w", s, study=i) for i, s in enumerate(seconds, start=1)]


def test_a_difference_without_spread_needs_one_study():
    trials = [*studies("a", 10, 10, 10), *studies("b", 20, 20, 20)]
    board = score(trials, "v0.5", targets=targets("w"))
    found = power.power(board, (1, 3, 10), num_resamples=20)
    assert found.studies_for_order(0, 1) == 1
    assert found.probability_of_first(3).tolist() == [1.0, 0.0]
    assert found.deviation(3) == pytest.approx(0.0, abs=1e-12)


def test_equal_spreads_are_never_told_apart():
    trials = [*studies("a", 10, 20, 30), *studies("b", 10, 20, 30)]
    board = score(trials, "v0.5", targets=targets("w"))
    found = power.power(board, (1, 5), num_resamples=200)
    assert found.studies_for_order(0, 1) is None
    assert 0.3 < found.probability_of_first(1)[0] < 0.9


def test_more_studies_than_were_simulated_are_a_number_with_a_plus():
    trials = [*studies("a", 10, 20, 30), *studies("b", 10, 20, 30)]
    section = power.report(score(trials, "v0.5", targets=targets("w")))
    table = table_of(section, "orders")
    assert table.rows[0][-1].text == "100+" and table.columns[-1].is_numeric
    assert "more than 100" in table.note


def test_studies_are_numbers_on_an_axis_of_logarithms(v10: Leaderboard):
    (chart,) = [chart for chart, _ in power.report(v10).charts()]
    for words in ("1", "2", "5", "10", "100", "3 studies"):
        assert f">{words}</text>" in chart.body


def test_more_studies_make_a_small_difference_certain():
    trials = [*studies("a", 10, 11, 12, 20), *studies("b", 11, 12, 13, 21)]
    board = score(trials, "v0.5", targets=targets("w"))
    found = power.power(board, (1, 10, 200), num_resamples=200)
    shares = [found.probability_of_order(count, 0, 1) for count in (1, 10, 200)]
    assert shares[0] < shares[1] < shares[2]
    assert found.deviation(200) < found.deviation(1)


# On published logs


def test_the_grid_decides_who_was_first_in_2024():
    """docs/analyses.md tells it."""
    board = published_board()
    exact = grid.corrected(board)
    assert board.entries[0].submission == "schedule_free_adamw"
    assert exact.entries[0].submission == "baseline"
    ratio = [
        b.entry("schedule_free_adamw").seconds["criteo1tb_embed_init"]
        / b.entry("baseline").seconds["criteo1tb_embed_init"]
        for b in (board, exact)
    ]
    assert ratio[0] < 4 < ratio[1]


def test_the_start_of_training_does_not_flatten_crossing_curves(v10: Leaderboard):
    """Perplexities begin at 60,000 and end at 22."""
    charts = [chart for chart, _ in crossing.report(v10).charts()]
    body = next(chart.body for chart in charts if chart.title == "finewebedu_lm")
    ticks = re.findall(r'text-anchor="end" class="tick">([\d.,]+)<', body)
    assert max(float(words.replace(",", "")) for words in ticks) < 100


def test_reports_hold_the_analyses(v10: Leaderboard):
    document = make_document(v10)
    keys = [section.key for section in document.sections]
    assert {"grid", "relax", "frameworks", "power"} <= set(keys)
    names = [table.key for table in document.tables()]
    assert len(names) == len(set(names))
