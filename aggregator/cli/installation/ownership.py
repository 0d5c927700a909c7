"""The owners of the parts of a federation's folder: the registrar's user, the broker's group, or root."""

import grp
import pwd
from collections.abc import Iterable
from pathlib import Path

from fedge.deployment.machine import run, say
from fedge.errors import DeploymentError
from fedge.storage import files
from fedge.storage.files import give, permit

REGISTRAR = "fedge-registrar"
"""The only user who can read the authority's key."""


def hand_over(folder: Path) -> None:
    """Give each part of the folder to the user who needs it: registrar or broker; the rest to root.

    Raises:
        DeploymentError: an owner or a mode cannot be changed.
    """
    try:
        pwd.getpwnam(REGISTRAR)
    except KeyError:
        say(f"make the user {REGISTRAR}")
        run(
            [
                "useradd",
                "--system",
                "--user-group",
                "--no-create-home",
                "--shell",
                "/usr/sbin/nologin",
                REGISTRAR,
            ]
        )
    user, group = pwd.getpwnam(REGISTRAR), grp.getgrnam("mosquitto").gr_gid
    registrar, broker = folder / "registrar", folder / "broker"
    try:
        files.hand_over(registrar, user.pw_uid, user.pw_gid)
        # The registrar writes the lists there; what it makes belongs to the broker's group.
        files.hand_over(broker, -1, group)
        files.hand_over(broker, user.pw_uid, group, all_in_it=False, mode=0o2750)
        permit(broker / "identity.pem", 0o640)  # Mosquitto reads it as its own user
        give(broker / "data", pwd.getpwnam("mosquitto").pw_uid, group)
    except OSError as error:
        raise DeploymentError(f"{folder}: cannot change the owners of its files: {error.strerror}") from None


def give_back(folders: Iterable[Path]) -> None:
    """Make root the owner of the registrar's files, and remove the registrar's user.

    Raises:
        DeploymentError: an owner cannot be changed.
    """
    for folder in folders:
        registrar = folder / "registrar"
        try:
            files.hand_over(registrar, 0, 0)
            files.hand_over(folder / "broker", 0, -1, all_in_it=False)
        except OSError as error:
            raise DeploymentError(f"{folder}: cannot be given back to root: {error.strerror}") from None
    run(["userdel", REGISTRAR])
