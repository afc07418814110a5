"""The command line: `algoperf run | score | report | prepare | list | check`."""

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import algoperf
from algoperf import console
from algoperf.errors import BadSettings, near

_PROGRAM = "algoperf"
_COMMANDS = {  # name: (module under algoperf.commands, what it does)
    "run": (
        "run",
        "train a submission on a workload and time it until it reaches its targets",
    ),
    "campaign": (
        "campaign",
        "run many submissions and workloads from one plan, here or on a cluster",
    ),
    "protocol": (
        "protocol",
        "tune, repeat and report as another benchmark's protocol says",
    ),
    "verify": ("verify", "evaluate kept parameters again and compare with the logs"),
    "score": ("score", "rank submissions from their logs"),
    "report": ("report", "write a report on a leaderboard into one file"),
    "site": ("site", "write leaderboards as a static web site"),
    "watch": ("watch", "follow running trials in the terminal"),
    "cockpit": ("cockpit", "show what a trial's instruments measured"),
    "analyze": ("analyze", "run one of the benchmark paper's analyses on logs"),
    "draw-held-out": ("draw_held_out", "draw held-out workloads from a public seed"),
    "prepare": ("prepare", "convert raw data into the format that workloads read"),
    "list": ("listing", "list workloads with their targets and budgets"),
    "check": ("check", "check a submission and run a few training steps with it"),
    "targets": ("targets", "set the targets of a workload by the published procedure"),
}


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
        # An abbreviation would change its meaning when an option is added.
        super().__init__(**{"allow_abbrev": False, **options})
        self.register("action", None, _StoreOnce)
        self.register("action", "store", _StoreOnce)

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        """See `argparse`; loads the subcommand's module first, and accepts no other words."""
        if self.prog == _PROGRAM:
            return super().parse_known_args(args, namespace)
        if self.module is not None:
            self._load(self.module)
            self.module = None
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

    def _load(self, module: str) -> None:
        from algoperf.commands import arguments

        self.register("type", Path, arguments.path)
        self.register("type", int, arguments.whole_number)
        self.register("type", float, arguments.number)
        command = importlib.import_module(f"algoperf.commands.{module}")
        command.add_arguments(self)
        self.set_defaults(execute=command.execute)

    def _print_message(self, message, file=None) -> None:  # type: ignore[no-untyped-def]
        """Prints help; argparse itself would pass over an output that is full."""
        (file or sys.stderr).write(message)

    def error(self, message: str) -> NoReturn:
        """Refuses a command line: a wrong value in one sentence, all else with the usage."""
        name, _, problem = message.removeprefix("argument ").partition(": ")
        if self.prog == _PROGRAM or not message.startswith("argument "):
            super().error(message)
        raise BadSettings(f"{name}: {problem}")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog=_PROGRAM, description=algoperf.__doc__.splitlines()[0])
    parser.add_argument("--version", action="version", version=algoperf.__version__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, (module, summary) in _COMMANDS.items():
        command = commands.add_parser(
            name, help=summary, description=summary.capitalize() + "."
        )
        command.module = module
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status: 0 good, 1 failed, 2 wrong input."""

    def execute() -> int:
        options = _parser().parse_args(arguments)
        return int(options.execute(options))

    return console.run(_PROGRAM, execute)


if __name__ == "__main__":
    sys.exit(main())
