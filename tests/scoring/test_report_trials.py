"""What a report says of trials, their points and their submissions."""

import dataclasses
import json
import math
from pathlib import Path

import pytest
from scoring_cases import hit_at, published_board, targets, trial

from algoperf.errors import BadLogs
from algoperf.logs import Outcome, OutcomeRecord, Trial
from algoperf.scoring.leaderboard import Leaderboard, score
from algoperf.scoring.report import dates, entrants, points, trials
from algoperf.scoring.report.content import make_document
from algoperf.scoring.report.document import Charts, DataTable, Section
from algoperf.scoring.report.html import render


def tuned(name: str = "a", count: int = 4, **more) -> list[Trial]:
    """Trials with learning rates 0.001, 0.01 ... and one warm-up."""
    return [
        hit_at(
            name,
            "w",
            10.0 * (i + 1),
            number=i + 1,
            hyperparameters={"learning_rate": 10.0 ** (i - 3), "warmup": 0.1},
            **more,
        )
        for i in range(count)
    ]


def board_of(found: list[Trial], **more) -> Leaderboard:
    names = sorted({trial.id.workload for trial in found})
    return score(found, "v0.5", targets=targets(*names), **more)


def table_in(section: Section, number: int = 0) -> DataTable:
    return section.tables()[number]


def texts(table: DataTable, name: str) -> list[str]:
    index = [column.name for column in table.columns].index(name)
    return [row[index].text for row in table.rows]


def test_a_trial_shows_its_point_outcome_best_value_and_times():
    table = table_in(trials.trials_section(board_of(tuned(count=2))))
    assert table.caption == "Trials of a"
    assert texts(table, "learning_rate") == ["0.001", "0.01"]
    assert texts(table, "outcome") == ["reached", "reached"]
    assert texts(table, "best value") == ["0.9", "0.9"]
    assert texts(table, "time to target") == ["10.0 s", "20.0 s"]
    assert table.note == "The same in all trials: warmup 0.1."


def test_reasons_and_marks_of_a_trial_are_shown():
    record = OutcomeRecord(
        Outcome.DIVERGED,
        "the loss is NaN",
        caveats=("waited for data in 33% of its submission time",),
        ended="2026-03-01T12:30:00.000Z",
    )
    (made,) = tuned(count=1)
    found = [dataclasses.replace(made, ended=record), *tuned("b", 1)]
    table = table_in(trials.trials_section(board_of(found)))
    (row,) = table.rows
    details = [cell.detail for cell in row]
    assert "the loss is NaN" in details
    assert texts(table, "marks") == ["waited for data in 33% of its submission time"]
    assert texts(table, "ended") == ["2026-03-01 12:30"]
    assert "UTC" in table.note


def test_columns_without_anything_are_left_out():
    table = table_in(trials.trials_section(published_board()))
    assert [column.name for column in table.columns] == [
        "workload",
        "study",
        "trial",
        "outcome",
        "best value",
        "time to target",
        "time used",
        "steps",
    ]


def test_a_trial_without_evaluations_is_listed():
    empty = dataclasses.replace(tuned(count=1)[0], columns={})
    table = table_in(trials.trials_section(board_of([empty, *tuned("b")])), 1)
    assert texts(table, "best value") == texts(table, "steps") == ["\N{EN DASH}"]


def test_thousands_of_trials_are_cut_and_counted():
    found = [hit_at("a", "w", 5.0, number=i + 1) for i in range(4_010)]
    table = table_in(trials.trials_section(board_of(found)))
    assert len(table.rows) == 4_000
    assert table.note == "10 more are not listed."


def test_tuning_has_a_chart_for_each_hyperparameter_that_differs():
    section = trials.tuning_section(board_of([*tuned(), *tuned("b")]))
    ((chart, legend),) = section.charts()
    assert chart.title == "learning_rate" and legend == ["a", "b"]
    assert chart.body.count('class="tip"') == 8
    assert "a, study 1, trial 1\nlearning_rate: 0.001\nbest value: 0.9" in chart.body
    assert "learning_rate (logarithmic)" in chart.body


def test_charts_of_several_workloads_are_folded():
    found = [
        dataclasses.replace(t, id=dataclasses.replace(t.id, workload=w))
        for t in tuned()
        for w in "uv"
    ]
    section = trials.tuning_section(board_of(found))
    folds = [block.fold for block in section.blocks if isinstance(block, Charts)]
    assert folds == ["u: validation accuracy", "v: validation accuracy"]


def test_without_points_that_differ_there_is_no_tuning_section():
    assert trials.tuning_section(published_board()) is None
    assert trials.tuning_section(board_of(tuned(count=1))) is None


@pytest.mark.parametrize(
    "values",
    [
        ["adam", "sgd"],
        [True, False],
        [None, 0.1],
        [[1, 2], {"a": "<b>"}],
        [0.0, 1e-3, 10.0],
        [-1, 1],
        [10**400, 1],
        [math.nan, 1.0],
        [1e-300, 1e300],
    ],
)
def test_any_value_of_a_hyperparameter_is_drawn(values):
    found = [
        hit_at("a", "w", 5.0, number=i + 1, hyperparameters={"<x>": value})
        for i, value in enumerate(values)
    ]
    document = make_document(board_of(found))
    page = render(document)
    assert "tuning" in [section.key for section in document.sections]
    assert page.count('class="tip"') >= len(values) and "<x>" not in page


def test_trials_without_a_value_are_drawn_nowhere():
    bad = trial("a", "w", [(1, math.nan)], number=2, hyperparameters={"lr": 0.5})
    good = hit_at("a", "w", 5.0, hyperparameters={"lr": 0.1})
    ((chart, _),) = trials.tuning_section(board_of([good, bad])).charts()
    assert chart.body.count('class="tip"') == 1 and "nan" not in chart.body


def test_an_axis_is_logarithmic_where_values_span_a_lot():
    assert points.PointAxis.of([1e-4, 1e-2]).is_log
    assert not points.PointAxis.of([0.1, 0.9]).is_log
    assert not points.PointAxis.of([0.0, 1e3]).is_log


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2026-03-01T23:30:00.000Z", "2026-03-01"),
        ("2026-03-01T23:30:00-03:00", "2026-03-02"),
        ("2026-03-01", "2026-03-01"),
        ("yesterday", ""),
        ("0001-01-01T00:00:00+14:00", ""),
        ("<script>", ""),
    ],
)
def test_days_are_told_in_utc_and_only_for_dates(text: str, day: str):
    assert dates.span(tuned(count=1, meta={"began": text})) == day


def test_the_days_of_all_trials_are_in_the_summary():
    found = tuned(count=1, meta={"began": "2026-03-01T00:00:00Z"})
    found += tuned("b", 1, meta={"began": "2026-02-27T00:00:00Z"})
    assert ("ran", "2026-02-27 to 2026-03-01") in make_document(board_of(found)).summary


def submissions(board: Leaderboard) -> DataTable:
    return table_in(entrants.entrants_section(board))


ABOUT = {
    "title": "Méthode <A>",
    "description": "What it does.",
    "authors": ["Ada", "Alan"],
    "license": "MIT",
    "links": {"paper": "https://example.org/?a=1&b=2"},
}


def test_what_authors_say_is_shown_with_links():
    board = board_of([*tuned(meta={"about": ABOUT}), *tuned("b")])
    table = submissions(board)
    assert texts(table, "authors") == ["Ada, Alan", ""]
    page = render(make_document(board))
    assert "Méthode &lt;A&gt;" in page
    assert (
        '<a href="https://example.org/?a=1&amp;b=2" rel="noopener noreferrer">paper</a>'
        in page
    )


def test_a_file_beside_the_logs_replaces_what_trials_recorded(tmp_path: Path):
    (made,) = tuned(count=1, meta={"about": ABOUT})
    folder = made.id.folder(tmp_path)
    folder.mkdir(parents=True)
    (tmp_path / "a" / "submission.toml").write_text("description = 'other'")
    board = board_of([dataclasses.replace(made, folder=folder)])
    assert texts(submissions(board), "description") == ["other"]


def test_a_damaged_file_beside_the_logs_is_an_error(tmp_path: Path):
    (made,) = tuned(count=1)
    folder = made.id.folder(tmp_path)
    folder.mkdir(parents=True)
    (tmp_path / "a" / "submission.toml").write_text("descripton = 'other'")
    with pytest.raises(BadLogs, match="Did you mean 'description'"):
        submissions(board_of([dataclasses.replace(made, folder=folder)]))


@pytest.mark.parametrize(
    "about", [{"links": {"x": "javascript:alert(1)"}}, {"authors": 3}, "text", [1]]
)
def test_a_record_that_attacks_or_is_damaged_says_nothing(about):
    board = board_of(tuned(meta={"about": about}))
    assert entrants.entrants_section(board) is None
    assert "javascript:" not in json.dumps(render(make_document(board)))


def test_published_logs_have_no_section_of_submissions():
    assert entrants.entrants_section(published_board()) is None


def test_the_title_of_the_board_is_the_report_s():
    document = make_document(board_of(tuned()), title="Spring <2026>")
    assert "<h1>Spring &lt;2026&gt;</h1>" in render(document)
