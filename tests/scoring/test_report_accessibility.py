"""axe-core finds no violation in a report, at three widths, light and dark, folded and open.

axe-core comes from npm, into a temporary folder; skipped, with the reason, where npm, its registry
or Chromium is missing.
"""

import dataclasses
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser_page import BROWSER, Page
from scoring_cases import hit_at, published_board, targets
from test_report_html import evil_document

from algoperf.logs import Outcome, OutcomeRecord
from algoperf.scoring.leaderboard import score
from algoperf.scoring.report.content import make_document
from algoperf.scoring.report.document import Document
from algoperf.scoring.report.html import render
from algoperf.scoring.site.boards import BoardFolder
from algoperf.scoring.site.pages import Board, board_pages, index_page

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed"),
    pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed"),
]
AXE = "axe-core@4"


@pytest.fixture(scope="module")
def axe(tmp_path_factory) -> str:
    """The source of axe-core."""
    folder = tmp_path_factory.mktemp("npm")
    result = subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), AXE],
        capture_output=True,
        text=True,
        timeout=300,
    )
    if result.returncode:
        pytest.skip(f"npm could not install {AXE}: {result.stderr.strip()[:200]}")
    return (folder / "node_modules/axe-core/axe.min.js").read_text()


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Page]:
    page = Page(tmp_path_factory.mktemp("profile"))
    yield page
    page.close()


def tuned_document() -> Document:
    """A report with trials, marks, a tuning plot, authors, links and folded warnings."""
    about = {
        "title": "A title",
        "description": "What it does.",
        "authors": ["Ada"],
        "links": {"paper": "https://example.org/paper"},
    }
    found = [
        dataclasses.replace(
            hit_at(
                name,
                "w",
                10.0 * number,
                number=number,
                study=study,
                meta={"about": about, "began": "2026-03-01T00:00:00Z"},
                hyperparameters={
                    "learning_rate": 10.0**-number,
                    "kind": "ab"[study - 1],
                },
            ),
            ended=OutcomeRecord(Outcome.REACHED, "", caveats=("waited for data",)),
        )
        for name in ("a", "b", "c")
        for number in (1, 2, 3)
        for study in (1, 2)
    ]
    board = score(found, "v0.5", targets=targets("w", tier="development"))
    return make_document(board, title="A board", command="algoperf report logs")


WIDTHS = (390, 1280, 1600)
SCHEMES = ("light", "dark")


def violations(page: Page) -> list:
    """What axe-core finds in the page as it stands, with the first places of each kind."""
    checked, found = page.run(
        "axe.run(document, {resultTypes: ['violations']}).then(r => [r.passes.length,"
        " r.violations.map(v => [v.id, v.impact, v.nodes.slice(0, 3)"
        ".map(n => `${n.target.join(' ')}: ${n.failureSummary}`)])])"
    )
    assert checked > 15
    return found


def opened(page: Page, folder: Path, document: Document, axe: str) -> Page:
    path = folder / "report.html"
    path.write_text(render(document))
    page.open(path)
    page.run(f"{axe};1")
    return page


def test_axe_finds_no_violation_at_any_width_in_any_colours(axe, browser, tmp_path):
    page = opened(browser, tmp_path, tuned_document(), axe)
    for is_open in ("false", "true"):
        page.run(
            f"document.querySelectorAll('details').forEach(d => d.open = {is_open})"
        )
        for width in WIDTHS:
            for scheme in SCHEMES:
                page.resize(width)
                page.prefer(scheme)
                assert violations(page) == [], (width, scheme, is_open)


def site_page(path: str) -> Document:
    about = BoardFolder(Path("logs"), "A board", "What it is about.")
    made = Board.of(about, published_board(), "algoperf report logs")
    return (
        index_page("Boards", {"logs": made}) if path == "" else board_pages(made)[path]
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: make_document(published_board()),
        evil_document,
        lambda: site_page(""),
        lambda: site_page("submissions/baseline.html"),
        lambda: site_page("workloads/wmt.html"),
    ],
    ids=["published", "hostile", "site", "submission", "workload"],
)
def test_axe_finds_no_violation_in_other_reports(axe, browser, tmp_path, make):
    page = opened(browser, tmp_path, make(), axe)
    page.resize(390)
    page.prefer("dark")
    page.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert violations(page) == []


def test_axe_does_find_what_is_wrong(axe, browser, tmp_path):
    page = opened(browser, tmp_path, Document("t", [], []), axe)
    page.run("document.querySelector('main').append(document.createElement('img'))")
    assert "image-alt" in [violation[0] for violation in violations(page)]
