"""Figures: well-formed, described, and true to the points."""

import re
import xml.etree.ElementTree as ET

import pytest
from scoring_cases import published_board

from algoperf.scoring.figures import Curve, Figure, Mark, ticks
from algoperf.scoring.leaderboard import Leaderboard
from algoperf.scoring.profile_figure import profile_figure

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def board() -> Leaderboard:
    return published_board()


def figure(*curves: Curve, **more) -> Figure:
    return Figure("A <title>", "what one sees", "x & y", "y", curves, **more)


@pytest.mark.parametrize("measure", ["seconds", "steps"])
def test_the_profile_figure_shows_every_submission(board: Leaderboard, measure):
    text = profile_figure(board, measure).svg("profile")
    root = ET.fromstring(text)
    for name in board.scores:
        assert name in text
    assert len(root.findall(f".//{SVG}g/{SVG}g")) == len(board.entries)


def test_a_figure_has_a_title_and_a_text_alternative():
    root = ET.fromstring(figure(Curve("a", [0, 1], [0, 1])).svg("f"))
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == "f-title f-desc"
    assert root.findtext(f"{SVG}title") == "A <title>"
    assert root.findtext(f"{SVG}desc") == "what one sees"


def test_a_step_goes_across_before_it_goes_up():
    curve = Curve("a", [0, 1, 2], [0, 1, 1])
    text = figure(curve, x_range=(0, 2), y_range=(0, 1)).svg()
    assert re.search(r'd="M64\.0 368\.0H[\d.]+V56\.0H[\d.]+V56\.0"', text)


def test_points_that_are_not_finite_are_left_out():
    curve = Curve("a", [0, 1, 2], [0, float("nan"), float("inf")], kind="line")
    assert "nan" not in figure(curve).svg() and "inf" not in figure(curve).svg()


@pytest.mark.parametrize(
    "curves",
    [
        (),
        (Curve("a", [], []),),
        (Curve("a", [1], [1]),),
        (Curve("a", [1, 2], [3, 3], kind="points"),),
        tuple(Curve(f"c{i}", [0, 1], [0, 0], kind="line") for i in range(40)),
    ],
)
def test_odd_figures_are_well_formed(curves: tuple[Curve, ...]):
    assert ET.fromstring(figure(*curves, marks=[Mark("x", 1.0, "m")]).svg())


def test_labels_do_not_overlap():
    curves = [Curve(f"c{i}", [0, 1], [0, 1], kind="line") for i in range(6)]
    text = figure(*curves).svg()
    places = [float(y) for y in re.findall(r'y="([\d.]+)">c\d', text)]
    gaps = [b - a for a, b in zip(sorted(places), sorted(places)[1:], strict=False)]
    assert len(gaps) == 5 and min(gaps) > 12


def test_bands_are_drawn_between_their_ends():
    curve = Curve("a", [0, 1], [1, 1], kind="line", low=[0, 0], high=[2, 2])
    assert "<polygon" in figure(curve).svg()


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
