"""What people read: sentences, tables, JSON, the report, the line for a README."""

import json
import math
import re
import urllib.parse

import pytest
from made_runs import FOUR, even, results

from algoperf.errors import BadLogs, BadSettings, UnknownName
from algoperf.scoring.report import formats
from algoperf.suite import design, show
from algoperf.suite.compare import compare, make_board


def board(own=None, others=None, **more):
    own = own or even("mine", 0.8)
    others = [even("nadamw"), even("adamw", 1.1)] if others is None else others
    return make_board(own, others, FOUR, **more)


def test_the_headline_has_ratio_interval_probability_and_verdict():
    text = show.text(board())
    first = text.splitlines()[0]
    assert first == (
        "mine takes 0.80 times the steps of nadamw [0.80, 0.80], P(fewer) 100%: better."
    )
    assert "seeds detect a difference of" in text.splitlines()[1]


def test_the_leaderboard_ranks_all_that_ran_everywhere():
    rows = board().standings
    assert [row.results.name for row in rows] == ["mine", "nadamw", "adamw"]
    assert rows[1].ratio == 1.0
    assert "mine (yours)" in show.text(board())


def test_a_baseline_that_lacks_a_workload_is_compared_on_the_others_and_not_ranked():
    short = results("lion", {FOUR[0]: [150, 160, 140]})
    found = board(others=[even("nadamw"), short])
    assert [row.results.name for row in found.standings] == ["mine", "nadamw"]
    lion = next(c for c in found.comparisons if c.second.name == "lion")
    assert lion.workloads == FOUR[:1]
    assert found.not_run["lion"] == list(FOUR[1:])
    assert f"not run on {', '.join(FOUR[1:])}: lion" in show.text(found)


def test_without_baselines_nothing_is_invented():
    found = board(others=[])
    assert found.comparisons == found.standings == ()
    text = show.text(found)
    assert "Nothing to compare mine with" in text
    assert f"not run on {', '.join(FOUR)}: nadamw, adamw, " in text
    assert show.as_json(found)["badge"] is None


def test_misses_are_shown_wherever_steps_are():
    own = results("mine", {w: [None, 500, 500] for w in FOUR})
    text = show.text(board(own))
    assert "4 runs missed" in text
    assert "(1 of 3 missed)" in text
    assert "a miss counts as 2 times the step hint" in text


def test_a_workload_that_was_always_missed_has_no_mean():
    own = results("mine", {FOUR[0]: [None] * 3, **{w: [100] * 3 for w in FOUR[1:]}})
    row = next(
        line
        for line in show.workloads_table(board(own).headline).text().splitlines()
        if line.startswith(FOUR[0])
    )
    assert "missed (all 3)" in row


def test_the_json_has_no_numbers_that_are_none():
    own = results("mine", {w: [None, 500, 400] for w in FOUR})
    content = json.dumps(show.as_json(board(own)), allow_nan=False)
    read = json.loads(content)
    assert read["comparisons"][0]["interval"]
    run = read["runs"][FOUR[0]]["1"]
    assert run["missed"] is True
    assert run["steps"] is None
    assert read["comparisons"][0]["power"]["seeds"] == 3


def test_every_format_of_a_report_takes_it():
    document = show.as_document(board())
    for known in formats.FORMATS.values():
        assert "nadamw" in known.render(document)


def test_the_report_draws_intervals():
    document = show.as_document(board())
    assert formats.FORMATS["html"].render(document).count('class="whisker"') == 4


def test_the_report_says_that_it_is_no_score():
    assert "no score of the benchmark" in show.as_document(board()).banner


def test_the_line_for_a_readme_says_the_same_in_text_and_picture():
    line = show.badge(board().headline)
    label, url = re.fullmatch(r"!\[(.*)\]\((.*)\)", line).groups()
    path = urllib.parse.unquote(url.rpartition("/")[2])
    assert path.replace("--", "-").replace("__", "_") == (
        f"{label.replace(': ', '-', 1)}-brightgreen"
    )
    assert "0.80x the steps of nadamw [0.80, 0.80]" in label


def test_seconds_are_compared_only_where_both_ran_here():
    found = compare(even("a"), even("b"), FOUR)
    assert math.isnan(found.seconds_ratio)


def test_nothing_in_common_is_an_error():
    with pytest.raises(BadLogs, match="no workload in common"):
        compare(results("a", {FOUR[0]: [1]}), results("b", {FOUR[1]: [1]}), FOUR)


def test_the_suite_has_the_mini_form_of_every_base_workload():
    assert len(design.workloads()) == 9
    assert "mnist_mini" not in design.workloads()
    assert set(design.QUICK) < set(design.workloads())
    assert len(design.QUICK) == 4


def test_a_choice_of_workloads_is_checked():
    assert design.chosen(None, is_quick=True) == design.QUICK
    assert design.chosen(["wmt_mini", "wmt_mini"], is_quick=False) == ("wmt_mini",)
    with pytest.raises(UnknownName, match=r"'wmt_min'.*wmt_mini"):
        design.chosen(["wmt_min"], is_quick=False)
    with pytest.raises(BadSettings, match="--quick and --workloads"):
        design.chosen(["wmt_mini"], is_quick=True)
