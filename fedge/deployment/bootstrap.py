"""Installs Fedge on a machine that has only Python: `sudo python3 fedge-….whl/agent install …`.

Python can run a folder inside a zip archive, and a wheel is a zip archive. Fedge's dependencies are not
installed yet. So this module only creates the environment, and continues in it with the same arguments.
"""

import os
import sys
from pathlib import Path

from fedge.deployment.machine import require_root
from fedge.deployment.program import Program, requirement
from fedge.errors import FedgeError


def take_over(program: Program, wheel: Path, arguments: list[str]) -> int:
    """Make the program's environment from the wheel, and replace this process by its command.

    Args:
        program: the program to install.
        wheel: the wheel from which this process runs.
        arguments: the arguments of this process, which the command gets too.

    Returns:
        An exit code, if the environment cannot be made.
    """
    command = program.commands[0]
    if arguments[:1] != ["install"] or {"-h", "--help"} & set(arguments):
        print(f"usage: sudo python3 {wheel}/{Path(sys.argv[0]).name} install …", file=sys.stderr)
        print(f"Run from the wheel, this program can only install {command}.", file=sys.stderr)
        return os.EX_USAGE
    try:
        require_root(f"{command} install")
        path = program.make(requirement(wheel, program.extra), system_site_packages=_SITE in arguments)
    except FedgeError as error:
        print(f"{command}: {error}", file=sys.stderr)
        return error.exit_code
    os.execv(path / "bin" / command, [command, *arguments])  # noqa: S606 # the program just installed


_SITE = "--system-site-packages"
