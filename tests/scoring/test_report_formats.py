"""Markdown, JSON, CSV and LaTeX say what the document says."""

import csv
import io
import json
import re

import pytest
from scoring_cases import published_board
from test_report_html import EVIL, evil_document

from algoperf.errors import BadSettings
from algoperf.scoring.report.content import make_document
from algoperf.scoring.report.document import Cell, Column, DataTable, Document, Section
from algoperf.scoring.report.formats import FORMATS, format_of


@pytest.fixture(scope="module")
def document() -> Document:
    return make_document(published_board(), command="algoperf report logs")


@pytest.fixture(scope="module")
def evil() -> Document:
    return evil_document()


def render(name: str, document: Document) -> str:
    return FORMATS[name].render(document)


def tiny(*cells: str) -> Document:
    columns = [Column(f"c{i}", is_numeric=False) for i in range(len(cells))]
    table = DataTable("t", "caption", columns, [[Cell(text, text) for text in cells]])
    return Document("title", [], [Section("s", "S", "Explains.", [table])])


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_deterministic(name: str, document: Document):
    again = make_document(published_board(), command="algoperf report logs")
    assert render(name, document) == render(name, again)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_ends_with_one_line_end_and_has_no_nan(name, document):
    text = render(name, document)
    assert text.endswith("\n") and not text.endswith("\n\n")
    assert not re.search(r"\b(nan|inf|NaN|Infinity)\b", text)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_tells_banner_and_warnings(name: str, document: Document):
    text = render(name, document)
    if name != "csv":  # has nothing but tables
        assert "adamg: fewer than 5 studies" in text.replace("\\", "")


def test_json_has_every_value_of_every_table(document):
    content = json.loads(render("json", document))
    for table in document.tables():
        rows = content["tables"][table.key]["rows"]
        for cells, values in zip(table.rows, rows, strict=True):
            for cell, value in zip(cells, values, strict=True):
                plain = value["value"] if cell.interval else value
                assert plain == cell.value
    scores = {
        e["submission"]: e["score"] for e in content["leaderboard"]["submissions"]
    }
    assert scores == published_board().scores


def test_csv_has_a_line_for_every_cell(document):
    lines = list(csv.DictReader(io.StringIO(render("csv", document))))
    cells = [c for t in document.tables() for row in t.rows for c in row]
    assert len(lines) == len(cells)
    for line, cell in zip(lines, cells, strict=True):
        if isinstance(cell.value, float):
            assert float(line["value"]) == cell.value
    scores = {
        line["name"]: float(line["value"])
        for line in lines
        if (line["table"], line["column"]) == ("leaderboard", "score")
    }
    assert scores == published_board().scores


def test_csv_texts_cannot_be_formulas():
    text = render("csv", tiny("=1+1", "@x", "fine"))
    lines = list(csv.DictReader(io.StringIO(text)))
    assert [line["text"] for line in lines] == ["'=1+1", "'@x", "fine"]


def markdown_tables(text: str) -> list[list[list[str]]]:
    tables: list[list[list[str]]] = [[]]
    for line in text.splitlines():
        if line.startswith("| "):
            cells = re.split(r"(?<!\\)\|", line)[1:-1]
            tables[-1].append([re.sub(r"\\(.)", r"\1", cell).strip() for cell in cells])
        elif tables[-1]:
            tables.append([])
    return [table for table in tables if table]


@pytest.mark.parametrize("which", ["document", "evil"])
def test_markdown_tables_read_back_as_they_were(which, request):
    document = request.getfixturevalue(which)
    found = markdown_tables(render("md", document))
    for table, lines in zip(document.tables(), found, strict=True):
        assert lines[0] == [column.name for column in table.columns]
        assert lines[2:] == [
            [" ".join(cell.words.split()) for cell in row] for row in table.rows
        ]


def test_markdown_holds_no_live_html(evil):
    text = render("md", evil)
    prose = [line for line in text.splitlines() if not line.startswith("    ")]
    assert not re.search(r"(?<!\\)[<>]", "\n".join(prose).replace("> **", ""))
    assert EVIL in text  # in the command, as code


def test_latex_environments_close_and_rows_have_all_columns(document, evil):
    for text in (render("latex", document), render("latex", evil)):
        begun = re.findall(r"\\begin\{(\w+)\}", text)
        assert sorted(begun) == sorted(re.findall(r"\\end\{(\w+)\}", text))
        for spec, body in re.findall(
            r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end\{tabular\}", text, re.DOTALL
        ):
            rows = [r for r in body.splitlines() if r.endswith("\\\\")]
            assert rows
            assert {len(re.findall(r"(?<!\\)&", r)) for r in rows} == {len(spec) - 1}


def test_latex_escapes_what_is_special():
    text = render("latex", tiny(r"a_b & 50% of #1 {x} \input $y^2$ ~<>|", "[1, 2]"))
    assert (
        r"a\_b \& 50\% of \#1 \{x\} \textbackslash{}input \$y\textasciicircum{}2\$ "
        r"\textasciitilde{}\textless{}\textgreater{}\textbar{} & {[}1, 2{]} \\"
    ) in text


def test_a_line_break_in_a_name_ends_no_latex_comment_and_no_markdown_line():
    document = Document("t", [], [], warnings=["one\n\\input{x}"])
    assert "% warning: one \\input{x}" in render("latex", document)
    assert "\n- one " in render("md", document)


@pytest.mark.parametrize(
    ("suffix", "name"),
    [
        (".html", "html"),
        (".MD", "md"),
        (".tex", "latex"),
        (".csv", "csv"),
        ("", "html"),
    ],
)
def test_the_format_follows_the_file_name(suffix: str, name: str):
    assert format_of(suffix) == name


@pytest.mark.parametrize("suffix", [".pdf", ".htm", ".txt", "."])
def test_an_unknown_ending_is_refused(suffix: str):
    with pytest.raises(BadSettings, match=r"ends in \.html \(html\), \.md"):
        format_of(suffix)
