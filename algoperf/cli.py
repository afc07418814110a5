# PYTHON_ARGCOMPLETE_OK
"""The command line: `algoperf new | check | run | score | …`."""

import argparse
import importlib
import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import algoperf
from algoperf import console, exit_status
from algoperf.errors import BadSettings, near

_PROGRAM = "algoperf"
_GROUPS = {  # title: {name: (module under algoperf.commands, what it does)}
    "Make and run a submission": {
        "new": ("new", "Copy the template of a submission into a new directory."),
        "check": ("check", "Check a submission and run a few training steps with it."),
        "prepare": (
            "prepare",
            "Convert raw data into the format that workloads read.",
        ),
        "run": (
            "run",
            "Train a submission on workloads and time it to their targets.",
        ),
        "watch": ("watch", "Follow running trials in the terminal."),
        "cockpit": ("cockpit", "Show what a trial's instruments measured."),
    },
    "Compare results": {
        "score": ("score", "Rank submissions from their logs."),
        "report": ("report", "Write a report on a leaderboard into one file."),
        "site": ("site", "Write leaderboards as a static web site."),
        "suite": (
            "suite",
            "Compare training algorithms by steps on the mini workloads.",
        ),
        "analyze": (
            "analyze",
            "Run an analysis of the benchmark paper, or another, on logs.",
        ),
        "verify": (
            "verify",
            "Evaluate saved parameters again and compare with the logs.",
        ),
    },
    "Organise": {
        "list": ("listing", "List workloads with their targets and budgets."),
        "campaign": (
            "campaign",
            "Run many submissions and workloads, here or on a cluster.",
        ),
        "protocol": (
            "protocol",
            "Tune, repeat and report as another benchmark's protocol says.",
        ),
        "draw-held-out": (
            "draw_held_out",
            "Draw held-out workloads from a public seed.",
        ),
        "targets": (
            "targets",
            "Set the targets of a workload by the published procedure.",
        ),
    },
}
_COMMANDS = {
    name: command for group in _GROUPS.values() for name, command in group.items()
}
_START = """\
To begin:
  algoperf new submissions/mine
  algoperf check submissions/mine/submission.py
  algoperf prepare mnist_mini
  algoperf run submissions/mine/submission.py --workload mnist_mini --studies 1
  algoperf score experiments --studies 1

`algoperf COMMAND --help` explains a command."""


class _StoreOnce(argparse.Action):
    """Keeps an option's value; refuses a second one, which would silently replace the first."""

    _is_given = False

    def __call__(  # type: ignore[no-untyped-def]
        self, parser, namespace, values, option_string=None
    ) -> None:
        """See `argparse`."""
        if self._is_given:
            raise argparse.ArgumentError(
                self, "given more than once; it takes one value."
            )
        self._is_given = True
        setattr(namespace, self.dest, values)


class _Parser(argparse.ArgumentParser):
    """Fills a subcommand's arguments in only when that subcommand is used."""

    module: str | None = None

    def __init__(self, **options: Any) -> None:
        # An abbreviation would change its meaning when an option is added. Examples keep
        # their lines.
        defaults = {
            "allow_abbrev": False,
            "formatter_class": argparse.RawDescriptionHelpFormatter,
        }
        super().__init__(**{**defaults, **options})
        self.register("action", None, _StoreOnce)
        self.register("action", "store", _StoreOnce)

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        """See `argparse`; loads the subcommand's module first, and accepts no other words."""
        if self.prog == _PROGRAM:
            return super().parse_known_args(args, namespace)
        self.load()
        if self._subparsers and not args and "_ARGCOMPLETE" not in os.environ:
            self.print_help(sys.stdout)
            self.exit(exit_status.OK)
        namespace, unknown = super().parse_known_args(args, namespace)
        if unknown:
            options = [
                name for action in self._actions for name in action.option_strings
            ]
            name = unknown[0].partition("=")[0]
            self.error(
                f"unrecognized arguments: {' '.join(unknown)}.{near(name, options)}"
            )
        return namespace, unknown

    def load(self) -> None:
        """Adds the arguments of the subcommand; once."""
        if self.module is None:
            return
        module, self.module = self.module, None
        from algoperf.commands import arguments

        self.register("type", Path, arguments.path)
        self.register("type", int, arguments.whole_number)
        self.register("type", float, arguments.number)
        command = importlib.import_module(f"algoperf.commands.{module}")
        command.add_arguments(self)
        self.set_defaults(execute=command.execute)
        self.epilog = self.epilog or getattr(command, "EXAMPLES", None)

    def format_usage(self) -> str:
        """See `argparse`; shorter."""
        self._shorten_usage()
        return super().format_usage()

    def format_help(self) -> str:
        """See `argparse`."""
        self._shorten_usage()
        return super().format_help()

    def _shorten_usage(self) -> None:
        """The options are many, and the help lists them all."""
        if self.usage is None:
            self.usage = _short_usage(self)

    def _print_message(self, message, file=None) -> None:  # type: ignore[no-untyped-def]
        """Prints help; argparse itself would pass over an output that is full."""
        (file or sys.stderr).write(message)

    def error(self, message: str) -> NoReturn:
        """Refuses a command line: a wrong value in one sentence, all else with the usage."""
        name, _, problem = message.removeprefix("argument ").partition(": ")
        if self.prog == _PROGRAM and "invalid choice" in problem:
            problem = _unknown_command(problem)
            super().error(problem)
        if self.prog == _PROGRAM or not message.startswith("argument "):
            if self.prog == _PROGRAM:
                message += "." + near(
                    message.rpartition(" ")[2], ["--help", "--version"]
                )
            super().error(f"{message}\n`{self.prog} --help` explains it.")
        raise BadSettings(f"{name}: {problem}{_near_choice(problem)}")


def _near_choice(problem: str) -> str:
    """` Did you mean 'x'?` for a value that is spelt almost like one of the choices."""
    if not problem.startswith("invalid choice: "):
        return ""
    given, *choices = re.findall(r"'([^']*)'", problem) or [""]
    return f".{found}" if (found := near(given, choices)) else ""


def _unknown_command(problem: str) -> str:
    name = problem.split("'")[1] if "'" in problem else ""
    return (
        f"there is no command {name!r}.{near(name, _COMMANDS)} Commands: "
        f"{', '.join(_COMMANDS)}."
    )


def _short_usage(parser: argparse.ArgumentParser) -> str:
    """The required arguments; the options are many, and the help has them all."""
    words = [parser.prog.replace("%", "%%")]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return " ".join([*words, str(action.metavar), "..."])
        if not action.option_strings:
            metavar = action.metavar or action.dest.upper()
            form = {"+": "{0} [{0} ...]", "*": "[{0} ...]", "?": "[{0}]"}
            words.append(form.get(str(action.nargs), "{0}").format(metavar))
    for action in parser._actions:
        if action.option_strings and action.required:
            metavar = action.metavar or action.dest.upper()
            words.append(f"{action.option_strings[0]} {metavar}")
    return " ".join([*words, "[OPTIONS]"])


def _overview() -> str:
    """All commands by group, and how to begin."""
    width = max(map(len, _COMMANDS))
    parts = []
    for title, group in _GROUPS.items():
        lines = [f"    {name:<{width}}  {text}" for name, (_, text) in group.items()]
        parts.append("\n".join([f"{title}:", *lines]))
    return "\n\n".join([*parts, _START])


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=_PROGRAM,
        usage=f"{_PROGRAM} COMMAND ...",
        description=str(algoperf.__doc__).splitlines()[0],
        epilog=_overview(),
    )
    parser.add_argument(
        "--version",
        action="version",
        version=algoperf.__version__,
        help="Print the version and exit.",
    )
    commands = parser.add_subparsers(
        prog=_PROGRAM, metavar="COMMAND", help=argparse.SUPPRESS
    )
    for name, (module, summary) in _COMMANDS.items():
        command = commands.add_parser(name, description=summary)
        command.module = module
    return parser


def _complete(parser: argparse.ArgumentParser) -> None:
    """Answers the shell's completion, and ends this process."""
    import argcomplete

    words = shlex.split(os.environ.get("COMP_LINE", ""), posix=False)
    (subparsers,) = (
        action
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    for word in words[1:]:
        command = subparsers.choices.get(word)
        if command is not None:
            command.load()
            for option in command._actions:
                if option.dest in ("workload", "workloads"):
                    option.completer = _workload_names
            break
    argcomplete.autocomplete(parser)


def _workload_names(**_: object) -> list[str]:
    from algoperf import registry

    return list(registry.definitions())


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status: 0 good, 1 failed, 2 wrong input."""

    def execute() -> int:
        parser = _parser()
        if "_ARGCOMPLETE" in os.environ:
            _complete(parser)
        options = parser.parse_args(arguments)
        if not hasattr(options, "execute"):  # nothing was given
            parser.print_help()
            return exit_status.OK
        return int(options.execute(options))

    return console.run(_PROGRAM, execute)


if __name__ == "__main__":
    sys.exit(main())
