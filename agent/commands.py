"""`fedge-agent install` and `uninstall`: options. What does it is loaded late: the agent stays light."""

import argparse
from pathlib import Path
from typing import TypeVar

P = TypeVar("P", bound=argparse.ArgumentParser)


def add_to(commands: "argparse._SubParsersAction[P]") -> None:
    """Add the two commands to the program's."""
    install_parser = commands.add_parser("install", help="install or upgrade as a service (root)")
    install_parser.add_argument(
        "source",
        metavar="BUNDLE|TOKEN",
        help="the file of `fedge enroll`, the folder of `join`, or a token (- reads it from standard input)",
    )
    install_parser.add_argument("--device", metavar="ID", help="what this device is called, with a token")
    install_parser.add_argument(
        "--wheel", type=Path, metavar="FILE", help="the version to install; default: the one that runs this"
    )
    install_parser.add_argument(
        "--system-site-packages",
        action="store_true",
        help="use the system's numpy and cryptography, where PyPI has none for this processor",
    )
    install_parser.set_defaults(run=_install, misused=install_parser.error)
    uninstall_parser = commands.add_parser("uninstall", help="remove the service; data stays (root)")
    uninstall_parser.add_argument("name", metavar="FEDERATION")
    uninstall_parser.add_argument(
        "--purge", action="store_true", help="remove configuration, key and state too"
    )
    uninstall_parser.set_defaults(run=_uninstall)


def _install(options: argparse.Namespace) -> int:
    from agent.installation import run_install

    return run_install(options)


def _uninstall(options: argparse.Namespace) -> int:
    from agent.installation import run_uninstall

    return run_uninstall(options)
