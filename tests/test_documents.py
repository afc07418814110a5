"""The documents: links lead to files and headings, commands and options exist, the site builds."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from algoperf import cli

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", ".github/*.md")
    for path in ROOT.glob(pattern)
)
_LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
_COMMAND = re.compile(r"(?<!from )\balgoperf ([a-z][a-z-]*)((?: [^`\n|;#]*)?)")


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def prose(text: str) -> str:
    """Without blocks of code."""
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_to_files_and_headings(path: Path):
    for target in _LINK.findall(prose(text_of(path))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = path.parent / name if name else path
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(text_of(file)), target


def code(text: str) -> str:
    """What stands in blocks and spans of code."""
    fenced = re.findall(r"^```(?:sh|bash)?\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    indented = re.findall(r"^    (.+)$", prose(text), re.MULTILINE)
    spans = re.findall(r"`(algoperf [^`]+)`", text)
    return "\n".join([*fenced, *indented, *spans]).replace("\\\n", " ")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_commands_and_options_exist(path: Path):
    for name, rest in _COMMAND.findall(code(text_of(path))):
        assert name in cli._COMMANDS, f"algoperf {name}"
        known = options_of(name)
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", rest):
            assert option in known, f"algoperf {name}{rest}"


def options_of(name: str) -> set[str]:
    """The options of a command and of its actions."""

    def below(parser) -> set[str]:
        if isinstance(parser, cli._Parser):
            parser.load()
        found = {word for action in parser._actions for word in action.option_strings}
        for action in parser._actions:
            choices = getattr(action, "choices", None)
            for choice in choices.values() if isinstance(choices, dict) else ():
                found |= below(choice)
        return found

    (commands,) = [a for a in cli._parser()._actions if isinstance(a.choices, dict)]
    return below(commands.choices[name])


def test_the_workflow_calls_what_developers_call():
    text = text_of(ROOT / ".github/workflows/test.yml")
    assert "run: make test" in text and "mkdocs build" in text
    assert "mkdocs build" in text_of(ROOT / "Makefile")


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("mkdocs") is None
    or importlib.util.find_spec("mkdocstrings") is None,
    reason="needs the extra docs",
)
def test_the_site_of_documents_builds_without_a_warning(tmp_path: Path):
    result = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert "WARNING -" not in result.stderr
    assert (tmp_path / "RULES.html").is_file()
    page = text_of(tmp_path / "first_submission.html")
    assert 'href="RULES.html#' in page
    assert "Quick start" in text_of(tmp_path / "index.html")
    assert "update_params" in text_of(tmp_path / "reference.html")
    for path in ROOT.glob("docs/*.md"):
        assert f'href="{path.stem}.html"' in page, (
            f"{path.name} is not in the navigation"
        )
    assert not re.search(r'(src|href)="https?://(?!squidfunk)', page)
