"""What a report says, whatever its format."""

import dataclasses
import math
import re

import numpy as np
import pytest
from scoring_cases import EXACT, hit_at, published_board, targets, trial

from algoperf.logs import Outcome, OutcomeRecord
from algoperf.scoring.drawing import Scale, curve_path, thinned
from algoperf.scoring.leaderboard import Leaderboard, score
from algoperf.scoring.report import provenance
from algoperf.scoring.report.content import make_document
from algoperf.scoring.report.curves import chosen_trials, workload_chart
from algoperf.scoring.report.document import DataTable, Document, time_unit
from algoperf.scoring.tables import NONE, duration, probability_cell


@pytest.fixture(scope="module")
def document() -> Document:
    return make_document(published_board())


def table_of(document: Document, key: str) -> DataTable:
    (found,) = [table for table in document.tables() if table.key == key]
    return found


def column(table: DataTable, name: str) -> list:
    index = [column.name for column in table.columns].index(name)
    return [row[index] for row in table.rows]


def board_of(*times: tuple[str, float], studies: int = 1, **more) -> Leaderboard:
    trials = [
        hit_at(name, "w", seconds, study=study)
        for name, seconds in times
        for study in range(1, studies + 1)
    ]
    return score(trials, "v0.5", targets=targets("w"), **more)


def test_the_leaderboard_shows_the_published_scores_within_their_intervals(document):
    table = table_of(document, "leaderboard")
    for name, cell in zip(
        column(table, "submission"), column(table, "score"), strict=True
    ):
        assert cell.value == pytest.approx(EXACT[name.text], abs=5e-5)
        assert cell.interval[0] <= cell.value <= cell.interval[1]


def test_speed_ups_are_shown_with_intervals_and_misses_are_marked(document):
    cells = column(table_of(document, "leaderboard"), "speed-up over baseline")
    assert cells[1].value == 1.0
    assert all(cell.interval for cell in cells)
    assert all("†" in cell.text for cell in cells)
    assert "budget plus 1 s" in table_of(document, "leaderboard").note


def test_no_table_has_two_of_a_key_and_all_rows_fit_their_heads(document):
    keys = [table.key for table in document.tables()]
    assert len(keys) == len(set(keys)) and len(keys) >= 12
    for table in document.tables():
        assert {len(row) for row in table.rows} == {len(table.columns)}


def test_every_section_explains_itself(document):
    assert all(section.explanation.endswith(".") for section in document.sections)


def test_ties_are_shown_as_ties():
    document = make_document(board_of(("a", 10), ("b", 10), ("c", 30)))
    ranks = [cell.text for cell in column(table_of(document, "leaderboard"), "rank")]
    assert ranks == ["1 =", "1 =", "3"]


def test_one_study_of_one_trial_has_no_interval():
    document = make_document(board_of(("a", 10), ("b", 20)))
    cells = column(table_of(document, "leaderboard"), "score")
    assert [cell.interval for cell in cells] == [None, None]
    assert "no intervals" in document.sections[0].explanation


def test_few_studies_are_warned_of():
    document = make_document(board_of(("a", 10), ("b", 20), studies=2))
    assert any("too narrow" in warning for warning in document.warnings)


def test_one_submission_alone_has_a_report():
    document = make_document(board_of(("a", 10), studies=3))
    assert [
        cell.value for cell in column(table_of(document, "leaderboard"), "score")
    ] == [1.0]
    assert "wins" not in [table.key for table in document.tables()]


def test_a_pool_in_which_nobody_solved_anything_has_a_report():
    document = make_document(board_of(("a", math.inf), ("b", math.inf), studies=3))
    cells = column(table_of(document, "times"), "a")
    assert [cell.value for cell in cells] == [None]


def test_development_results_carry_a_banner():
    board = score(
        [hit_at("a", "w", 5)], "v0.5", targets=targets("w", tier="development")
    )
    assert "not benchmark results" in make_document(board).banner


def test_failures_are_listed_with_their_reasons():
    broken = dataclasses.replace(
        hit_at("a", "w", 5),
        ended=OutcomeRecord(Outcome.INVALID, "a thread was left running"),
    )
    board = score([broken, hit_at("b", "w", 5)], "v0.5", targets=targets("w"))
    (row,) = table_of(make_document(board), "failures").rows
    assert row[-1].text == "a thread was left running"


def test_times_of_a_row_share_a_unit():
    document = make_document(board_of(("a", 100), ("b", 390), studies=3))
    (row,) = table_of(document, "times").rows
    assert [cell.text for cell in row[1:]] == ["1.7 min", "6.5 min"]


@pytest.mark.parametrize(
    ("seconds", "name"),
    [(0, "s"), (119, "s"), (120, "min"), (7199, "min"), (7200, "h")],
)
def test_the_unit_suits_the_longest_time(seconds: float, name: str):
    assert time_unit(seconds).name == name


def test_a_time_too_slow_to_count_says_so():
    document = make_document(board_of(("a", 10), ("b", 100), studies=3))
    (row,) = table_of(document, "times").rows
    assert "not counted" in row[2].detail and "not counted" not in row[1].detail


def test_hardware_and_commit_are_shown_as_the_trials_recorded_them():
    meta = {
        "devices": {"device_kind": "H100", "num_devices": 8},
        "versions": {"jax": "0.10"},
        "commit": "abc",
        "target": {
            "metric": "accuracy",
            "better": "higher",
            "validation": 0.5,
            "test": 0.5,
        },
    }
    ended = {"outcome": Outcome.REACHED, "meta": meta}
    board = score([hit_at("a", "w", 5, **ended)], "v0.5", targets=targets("w"))
    (row,) = table_of(make_document(board), "machines").rows
    assert [cell.text for cell in row] == [
        "a",
        "1",
        "8 x H100",
        "jax",
        "jax 0.10",
        "abc",
    ]


def test_what_no_trial_recorded_is_said_once(document):
    note = table_of(document, "machines").note
    assert note == "Not recorded in these logs: precision, ran under."


def test_the_checksum_of_logs_does_not_depend_on_where_they_lie(tmp_path):
    digests = []
    for place in ("here", "there/deeper"):
        made = hit_at("a", "w", 5)
        folder = made.id.folder(tmp_path / place)
        folder.mkdir(parents=True)
        (folder / "eval_measurements.csv").write_text("global_step\n1\n")
        digests.append(
            provenance.digest_of_logs([dataclasses.replace(made, folder=folder)])
        )
    assert digests[0] == digests[1] != ""


def test_the_checksum_of_logs_changes_with_them(tmp_path):
    made = dataclasses.replace(hit_at("a", "w", 5), folder=tmp_path)
    digests = set()
    for text in ("1", "2"):
        (tmp_path / "eval_measurements.csv").write_text(text)
        digests.add(provenance.digest_of_logs([made]))
    assert len(digests) == 2


def test_logs_that_are_gone_have_no_checksum(document):
    values = {row[0].text: row[1].text for row in table_of(document, "read").rows}
    assert values["logs (SHA-256)"].startswith("not computed")


def test_a_targets_file_that_is_gone_has_no_checksum(tmp_path):
    document = make_document(board_of(("a", 1)), targets_file=tmp_path / "gone.json")
    values = {row[0].text: row[1].text for row in table_of(document, "read").rows}
    assert values["targets file (SHA-256)"].startswith("not computed")


def test_the_shown_curve_is_the_chosen_trial_of_each_study():
    trials = [
        hit_at("a", "w", 30, number=1),
        hit_at("a", "w", 10, number=2),
        trial("a", "w", [(1, 0.1), (50, 0.3)], study=2, number=1),
        trial("a", "w", [(1, 0.1), (50, 0.4)], study=2, number=2),
    ]
    board = score(trials, "v0.5", targets=targets("w"))
    assert [t.id.trial for t in chosen_trials(board, "a", "w")] == [2, 2]


def test_thinning_keeps_the_ends_and_the_extremes():
    xs = np.arange(5000.0)
    ys = np.sin(xs / 40)
    ys[1234], ys[4321] = 9.0, -9.0
    kept = thinned(xs, ys, 40)
    assert len(kept) <= 82 and (np.diff(kept) > 0).all()
    assert {0, 4999, 1234, 4321} <= set(kept.tolist())


def test_short_curves_are_not_thinned():
    assert thinned(np.arange(5.0), np.zeros(5), 40).tolist() == [0, 1, 2, 3, 4]


def test_a_curve_is_interrupted_where_it_is_not_finite():
    scale = Scale(0, 4, 0, 4)
    ys = np.array([1.0, 2.0, math.nan, math.inf, 3.0])
    assert curve_path(np.arange(5.0), ys, scale, scale) == "M0 1L1 2M4 3h0"


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, ""), (1e-6, "<1%"), (0.0099, "<1%"), (0.01, "1%"), (0.5, "50%")]
    + [(0.99, "99%"), (0.9999, ">99%"), (1.0, "100%"), (math.nan, NONE)],
)
def test_probabilities_are_blank_or_told_without_false_certainty(share, text):
    assert probability_cell(share).text == text


def test_tables_of_probabilities_hold_no_zeros(document):
    for key in ("ranks", "wins", "first", "orders"):
        cells = [cell.text for row in table_of(document, key).rows for cell in row]
        assert "0%" not in cells and any("%" in text for text in cells)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0.0 s"), (1e-6, "0.001 ms"), (0.0352, "35 ms"), (0.25, "0.2 s")]
    + [
        (99.9, "99.9 s"),
        (100, "1.7 min"),
        (7200, "2.00 h"),
        (4.5e6, "1,250 h"),
        (math.inf, "-"),
    ],
)
def test_a_duration_that_is_not_zero_is_never_shown_as_zero(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize("longest", [0.5, 50, 500, 50_000])
@pytest.mark.parametrize("seconds", [1e-5, 0.01, 1, 30])
def test_a_short_time_beside_a_long_one_is_not_shown_as_zero(longest, seconds):
    assert float(time_unit(longest).words(seconds).split()[0]) > 0


def test_costs_have_units_that_suit_them():
    document = make_document(board_of(("a", 10), ("b", 40_000)))
    cells = column(table_of(document, "cost"), "machine time")
    assert [cell.text for cell in cells] == ["10.0 s", "11.11 h"]
    assert [cell.value for cell in cells] == [10.0, 40_000.0]


@pytest.mark.parametrize(
    ("rules", "split"), [("v0.5", "validation"), ("paper", "test")]
)
def test_targets_name_their_split(rules: str, split: str):
    trials = [
        hit_at("a", "w", 5, test=[0.1, 0.9]),
        hit_at("b", "w", 6, test=[0.1, 0.9]),
    ]
    board = score(trials, rules, targets=targets("w"))
    (row,) = table_of(make_document(board), "times").rows
    assert row[0].detail.startswith(f"{split} accuracy > 0.5")


@pytest.mark.parametrize(
    "values", [(5e-324, 0.9), (-3.0, 0.9), (0.0, 0.9), (1e308, 0.9)]
)
def test_logarithmic_views_take_any_values(values):
    rows = [(float(i + 1), value) for i, value in enumerate(values)]
    board = score([trial("a", "w", rows)], "v0.5", targets=targets("w"))
    views = workload_chart(board, "w").views
    assert not re.search("nan|inf", "".join(views.values()))
