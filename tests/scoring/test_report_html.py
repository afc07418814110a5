"""The HTML report: well-formed, self-contained, harmless, readable."""

import dataclasses
import html
import itertools
import json
import re
from html.parser import HTMLParser

import pytest
from scoring_cases import (
    PUBLISHED_TARGETS,
    hit_at,
    published_board,
    published_trials,
    targets,
    trial,
)

from algoperf.logs import Outcome, OutcomeRecord
from algoperf.scoring.leaderboard import score
from algoperf.scoring.palette import DARK, LIGHT
from algoperf.scoring.report.content import make_document
from algoperf.scoring.report.data import render_json
from algoperf.scoring.report.document import (
    TIMES,
    Column,
    DataTable,
    Document,
    Section,
)
from algoperf.scoring.report.html import render
from algoperf.scoring.report.html_blocks import is_link, link

EVIL = "<script>window.pwned = 1</script>"
EVIL_ATTRIBUTE = "\"'><img src=x onerror=alert(1)>"
VOID = {"meta", "wbr", "br", "img", "link", "input"}


def evil_document() -> Document:
    """Everything that logs can name is an attack."""
    meta = {
        "devices": {"device_kind": EVIL, "num_devices": 1},
        "versions": {EVIL: EVIL_ATTRIBUTE},
        "commit": EVIL_ATTRIBUTE,
        "ruleset": EVIL,
    }
    workload = EVIL_ATTRIBUTE + "_jax"
    names = (EVIL, EVIL_ATTRIBUTE, "</script><!--", "&lt;b&gt;", "${x}`y`\\")
    trials = [
        dataclasses.replace(
            hit_at(name, workload, 5 + i, study=k, meta=meta),
            ended=OutcomeRecord(Outcome.REACHED, EVIL),
        )
        for i, name in enumerate(names)
        for k in (1, 2)
    ]
    broken = trial(EVIL, workload, [(1, 0.1)], study=3)
    ended = OutcomeRecord(Outcome.DIVERGED, EVIL_ATTRIBUTE)
    trials.append(dataclasses.replace(broken, ended=ended))
    board = score(trials, "v0.5", targets=targets(workload), reference=EVIL)
    return make_document(board, command=f"algoperf report '{EVIL}'")


class Structure(HTMLParser):
    """Collects what the tests ask about; fails where tags do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        names = [name for name, _ in attributes]
        assert len(names) == len(set(names)), (tag, names)
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def page() -> str:
    return render(make_document(published_board()))


@pytest.fixture(scope="module")
def structure(page) -> Structure:
    return Structure(page)


@pytest.fixture(scope="module")
def evil() -> Structure:
    return Structure(render(evil_document()))


def test_every_identifier_is_unique_and_every_reference_has_one(structure):
    names = [a["id"] for _, a in structure.tags if "id" in a]
    assert len(names) == len(set(names))
    referred = " ".join(
        value
        for _, attributes in structure.tags
        for key, value in attributes.items()
        if key in ("aria-labelledby", "aria-describedby")
    ).split()
    links = [a["href"].removeprefix("#") for a in structure.all("a")]
    assert referred and set(referred) | set(links) <= set(names)


def test_nothing_outside_the_file_is_named(page, structure):
    assert not re.search(r"https?:|//[a-z]|url\(|@import|data:", page)
    loading = {"src", "srcset", "href", "xlink:href", "data", "action", "poster"}
    for tag, attributes in structure.tags:
        for name in loading & set(attributes):
            assert tag == "a" and attributes[name].startswith("#")
    assert not structure.all("link") and not structure.all("iframe")


def test_every_table_has_a_caption_heads_with_scope_and_a_box_to_scroll_in(structure):
    tables = structure.all("table")
    assert len(tables) >= 12 and len(structure.all("caption")) == len(tables)
    assert all("scope" in attributes for attributes in structure.all("th"))
    boxes = [
        a for a in structure.all("div") if (a.get("class") or "").startswith("scroll")
    ]
    assert len(boxes) == len(tables)
    assert all(box["tabindex"] == "0" for box in boxes)


def test_every_picture_has_a_text_alternative_or_is_decoration(structure):
    pictures = [a for a in structure.all("svg") if "viewbox" in a]
    spoken = [a for a in pictures if a.get("role") == "img"]
    profiles, workloads, bases = 2, 14, 8
    analyses = 2 + (2 + bases) + 1 + 1  # grid, relaxed targets, frameworks, power
    assert len(spoken) == profiles + workloads + analyses
    assert all("aria-labelledby" in a for a in spoken)
    assert all(a.get("aria-hidden") == "true" for a in pictures if a not in spoken)
    assert len(structure.all("desc")) == len(spoken)


def test_headings_start_at_one_and_skip_no_level(structure):
    levels = [int(t[1]) for t, _ in structure.tags if re.fullmatch("h[1-6]", t)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))


def test_the_page_names_its_language_and_offers_a_way_past_the_header(structure):
    assert structure.all("html") == [{"lang": "en"}]
    assert structure.all("a")[0] == {"class": "skip", "href": "#content"}
    (main,) = structure.all("main")
    assert main["id"] == "content"


def test_names_from_logs_are_only_text(evil):
    run = [a for a in evil.all("script") if a.get("type") != "application/json"]
    assert len(run) == 1 and not evil.all("img")
    assert not any(n.startswith("on") for _, a in evil.tags for n in a)
    assert EVIL in evil.text and EVIL_ATTRIBUTE in evil.text


def test_the_policy_forbids_every_script_and_style_but_the_own_ones(structure):
    (policy,) = [a["content"] for a in structure.all("meta") if "http-equiv" in a]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy and "http" not in policy
    assert not any("style" in a for _, a in structure.tags)


def test_profile_points_tell_which_workload_steps_where(page):
    tip = f"schedule_free_adamw\n1.124 {TIMES} the best: wmt\n6 of 8 workloads so far"
    assert f"<title>{tip}</title>" in page


def test_every_workload_has_its_curves_and_target(page):
    for name in published_board().pool.scored_workloads:
        assert f'-title">{name}</title>' in page
    evaluated = [trial for trial in published_trials() if trial.num_evaluations]
    num_views = 4  # by time and by steps, linear and logarithmic
    assert page.count('class="curve') == num_views * len(evaluated)
    assert page.count(">validation target 0.085884, lower") == num_views


def test_every_chart_of_a_workload_shows_one_view_and_has_all_that_switches_name(page):
    num_workloads = len(published_board().pool.scored_workloads)
    for measure in ("seconds", "steps"):
        for scale in ("linear", "log"):
            assert page.count(f'data-view="{measure} {scale}"') == num_workloads
    assert page.count('class="view on" data-view="seconds linear"') == num_workloads


def test_the_page_holds_its_data_in_a_form_that_ends_no_script():
    document = evil_document()
    page = render(document)
    block = re.search(r'<script type="application/json" id="data">(.*?)</script>', page)
    assert "<" not in block[1] and "&" not in block[1]
    assert json.loads(block[1]) == json.loads(render_json(document))


def test_a_table_whose_key_has_spaces_is_named_by_its_caption():
    table = DataTable('a "b" <c>', "Caption", [Column("x", is_numeric=False)], [])
    document = Document("t", [], [Section("s", "S", "E.", [table])])
    structure = Structure(render(document))
    (box,) = [a for a in structure.all("div") if "aria-labelledby" in a]
    assert [a["id"] for a in structure.all("caption")] == [box["aria-labelledby"]]
    assert " " not in box["aria-labelledby"]


@pytest.mark.parametrize("count", [1, 3, 4, 40])
def test_many_warnings_are_folded_up(count: int):
    warnings = [f"warning {i}" for i in range(count)]
    page = render(Document("t", [], [], warnings=warnings))
    assert all(f"<li>{w}</li>" in page for w in warnings)
    is_folded = f">Warnings ({count})</h2></summary>" in page
    assert is_folded == (count > 3)


@pytest.mark.parametrize(
    "target",
    [
        "javascript:alert(1)",
        "JAVASCRIPT:alert(1)",
        " javascript:alert(1)",
        "java\tscript:alert(1)",
        "data:text/html,x",
        "//elsewhere.example",
        "/etc/passwd",
        "\\\\elsewhere",
        "",
    ],
)
def test_only_web_pages_and_neighbours_are_linked_to(target: str):
    assert not is_link(target)
    assert "<a" not in link("words", target)


@pytest.mark.parametrize(
    "target", ["https://example.org/a?b=1&c=2", "http://example.org", "w/a.html", ".."]
)
def test_web_pages_and_neighbours_are_linked_to(target: str):
    assert f'href="{html.escape(target)}"' in link("words", target)


def test_warnings_stand_before_the_leaderboard(page):
    assert page.index("adamg: fewer than 5 studies") < page.index('id="leaderboard"')


def test_the_report_is_a_pure_function_of_the_logs(page):
    shuffled = sorted(published_trials(), key=lambda t: repr(t.id)[::-1])
    again = score(shuffled, "v0.5", targets=PUBLISHED_TARGETS, reference="baseline")
    assert render(make_document(again)) == page


def test_many_submissions_all_look_different_in_the_profiles():
    trials = [hit_at(f"s{i:02}", "w", 10 + i) for i in range(32)]
    page = render(make_document(score(trials, "v0.5", targets=targets("w"))))
    Structure(page)
    first_legend = page.partition('class="legend"')[2].partition("</ul>")[0]
    looks = re.findall(
        r'<path class="profile (c\d)" d="M0 4H26"([^/]*)/>', first_legend
    )
    assert len(set(looks)) == 32


def _luminance(colour: str) -> float:
    channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    red, green, blue = (
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(a: str, b: str) -> float:
    """By the Web Content Accessibility Guidelines."""
    dark, light = sorted((_luminance(a), _luminance(b)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_text_has_contrast(colours):
    pairs = [
        *(
            (text, back)
            for text in ("ink", "quiet", "link")
            for back in ("page", "raised")
        ),
        ("warn-ink", "warn-page"),
        ("stop-ink", "stop-page"),
        ("ink", "heat"),
    ]
    assert min(contrast(colours[a], colours[b]) for a, b in pairs) >= 4.5


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_curves_have_contrast(colours):
    curves = [colours[f"c{i}"] for i in range(8)]
    assert min(contrast(curve, colours["page"]) for curve in curves) >= 3
