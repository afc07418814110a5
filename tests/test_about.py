"""`submission.toml`: what it may say, and what is said about wrong ones."""

import json
import os
from pathlib import Path

import pytest

from algoperf.about import ABOUT_FILE, About, read_about
from algoperf.errors import BadLogs, BadSubmission
from algoperf.submission import check_source
from algoperf.trial_meta import TrialMeta

GOOD = """\
title = "NadamW"
description = "Adam with Nesterov momentum."
authors = ["Ada Lovelace", "Zoë Ünlü"]
license = "Apache-2.0"

[links]
paper = "https://example.org/paper"
"""


def written(folder, text: str | bytes):
    data = text.encode() if isinstance(text, str) else text
    (folder / ABOUT_FILE).write_bytes(data)
    return folder


def test_everything_is_read(tmp_path):
    about = read_about(written(tmp_path, GOOD))
    assert about.title == "NadamW" and about.authors == ("Ada Lovelace", "Zoë Ünlü")
    assert about.links == {"paper": "https://example.org/paper"}


def test_every_entry_is_optional(tmp_path):
    assert read_about(tmp_path) == About() == read_about(written(tmp_path, ""))


def test_a_mark_of_byte_order_is_passed_over(tmp_path):
    assert read_about(written(tmp_path, "\ufeff" + GOOD)).title == "NadamW"


def test_what_is_recorded_is_read_back(tmp_path):
    about = read_about(written(tmp_path, GOOD))
    record = json.loads(json.dumps(TrialMeta(about=about.to_json()).to_json()))
    assert About.from_json(TrialMeta.from_json(record).about) == about


@pytest.mark.parametrize("record", [None, [], "x", {"title": 3}, {"other": "x"}])
def test_a_record_that_is_none_says_nothing(record):
    assert About.from_json(record) == About()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("titel = 'x'", r"no entry 'titel'. Did you mean 'title'\? There are: title"),
        ("title = 3", "'title' must be a text in quotes, not 3"),
        ("authors = 'Ada'", "'authors' must be a list of names like"),
        ("authors = [1]", "'authors' must be a text in quotes, not 1"),
        ("links = 'x'", "'links' must be a table of web addresses"),
        (
            "[links]\npaper = 'javascript:alert(1)'",
            "must begin with https:// or http://",
        ),
        ("[links]\npaper = 'example.org'", "must begin with https:// or http://"),
        ("title = ", "is not readable TOML"),
        (b"title = '\xff'", "is not readable TOML"),
        (f"title = '{'x' * 2001}'", "has 2,001 characters; at most 2,000"),
        (f"authors = {['x'] * 101}", "has 101 entries; at most 100"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(tmp_path, text, message):
    with pytest.raises(BadSubmission, match=message) as found:
        read_about(written(tmp_path, text))
    assert str(tmp_path / ABOUT_FILE) in str(found.value)


def test_a_folder_or_a_broken_link_of_that_name_is_refused(tmp_path):
    (tmp_path / ABOUT_FILE).mkdir()
    with pytest.raises(BadLogs, match="is a folder, not a regular file"):
        read_about(tmp_path, BadLogs)
    (tmp_path / ABOUT_FILE).rmdir()
    os.symlink("nowhere", tmp_path / ABOUT_FILE)
    with pytest.raises(BadSubmission, match="cannot be read"):
        read_about(tmp_path)


def test_a_submission_with_a_wrong_file_is_refused_before_it_runs(tmp_path):
    (tmp_path / "submission.py").write_text("")
    written(tmp_path, "author = 'x'")
    with pytest.raises(BadSubmission, match="no entry 'author'"):
        check_source(tmp_path / "submission.py")


def test_the_template_says_nothing_until_its_examples_are_uncommented(tmp_path):
    template = Path(__file__).parents[1] / "submissions" / "template" / ABOUT_FILE
    assert read_about(template.parent) == About()
    text = "".join(
        line.removeprefix("# ")
        for line in template.read_text().splitlines(keepends=True)
        if " = " in line or "[links]" in line
    )
    about = read_about(written(tmp_path, text))
    assert all(about.to_json().values()) and len(about.to_json()) == 5
