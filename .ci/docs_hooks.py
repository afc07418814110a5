"""Hooks of the documentation's build: pages from Markdown files outside of `docs/`.

A link from one page to another file of the repository becomes a link to that file's page. A
file that is no Markdown has no page, so of a link to it the words stay.
"""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
DOCS = "docs"
FIRST = ("RULES.md", "CONTRIBUTING.md", "CHANGELOG.md")
# A README at the top would take the place of the first page.
_RENAMED = {"README.md": "repository.md"}
_PICTURE = re.compile(r"(?<=\]\()docs/(?=images/)")  # of a file at the top
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Adds pages of `docs/` that the navigation forgot at its end."""
    named = set(_pages_in(config.nav or []))
    others = sorted(path.name for path in (ROOT / DOCS).glob("*.md"))
    forgotten = [name for name in others if name not in named]
    if forgotten and config.nav:
        config.nav.append({"More": forgotten})
    return config


def _pages_in(nav: object) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, dict):
        for value in nav.values():
            yield from _pages_in(value)
    elif isinstance(nav, list):
        for value in nav:
            yield from _pages_in(value)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds a page for each Markdown file that pages link to, directly or through others."""
    waiting = [
        *FIRST,
        *(f"{DOCS}/{f.src_uri}" for f in files if f.is_documentation_page()),
    ]
    seen: set[str] = set()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        if not _is_page(path):
            source = str(ROOT / path)
            files.append(File.generated(config, _uri(path), abs_src_path=source))
        waiting += [
            target
            for _, target, _ in _links(path, (ROOT / path).read_text(encoding="utf-8"))
            if target.endswith(".md")
        ]
    return files


def on_page_markdown(
    markdown: str, page: Page, config: MkDocsConfig, files: Files
) -> str:
    """Turns links to files of the repository into links to pages; finds pictures."""
    here = _in_repository(page.file)
    for match, target, anchor in _links(here, markdown):
        if here.startswith(f"{DOCS}/") and target.startswith(f"{DOCS}/"):
            continue
        words = match[1]
        if target.endswith(".md"):
            own = posixpath.dirname(page.file.src_uri) or "."
            path = posixpath.relpath(_uri(target), own)
            new = f"[{words}]({path}{anchor})"
        else:
            new = words
        markdown = markdown.replace(match[0], new)
    return _PICTURE.sub("", markdown) if "/" not in here else markdown


def _links(path: str, markdown: str) -> Iterator[tuple[re.Match[str], str, str]]:
    """Links to files: the match, the path in the repository, and the anchor."""
    for match in _LINK.finditer(markdown):
        target, sign, anchor = match[2].partition("#")
        if not target or re.match(r"[a-z]+:", target):
            continue
        found = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
        if not (ROOT / found).exists():
            raise PluginError(f"{path} links to {target}, which does not exist.")
        yield match, found, sign + anchor


def _uri(path: str) -> str:
    """Where the page of a file of the repository is in the site."""
    return _RENAMED.get(path, path.removeprefix(f"{DOCS}/"))


def _is_page(path: str) -> bool:
    return path.startswith(f"{DOCS}/")


def _in_repository(file: File) -> str:
    """The path of a page's file in the repository."""
    inside = f"{DOCS}/{file.src_uri}"
    if (ROOT / inside).is_file():
        return inside
    originals = {uri: path for path, uri in _RENAMED.items()}
    return originals.get(file.src_uri, file.src_uri)
