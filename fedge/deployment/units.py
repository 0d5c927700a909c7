"""Installs the units of systemd that come with Fedge, and starts and stops them with systemctl."""

import shutil
from collections.abc import Iterable
from contextlib import suppress
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from fedge.deployment.machine import run
from fedge.errors import DeploymentError
from fedge.storage.atomic_files import atomic_write, make_folder
from fedge.storage.files import read_file

SYSTEM = Path("/etc/systemd/system")
STATE = Path("/var/lib")


def shipped(path: str) -> bytes:
    """Read a file of `deploy/` from the wheel, or from the checkout of this module.

    Raises:
        DeploymentError: this installation lacks the file.
    """
    wheel = resources.files("fedge.deployment").joinpath("files")
    checkout = Path(__file__).parents[2] / "deploy"
    places: list[Traversable] = [wheel.joinpath(path), checkout / path]
    for place in places:
        if place.is_file():
            return place.read_bytes()
    raise DeploymentError(f"this installation lacks deploy/{path}: install Fedge again")


def place(path: Path, data: bytes, mode: int = 0o644) -> bool:
    """Write a file of the system if its content differs; return whether it was written."""
    if path.is_file() and read_file(path) == data and path.stat().st_mode & 0o777 == mode:
        return False
    make_folder(path.parent, mode=0o755)
    atomic_write(path, data, mode=mode, exact=True)
    return True


def place_units(names: Iterable[str], system: Path = SYSTEM) -> bool:
    """Install units for systemd; return whether any is new or changed."""
    changed = [place(system / name, shipped(f"systemd/{name}")) for name in names]
    if any(changed):
        systemctl("daemon-reload")
    return any(changed)


def remove_units(names: Iterable[str], system: Path = SYSTEM) -> None:
    """Remove units. Drop-ins that others wrote stay."""
    for name in names:
        path = system / name
        path.unlink(missing_ok=True)
        if path.parent != system and path.parent.is_dir() and not any(path.parent.iterdir()):
            path.parent.rmdir()
    systemctl("daemon-reload")


def systemctl(*arguments: str) -> str:
    """Call systemctl; return its output.

    Raises:
        DeploymentError: the call failed, or this machine has no systemd.
    """
    if shutil.which("systemctl") is None:
        raise DeploymentError("systemctl is not installed: a machine with systemd is needed")
    return run(["systemctl", "--no-pager", *arguments])


def retire(unit: str, *what: str) -> None:
    """Stop and disable a unit, and remove its folders of the kinds in `what`: `runtime`, `state`."""
    systemctl("disable", "--quiet", "--now", unit)
    forget_failure(unit)
    systemctl("clean", f"--what={','.join(what)}", unit)


def forget_failure(unit: str) -> None:
    """Clear the failed state of a unit."""
    with suppress(DeploymentError):  # systemctl fails if the unit has never failed
        systemctl("reset-failed", unit)


def remove_state_folder(name: str) -> None:
    """Remove the parent of a service's state folders, if it is empty."""
    for folder in (STATE / name, STATE / "private" / name):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def is_enabled(unit: str) -> bool:
    """Whether a unit starts with the system."""
    try:
        return systemctl("is-enabled", unit) == "enabled"
    except DeploymentError:
        return False


def instances(template: str) -> list[str]:
    """Return the running units of a template `name@.service`."""
    pattern = template.replace("@.", "@*.")
    lines = systemctl("list-units", "--plain", "--no-legend", "--state=active,activating", pattern)
    return [line.split()[0] for line in lines.splitlines() if line.strip()]
