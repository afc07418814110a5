"""Figures: well-formed, described, and true to the points."""

import itertools
import math
import re
import xml.etree.ElementTree as ET

import pytest
from scoring_cases import published_board

from algoperf.scoring.drawing import exponent_ticks, log_ticks, numbers, ticks
from algoperf.scoring.figures import Curve, Figure, Mark, standalone
from algoperf.scoring.report.charts import profile_chart

SVG = "{http://www.w3.org/2000/svg}"


def figure(*curves: Curve, **more) -> Figure:
    return Figure("A <title>", "what one sees", "x & y", "y", curves, **more)


def drawn(*curves: Curve, **more) -> str:
    return standalone(figure(*curves, **more).chart(), ["a", "b & c"])


@pytest.mark.parametrize("measure", ["seconds", "steps"])
def test_the_profiles_show_every_submission(measure):
    board = published_board()
    text = standalone(profile_chart(board, measure), list(board.scores))
    root = ET.fromstring(text)
    for name in board.scores:
        assert name in text
    assert len(root.findall(f"{SVG}svg/{SVG}g")) == len(board.entries)


def test_a_figure_has_a_title_a_text_alternative_and_a_legend():
    root = ET.fromstring(drawn(Curve(0, [0, 1], [0, 1])))
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == "title description"
    assert root.findtext(f"{SVG}title") == "A <title>"
    assert root.findtext(f"{SVG}desc") == "what one sees"
    words = [element.text for element in root.findall(f"{SVG}text")]
    assert words == ["A <title>", "a", "b & c"]


def test_a_step_goes_across_before_it_goes_up():
    curve = Curve(0, [0, 1, 2], [0, 1, 1])
    text = drawn(curve, x_range=(0, 2), y_range=(0, 1))
    assert re.search(r'd="M64 274H240V22H416V22"', text)


def test_points_that_are_not_finite_are_left_out():
    curve = Curve(0, [0, 1, 2], [0, float("nan"), float("inf")], kind="line")
    body = figure(curve).chart().body
    assert "nan" not in body and "inf" not in body


@pytest.mark.parametrize(
    "curves",
    [
        (),
        (Curve(0, [], []),),
        (Curve(0, [1], [1]),),
        (Curve(0, [1, 2], [3, 3], kind="points", tips=["<a>", "b"]),),
        tuple(Curve(i, [0, 1], [0, 0], kind="line") for i in range(40)),
    ],
)
def test_odd_figures_are_well_formed(curves: tuple[Curve, ...]):
    assert ET.fromstring(drawn(*curves, marks=[Mark("x", 1.0, "m"), Mark("y", 2.0)]))


def test_bands_are_drawn_between_their_ends():
    curve = Curve(0, [0, 1], [1, 1], kind="line", low=[0, 0], high=[2, 2])
    text = drawn(curve, y_range=(0, 2))
    assert 'points="64,22 416,22 416,274 64,274"' in text


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (1, 4, [1, 1.5, 2, 2.5, 3, 3.5, 4]),
        (3, 3, [3]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]):
    assert ticks(low, high) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (1, 100, ["1", "3", "10", "30", "100"]),
        (0.18, 2.1, ["0.2", "0.5", "1", "2"]),
        (80, 3_000, ["100", "200", "500", "1000", "2000"]),
        (0.97, 1.03, ["0.98", "1", "1.02"]),
        (1e-4, 1e4, ["0.0001", "0.001", "0.01", "0.1"]),
    ],
)
def test_ticks_of_a_logarithmic_axis_are_round(low, high, expected):
    found = log_ticks(low, high, 5)
    assert [words for _, words in found][: len(expected)] == expected
    for place, words in found:
        assert 10**place == pytest.approx(float(words.replace(",", "")))


@pytest.mark.parametrize(
    "values",
    [
        [0.99991, 0.99992, 0.99993],
        [100_000.2, 100_000.4],
        [1e9, 2e12],
        [0, 1e-9],
        [],
        [3],
    ],
)
def test_numbers_on_an_axis_differ_from_each_other(values):
    texts = numbers(values)
    assert len(set(texts)) == len(values)
    assert all(len(text) <= 11 for text in texts)


@pytest.mark.parametrize(
    ("low", "high"),
    [(-330, 330), (-300, 300), (-5, 5), (0, 0.001), (-320, -310), (2, 2), (-0.3, 7)],
)
def test_ticks_of_any_logarithmic_axis_are_few_and_tell_their_place(low, high):
    found = exponent_ticks(low, high, 6)
    assert len(found) <= 12
    for place, words in found:
        assert math.log10(float(words.replace(",", ""))) == pytest.approx(place)


@pytest.mark.parametrize("count", [1, 9, 40])
def test_a_chart_with_row_names_has_room_for_all_of_them(count: int):
    names = [f"workload_{i}" for i in range(count)]
    curve = Curve(0, [1.0] * count, [-float(i) for i in range(count)], "points")
    chart = figure(curve, row_names=names).chart()
    places = [
        float(y)
        for y in re.findall(r'y="([\d.]+)"[^>]* class="tick">workload', chart.body)
    ]
    assert len(places) == count and all(0 < y < chart.height for y in places)
    assert all(b - a >= 12 for a, b in itertools.pairwise(places))
