"""`algoperf site`: writes leaderboards as a static web site."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from algoperf import registry
from algoperf.commands import output, report, scoring_options

EXAMPLES = """\
examples:
  algoperf site boards -o site
  algoperf site experiments --rules v0.6 -o site --title "Spring 2026\""""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    scoring_options.add_arguments(parser)
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="SITE",
        help="Folder for the site; an earlier site in it is replaced.",
    )
    parser.add_argument(
        "--title",
        type=str,
        default="Leaderboards",
        metavar="TEXT",
        help="Title of the first page (default: %(default)s).",
    )


def execute(options: argparse.Namespace) -> int:
    """Writes the site; says where its first page is."""
    pages = registry.scoring_module("site.pages")
    writer = registry.scoring_module("site.write")
    render = registry.scoring_module("report.html").render
    writer.check_folder(options.output)
    folders, notes = _boards(options.directories)
    names = registry.scoring_module("site.names").file_names(
        about.folder.resolve().name for about in folders
    )
    boards = {
        name: _board(pages, options, about)
        for name, about in zip(names, folders, strict=True)
    }
    texts = {"index.html": render(pages.index_page(options.title, boards))}
    for name, board in boards.items():
        texts |= {f"{name}/{path}": text for path, text in _files(pages, render, board)}
    writer.write_site(options.output, texts)
    output.say(f"Site: {options.output / 'index.html'} ({len(texts)} files)")
    for note in notes:
        output.say(f"note: {note}")
    for about, board in zip(folders, boards.values(), strict=True):
        for warning in board.board.warnings:
            output.say(f"warning: {about.folder}: {warning}")
    return 0


def _files(
    pages: Any, render: Callable[[Any], str], board: Any
) -> Iterator[tuple[str, str]]:
    """The files of a board."""
    for path, document in pages.board_pages(board).items():
        yield path, render(document)
    yield "leaderboard.json", board.board.to_json()


def _boards(directories: Sequence[Path]) -> tuple[list[Any], list[str]]:
    """The folders of all boards, and notes on folders that are none."""
    find = registry.scoring_module("site.boards").find_boards
    found = [find(directory) for directory in directories]
    folders = [about for of, _ in found for about in of]
    return folders, [note for _, of in found for note in of]


def _board(pages: Any, options: argparse.Namespace, about: Any) -> Any:
    """One board; what its file says replaces the options.

    The command that its page shows does not tell where on this machine the logs lie.
    """
    own = {**vars(options), **about.options}
    own |= {"directories": [about.folder], "title": about.title}
    board = scoring_options.leaderboard(argparse.Namespace(**own))
    own["directories"] = [Path(about.folder.resolve().name)]
    if own["targets"] is not None:
        own["targets"] = Path(own["targets"]).name
    typed = report.command(argparse.Namespace(**own), "html", Path("report.html"))
    return pages.Board.of(about, board, typed)
