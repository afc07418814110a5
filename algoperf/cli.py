"""The command line: `algoperf run | score | report | prepare | list | check`."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

import algoperf
from algoperf import exit_status
from algoperf.errors import AlgoPerfError

_COMMANDS = {  # name: (module under algoperf.commands, what it does)
    "run": ("run", "time a submission on a workload until its targets are hit"),
    "score": ("score", "rank submissions from their logs"),
    "report": ("report", "write a report of a leaderboard as one file"),
    "watch": ("watch", "follow running trials in the terminal"),
    "analyze": ("analyze", "run an analysis of the benchmark paper over logs"),
    "draw-held-out": ("draw_held_out", "draw held-out workloads from a public seed"),
    "prepare": ("prepare", "turn raw data into the form that workloads read"),
    "list": ("listing", "show workloads, their targets and budgets"),
    "check": ("check", "check a submission and rehearse a few of its steps"),
    "targets": ("targets", "set the targets of a workload by the published procedure"),
}


class _Parser(argparse.ArgumentParser):
    """Fills a subcommand's arguments in only when that subcommand is used."""

    module: str | None = None

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        """See `argparse`; loads the subcommand's module first."""
        if self.module is not None:
            command = importlib.import_module(f"algoperf.commands.{self.module}")
            command.add_arguments(self)
            self.set_defaults(execute=command.execute)
            self.module = None
        return super().parse_known_args(args, namespace)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="algoperf", description=algoperf.__doc__.splitlines()[0])
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
    options = _parser().parse_args(arguments)
    try:
        return int(options.execute(options))
    except AlgoPerfError as error:
        if str(error):
            print(f"algoperf: error: {error}", file=sys.stderr)
        return exit_status.WRONG_INPUT
    except BrokenPipeError:  # `algoperf … | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("algoperf: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
