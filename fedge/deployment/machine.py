"""The machine on which Fedge is installed: its packages and its programs."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from fedge.errors import DeploymentError

SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin"
"""Further folders in which programs are searched for. The path of a user may lack them."""


def say(step: str) -> None:
    """Print one step of the installation, on one line."""
    print(step, flush=True)


def require_root(command: str) -> None:
    """Check that this process is root, and let services read new files unless a mode forbids it.

    Raises:
        DeploymentError: this process is not root.
    """
    if os.geteuid() != 0:
        raise DeploymentError(f"{command} changes the system: run it as root, with sudo")
    os.umask(0o022)


def run(command: Sequence[str | Path], *, given: str = "", patience_s: float = 1800.0) -> str:
    """Run a program to its end, with `given` on its standard input; return its output.

    Raises:
        DeploymentError: the program failed, took too long or does not exist; the text has the end of its
            output.
    """
    shown = " ".join(map(str, command))
    try:
        done = subprocess.run(
            [str(part) for part in command],
            input=given.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PATH": _path()},
            timeout=patience_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DeploymentError(f"{shown}: {error}") from None
    output = done.stdout.decode(errors="replace").strip()
    if done.returncode != 0:
        last = "\n  ".join(output.splitlines()[-8:])
        raise DeploymentError(f"{shown}: failed with exit code {done.returncode}\n  {last}")
    return output


def find(program: str) -> str | None:
    """Return the path of a program of the system; None: it is not installed."""
    return shutil.which(program, path=_path())


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}"


def need_package(package: str) -> None:
    """Install a package of the distribution.

    Raises:
        DeploymentError: the package could not be installed.
    """
    if find("apt-get") is None:
        raise DeploymentError(f"{package} is missing; install it with this system's package manager")
    say(f"install {package} with apt-get")
    command = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "--yes", "--quiet"]
    command += ["--no-install-recommends", package]
    try:
        run(command)
    except DeploymentError:  # the list of packages on a new machine may be empty or old
        run(["apt-get", "update", "--quiet"])
        run(command)


def remove_if_empty(*folders: Path) -> None:
    """Remove these folders of the system if they are empty, one after the other."""
    for folder in folders:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
