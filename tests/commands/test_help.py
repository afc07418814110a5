"""Help texts, completion and the ways to start the program."""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from algoperf import cli


def parsers() -> Iterator[argparse.ArgumentParser]:
    """The parser of every command and of every action of a command."""

    def below(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
        if isinstance(parser, cli._Parser):
            parser.load()
        yield parser
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for choice in action.choices.values():
                    yield from below(choice)

    yield from below(cli._parser())


def test_help_texts_are_sentences():
    wrong = [
        f"{parser.prog}: {action.help}"
        for parser in parsers()
        for action in parser._actions
        if action.help not in (None, argparse.SUPPRESS)
        and not isinstance(action, argparse._HelpAction)
        if not (action.help[0].isupper() or action.help[0] in "`$%")
        or not action.help.endswith((".", "?", "!"))
    ]
    assert wrong == []


def test_every_command_says_what_it_does_in_a_sentence():
    for parser in parsers():
        assert parser.description[0].isupper(), parser.prog
        assert parser.description.endswith("."), parser.prog


def test_nothing_given_shows_the_help(capsys):
    assert cli.main([]) == 0
    out = capsys.readouterr().out
    assert "To begin:" in out and "algoperf new submissions/mine" in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("command", ["campaign", "protocol"])
def test_a_command_of_actions_alone_shows_its_help(capsys, command):
    with pytest.raises(SystemExit) as stop:
        cli.main([command])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: algoperf {command} ")


def test_a_misspelt_command_is_recognised(capsys):
    with pytest.raises(SystemExit):
        cli.main(["scor"])
    assert "Did you mean 'score'?" in capsys.readouterr().err


def test_the_package_runs_as_a_module():
    result = subprocess.run(
        [sys.executable, "-m", "algoperf", "--version"], capture_output=True, text=True
    )
    assert (result.returncode, result.stderr) == (0, "")


def complete(line: str) -> list[str]:
    """What a shell would offer after `line`."""
    environment = {
        **os.environ,
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_STDOUT_FILENAME": "/dev/stdout",
        "_ARGCOMPLETE_IFS": "\n",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "COMP_TYPE": "9",
    }
    result = subprocess.run(
        [sys.executable, "-m", "algoperf"],
        env=environment,
        capture_output=True,
        text=True,
    )
    return [word.strip() for word in result.stdout.split("\n") if word.strip()]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("algoperf ch", "check"),
        ("algoperf run --eval", "--eval-every-steps"),
        ("algoperf run x.py --ruleset v0", "v0.6"),
        ("algoperf campaign sta", "status"),
        ("algoperf run x.py --workload mnist_m", "mnist_mini"),
    ],
)
def test_shells_complete_commands_options_and_names(line, offered):
    pytest.importorskip("argcomplete")
    assert offered in complete(line)
