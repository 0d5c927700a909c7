"""The command line of `fedge-agent` and `fedge-aggregator`: how errors are shown, and the common options."""

import argparse
import os
import sys
from pathlib import Path

from fedge import __version__


class Parser(argparse.ArgumentParser):
    """A parser that exits with EX_USAGE (64 in sysexits.h) after a wrong call."""

    def error(self, message: str) -> None:  # type: ignore[override]
        """Print the usage and what is wrong, and end the program."""
        self.print_usage(sys.stderr)
        self.exit(os.EX_USAGE, f"{self.prog}: {message}\n")


def program(name: str, description: str, epilog: str, config: str, *, check: str, json: str) -> Parser:
    """Make the parser of a program, with the options that both programs have: --version, --config, --check,
    --json, --verbose.

    Args:
        name: the program's name.
        description: one sentence about the program.
        epilog: examples, which are printed as they are.
        config: the default configuration file.
        check: the help of --check.
        json: the help of --json.
    """
    parser = Parser(
        prog=name,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"{name} {__version__}")
    parser.add_argument("--config", type=Path, default=Path(config), help="default: %(default)s")
    parser.add_argument("--check", action="store_true", help=check)
    parser.add_argument("--json", action="store_true", help=json)
    parser.add_argument("--verbose", action="store_true", help="log every step")
    return parser


def accept_config(command: argparse.ArgumentParser) -> None:
    """Accept --config after the command too. It has no default, which would replace one given before it."""
    command.add_argument("--config", type=Path, default=argparse.SUPPRESS)
