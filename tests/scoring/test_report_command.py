"""`algoperf report` from the outside."""

import json
import os
import shlex
import shutil
from pathlib import Path

import pytest
from scoring_cases import PUBLISHED_TARGETS, unpack_published

from algoperf import cli


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    return unpack_published(tmp_path_factory.mktemp("published"))


def arguments(published: Path, *more: str) -> list[str]:
    targets = str(PUBLISHED_TARGETS)
    return ["report", str(published), "--rules", "v0.5", "--targets", targets, *more]


def test_writes_one_file_and_says_where(published, tmp_path, capsys):
    output = tmp_path / "report.html"
    assert cli.main(arguments(published, "-o", str(output))) == 0
    assert output.read_text().startswith("<!DOCTYPE html>")
    printed = capsys.readouterr().out
    assert f"Report: {output} (" in printed
    assert "warning: adamg: fewer than 5 studies" in printed
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_the_command_in_the_report_writes_the_same_report(published, tmp_path, capsys):
    output = tmp_path / "a report.json"
    assert cli.main(arguments(published, "-o", str(output), "--studies", "5")) == 0
    html = tmp_path / "x.html"
    cli.main(arguments(published, "-o", str(html), "--studies", "5"))
    command = html.read_text().partition("<code>")[2].partition("</code>")[0]
    words = shlex.split(command.replace("&#x27;", "'"))
    before = html.read_bytes()
    html.unlink()
    assert cli.main(words[1:]) == 0
    assert html.read_bytes() == before


def test_standard_output_holds_the_report_alone(published, capsys):
    assert cli.main(arguments(published, "-o", "-", "--format", "json")) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["leaderboard"]["ruleset"] == "v0.5"
    facts = dict(content["tables"]["read"]["rows"])
    assert len(facts["logs (SHA-256)"]) == 64
    assert len(facts["targets file (SHA-256)"]) == 64


def test_the_default_name_follows_the_format(published, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments(published, "--format", "latex")) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["report.tex"]


def test_an_empty_folder_is_wrong_input(tmp_path, capsys):
    assert cli.main(["report", str(tmp_path)]) == 2
    assert "No trials under" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_wrong_input(published, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    output = tmp_path / "file" / "report.html"
    assert cli.main(arguments(published, "-o", str(output))) == 2
    assert "Could not write" in capsys.readouterr().err


@pytest.mark.parametrize("format_name", ["html", "md", "json", "csv", "latex"])
def test_a_name_that_is_no_utf8_is_written_all_the_same(
    published, tmp_path, capsys, format_name
):
    (tmp_path / "logs").mkdir()
    strange = os.path.join(os.fsencode(tmp_path), b"logs", b"a\xff")
    try:
        shutil.copytree(os.fsencode(published / "baseline"), strange)
    except OSError:
        pytest.skip("this file system takes no such names")
    output = tmp_path / "report"
    given = arguments(tmp_path / "logs", "--format", format_name, "-o", str(output))
    assert cli.main(given) == 0
    assert "udcff" in output.read_text()
