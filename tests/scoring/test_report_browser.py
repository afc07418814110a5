"""The HTML report in a real browser: nothing fails, sorting works, no request leaves the file.

Skipped where there is no Chromium.
"""

import base64
import functools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser_page import BROWSER, Page, loaded, opened
from scoring_cases import published_board
from test_report_html import EVIL, evil_document

from algoperf.scoring.analysis import budgets, crossing, steps_vs_time
from algoperf.scoring.report.content import analysis_document, make_document
from algoperf.scoring.report.document import NONE, TIMES
from algoperf.scoring.report.html import render

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Page]:
    page = Page(tmp_path_factory.mktemp("profile"))
    yield page
    page.close()


@pytest.fixture
def report(browser: Page, tmp_path: Path) -> Page:
    """The report of the published logs of 2024, just opened."""
    path = tmp_path / "report.html"
    path.write_text(published_page())
    return loaded(browser, path)


@functools.cache
def published_page() -> str:
    return render(make_document(published_board()))


SUBMISSIONS = """
[...document.querySelectorAll("#table-leaderboard tbody th")].map(th => th.textContent)
"""
HEAD = 'document.querySelectorAll("#table-leaderboard thead th")'


def test_nothing_fails_and_no_request_leaves_the_file(report: Page):
    report.run('document.querySelectorAll("button").forEach(b => b.click())')
    report.run('document.querySelectorAll("details").forEach(d => { d.open = true; })')
    assert report.complaints == []
    assert [url.rpartition("/")[2] for url in report.requests] == ["report.html"]


def test_a_click_sorts_and_another_turns_the_order(report: Page):
    by_score = list(published_board().scores)
    assert report.run(SUBMISSIONS) == by_score
    report.run(f"{HEAD}[1].querySelector('button').click()")
    assert report.run(SUBMISSIONS) == sorted(by_score)
    assert report.run(f"{HEAD}[1].getAttribute('aria-sort')") == "ascending"
    report.run(f"{HEAD}[1].querySelector('button').click()")
    assert report.run(SUBMISSIONS) == sorted(by_score, reverse=True)
    assert report.run(f"{HEAD}[1].getAttribute('aria-sort')") == "descending"


def test_numbers_sort_as_numbers_with_the_best_score_first(report: Page):
    report.run(f"{HEAD}[3].querySelector('button').click()")
    steps = {e.submission: e.score_by_steps for e in published_board().entries}
    assert report.run(SUBMISSIONS) == sorted(steps, key=lambda n: -steps[n])
    sorts = report.run(f"[...{HEAD}].map(th => th.getAttribute('aria-sort'))")
    assert sorts.count("descending") == 1 and sorts.count("none") == len(sorts) - 1


@pytest.mark.parametrize("order", ["ascending", "descending"])
def test_missing_values_stay_last(report: Page, order: str):
    table = 'document.querySelector("#table-times")'
    for _ in range(1 if order == "ascending" else 2):
        report.run(f"{table}.tHead.rows[0].cells[4].querySelector('button').click()")
    texts = report.run(f"[...{table}.tBodies[0].rows].map(r => r.cells[4].textContent)")
    is_missing = [text.startswith(NONE) for text in texts]
    assert True in is_missing and is_missing == sorted(is_missing)


def test_sorting_works_with_the_keyboard(report: Page):
    report.run(f"{HEAD}[1].querySelector('button').focus()")
    for kind in ("keyDown", "keyUp"):
        report.call(
            "Input.dispatchKeyEvent",
            type=kind,
            key="Enter",
            code="Enter",
            text="\r" if kind == "keyDown" else "",
            windowsVirtualKeyCode=13,
        )
    assert report.run(SUBMISSIONS) == sorted(published_board().scores)


def test_the_legend_hides_a_submission_everywhere(report: Page):
    report.run("document.querySelector('.legend button').click()")
    shown = report.run(
        "[...document.querySelectorAll('figure [data-s=\"0\"]')]"
        ".filter(g => g.getBoundingClientRect().width > 0).length"
    )
    assert shown == 0
    pressed = report.run(
        "[...document.querySelectorAll('.legend button[data-s=\"0\"]')]"
        ".map(b => b.getAttribute('aria-pressed'))"
    )
    assert len(pressed) > 2 and set(pressed) == {"false"}


def test_pointing_at_a_step_tells_its_workload(report: Page):
    report.run("document.querySelector('.tip').scrollIntoView({block: 'center'})")
    # The page hides the bubble when it hears of the scrolling, with the next frame.
    report.run(
        "new Promise(go => requestAnimationFrame(() => requestAnimationFrame(go)))"
    )
    box = report.run(
        "(() => { const b = [...document.querySelectorAll('#profiles .tip .dot')].at(-1)"
        ".getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()"
    )
    report.call("Input.dispatchMouseEvent", type="mouseMoved", x=box[0], y=box[1])
    bubble = 'document.querySelector("#bubble")'
    assert not report.run(f"{bubble}.hidden")
    assert f"{TIMES} the best:" in report.run(f"{bubble}.textContent")


def point_at(page: Page, x: float, y: float) -> str:
    """Moves the pointer; what the bubble says, or "" where it is hidden."""
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    return page.run(
        "(b => b.hidden ? '' : b.textContent)(document.querySelector('#bubble'))"
    )


def centre_of(page: Page, selector: str) -> tuple[float, float]:
    """Scrolls an element to the middle of the window; the place of its centre there."""
    page.run(
        f"document.querySelector('{selector}').scrollIntoView({{block: 'center'}})"
    )
    page.run(
        "new Promise(go => requestAnimationFrame(() => requestAnimationFrame(go)))"
    )
    x, y = page.run(
        f"(b => [b.x + b.width / 2, b.y + b.height / 2])"
        f"(document.querySelector('{selector}').getBoundingClientRect())"
    )
    return x, y


def press(page: Page, words: str) -> None:
    page.run(
        "[...document.querySelectorAll('.switches button')]"
        f".find(b => b.textContent === {json.dumps(words)}).click()"
    )


def test_pointing_at_a_curve_tells_its_trial_and_the_numbers(report: Page):
    centre_of(report, "#workloads figure")
    place = report.run(
        "(path => { const at = path.getPointAtLength(path.getTotalLength())"
        ".matrixTransform(path.getScreenCTM()); return [at.x, at.y]; })"
        "([...document.querySelectorAll('#workloads .view.on .plot')][0]"
        ".querySelector('[data-s=\"0\"] path.curve'))"
    )
    words = point_at(report, *place).splitlines()
    assert words[0].startswith("schedule_free_adamw, study ")
    assert words[1].startswith("submission time, hours: 1.")
    assert words[2].startswith("validation loss: 0.12")
    assert report.complaints == []


def test_switches_show_steps_and_logarithms_in_all_charts(report: Page):
    shown = "[...new Set([...document.querySelectorAll('.view.on')].map(v => v.dataset.view))]"
    assert report.run(shown) == ["seconds linear"]
    press(report, "steps")
    assert report.run(shown) == ["steps linear"]
    press(report, "logarithmic")
    assert report.run(shown) == ["steps log"]
    press(report, "time")
    assert report.run(shown) == ["seconds log"]
    assert report.complaints == []


def test_numbers_of_a_logarithmic_axis_are_told_as_values(report: Page):
    press(report, "logarithmic")
    facts = report.run(
        "(p => [p.dataset.y, p.dataset.yLabel])(document.querySelector('.view.on .plot'))"
    )
    low, high = (10 ** float(word) for word in facts[0].split()[:2])
    assert facts[0].endswith(" log") and facts[1] == "validation loss"
    assert low < 0.123735 < high


def test_the_navigation_marks_the_section_that_is_read(report: Page):
    marked = (
        "[...document.querySelectorAll('.sections [aria-current]')].map(a => a.hash)"
    )
    assert report.run(marked) == ["#leaderboard"]
    for name in ("workloads", "rules", "leaderboard"):
        report.run(f"document.getElementById('{name}').scrollIntoView()")
        report.run(
            "new Promise(go => requestAnimationFrame(() => requestAnimationFrame(go)))"
        )
        assert report.run(marked) == [f"#{name}"]


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280, 1600])
def test_the_navigation_stays_in_sight(report: Page, width: int):
    report.resize(width)
    report.run("document.getElementById('machines').scrollIntoView()")
    bar = "document.querySelector('.sections').getBoundingClientRect()"
    heading = "document.getElementById('machines-title').getBoundingClientRect()"
    top, bottom, right = report.run(f"[{bar}.top, {bar}.bottom, {bar}.right]")
    assert top == pytest.approx(0, abs=1)
    is_beside = report.run(f"{heading}.left") >= right
    assert is_beside or report.run(f"{heading}.top") >= bottom


@pytest.mark.slow
@pytest.mark.parametrize("width", [320, 360, 390, 768, 1024, 1280, 1600])
def test_text_in_charts_has_at_least_12_pixels(report: Page, width: int):
    report.resize(width)
    report.run('document.querySelectorAll("details").forEach(d => { d.open = true; })')
    smallest = report.run(
        "Math.min(...[...document.querySelectorAll('figure svg')].filter(s => s.clientWidth)"
        ".map(s => s.getScreenCTM().a * parseFloat(getComputedStyle("
        "s.querySelector('text')).fontSize)))"
    )
    assert smallest >= 11.95


CUT_OFF = (
    "[...document.querySelectorAll('figure > svg')].flatMap(s => {"
    " const box = s.getBoundingClientRect();"
    " return [...s.querySelectorAll('text')].filter(t => {"
    "  const b = t.getBoundingClientRect();"
    "  return b.width && (b.left < box.left - 1 || b.right > box.right + 1"
    "   || b.top < box.top - 2 || b.bottom > box.bottom + 1); })"
    " .map(t => [t.textContent, t.getBoundingClientRect().right - box.right]); })"
)


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280, 1600])
def test_no_text_of_a_chart_is_cut_off(report: Page, width: int):
    report.resize(width)
    assert report.run(CUT_OFF) == []


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("analysis", [crossing, budgets, steps_vs_time])
def test_no_text_of_an_analysis_is_cut_off(browser, tmp_path, analysis, width):
    board = published_board()
    document = analysis_document(board, analysis.report(board))
    page = opened(browser, tmp_path, document)
    page.resize(width)
    assert page.run(CUT_OFF) == []
    assert page.complaints == []


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
def test_every_stop_of_the_keyboard_is_marked_and_in_sight(report: Page, width: int):
    report.resize(width)
    wrong = []
    for _ in range(70):
        for kind in ("keyDown", "keyUp"):
            report.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key="Tab",
                code="Tab",
                windowsVirtualKeyCode=9,
            )
        report.run("new Promise(go => requestAnimationFrame(go))")
        found = report.run(
            "(e => { const b = e.getBoundingClientRect();"
            " const bar = document.querySelector('.sections');"
            " const covered = !bar.contains(e) && b.left < bar.getBoundingClientRect().right"
            "  && b.top < bar.getBoundingClientRect().bottom - 1"
            "  && bar.getBoundingClientRect().top <= 0 && b.top >= 0;"
            " return [e.tagName, e.textContent.slice(0, 30),"
            "  getComputedStyle(e).outlineStyle !== 'none' && !covered"
            "  && b.top >= 0 && b.top < innerHeight]; })(document.activeElement)"
        )
        if not found[-1]:
            wrong.append(found)
    assert wrong == []


def test_the_page_uses_a_wide_window(report: Page):
    report.resize(1600)
    assert report.run("document.querySelector('main').clientWidth") > 1250


def test_the_head_of_a_long_table_stays_in_sight_on_a_phone(report: Page):
    report.resize(390)
    box = "document.querySelector('#table-times').closest('.scroll')"
    head = "document.querySelector('#table-times thead th')"
    report.run(f"{box}.scrollTo(150, 200)")
    places = report.run(
        f"(([b, h]) => [h.left - b.left, h.top - b.top])"
        f"([{box}, {head}].map(e => e.getBoundingClientRect()))"
    )
    assert places == [pytest.approx(1, abs=1), pytest.approx(1, abs=1)]


def test_all_data_and_every_table_can_be_saved(report: Page, tmp_path: Path):
    report.call(
        "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path)
    )
    report.run("document.querySelector('.data button').click()")
    report.run("document.querySelector('#table-leaderboard caption button').click()")
    report.run("new Promise(go => setTimeout(go, 500))")
    content = json.loads((tmp_path / "report.json").read_text())
    scores = [e["score"] for e in content["leaderboard"]["submissions"]]
    assert scores == list(published_board().scores.values())
    head, first, *_ = (tmp_path / "leaderboard.csv").read_text().splitlines()
    assert head.startswith('rank,submission,score,"score, low","score, high"')
    assert first.startswith(f"1,schedule_free_adamw,{scores[0]!r},")


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_only_tables_scroll_sideways(report: Page, width: int, scheme: str):
    report.resize(width)
    report.prefer(scheme)
    report.run('document.querySelectorAll("details").forEach(d => { d.open = true; })')
    assert report.run("document.documentElement.scrollWidth") <= width
    background = report.run("getComputedStyle(document.body).backgroundColor")
    assert (
        background
        == {
            "light": "rgb(255, 255, 255)",
            "dark": "rgb(20, 23, 26)",
        }[scheme]
    )


def test_names_that_attack_do_nothing(browser: Page, tmp_path: Path):
    page = opened(browser, tmp_path, evil_document())
    assert page.run("window.pwned") is None
    assert page.complaints == []
    assert [url.rpartition("/")[2] for url in page.requests] == ["report.html"]


def test_the_policy_stops_scripts_that_escaping_missed(browser: Page, tmp_path: Path):
    path = tmp_path / "report.html"
    path.write_text(published_page().replace("</main>", f"{EVIL}</main>"))
    browser.complaints.clear()
    browser.open(path)
    assert browser.run("window.pwned") is None
    assert "Content Security Policy" in "".join(browser.complaints)


@pytest.mark.slow
def test_it_prints(report: Page):
    pdf = base64.b64decode(report.call("Page.printToPDF")["data"])
    assert pdf.startswith(b"%PDF") and len(pdf) > 50_000
