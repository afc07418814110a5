"""The HTML report in a real browser: nothing fails, sorting works, no request leaves the file.

Talks to a headless Chromium through its DevTools pipe (file descriptors 3 and 4); skipped where
there is none.
"""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scoring_cases import published_board
from test_report_html import EVIL, evil_document

from algoperf.scoring.report.content import make_document
from algoperf.scoring.report.document import NONE, TIMES, Document
from algoperf.scoring.report.html import render

BROWSER = next(
    filter(
        None,
        map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome")),
    ),
    None,
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--remote-debugging-pipe",
)


class Page:
    """One page of a headless browser, and everything that it complained about or asked for."""

    def __init__(self, profile: Path) -> None:
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        # The browser reads from descriptor 3 and writes to 4; high numbers of ours are in no way.
        command = ["bash", "-c", f'exec "$0" "$@" 3<&{to_browser} 4>&{from_browser}']
        self._process = subprocess.Popen(
            [*command, str(BROWSER), *FLAGS, f"--user-data-dir={profile}"],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._rest = b""
        self._number = 0
        self._session: str | None = None
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self._loads = 0
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> Any:
        """Sends a command and waits for its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                return answer["result"]

    def _receive(self) -> Any:
        while b"\0" not in self._rest:
            data = os.read(self._in, 1 << 16)
            assert data, "the browser has gone"
            self._rest += data
        message, _, self._rest = self._rest.partition(b"\0")
        answer = json.loads(message)
        self._note(answer.get("method", ""), answer.get("params", {}))
        return answer

    def _note(self, event: str, params: Any) -> None:
        if event in (
            "Runtime.exceptionThrown",
            "Runtime.consoleAPICalled",
            "Log.entryAdded",
        ):
            self.complaints.append(json.dumps(params))
        elif event == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif event == "Page.loadEventFired":
            self._loads += 1

    def open(self, path: Path) -> None:
        """Loads a file and waits until it has."""
        loads = self._loads
        self.call("Page.navigate", url=path.as_uri())
        while self._loads == loads:
            self._receive()

    def run(self, expression: str) -> Any:
        """The value of an expression in the page; of a promise, once it is kept."""
        result = self.call(
            "Runtime.evaluate",
            expression=expression,
            returnByValue=True,
            awaitPromise=True,
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def resize(self, width: int, height: int = 900) -> None:
        """Sets the size of the window in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def prefer(self, scheme: str) -> None:
        """Sets the preferred colour scheme: `light` or `dark`."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def close(self) -> None:
        """Ends the browser."""
        os.close(self._out)
        os.close(self._in)
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Page]:
    page = Page(tmp_path_factory.mktemp("profile"))
    yield page
    page.close()


@pytest.fixture
def report(browser: Page, tmp_path: Path) -> Page:
    """The report of the published logs of 2024, just opened."""
    return opened(browser, tmp_path, make_document(published_board()))


def opened(page: Page, folder: Path, document: Document) -> Page:
    path = folder / "report.html"
    path.write_text(render(document))
    page.complaints.clear()
    page.requests.clear()
    page.resize(1280)
    page.prefer("light")
    page.open(path)
    return page


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


@pytest.mark.parametrize("width", [390, 1280])
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
    page = render(make_document(published_board()))
    path.write_text(page.replace("</main>", f"{EVIL}</main>"))
    browser.complaints.clear()
    browser.open(path)
    assert browser.run("window.pwned") is None
    assert "Content Security Policy" in "".join(browser.complaints)


def test_it_prints(report: Page):
    pdf = base64.b64decode(report.call("Page.printToPDF")["data"])
    assert pdf.startswith(b"%PDF") and len(pdf) > 50_000
