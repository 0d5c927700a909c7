"""The folders of a federation, as `fedge init` makes them, and who may read them."""

import grp
import os
import pwd
from contextlib import suppress
from pathlib import Path

from fedge.errors import ConfigError, StateError
from fedge.storage.atomic_files import make_folder
from fedge.storage.files import give, hand_over, permit, point
from fleet.pki.folder import SHARED, FederationFolder

BROKER_GROUP = "mosquitto"
"""The group of a packaged Mosquitto; root gives it the files that Mosquitto reads."""


def hand_to_broker(folder: FederationFolder) -> None:
    """As root: let Mosquitto's group read `broker/`, now and later, and its user write `broker/data/`.

    The broker's key needs this second reader, because Mosquitto reads it as its own user and not as root.

    Raises:
        StateError: it cannot be done.
    """
    if os.geteuid() != 0:
        return
    with suppress(KeyError):  # Mosquitto is not installed here, or runs as another user
        group = grp.getgrnam(BROKER_GROUP).gr_gid
        try:
            hand_over(folder.broker, -1, group, mode=0o2750)  # files made in it later belong to its group
            with suppress(FileNotFoundError):  # made later
                permit(folder.broker_identity, SHARED)
            give(folder.broker_data, pwd.getpwnam(BROKER_GROUP).pw_uid, group)
        except OSError as error:
            raise StateError(
                f"{folder.broker}: cannot be handed to {BROKER_GROUP}: {error.strerror}"
            ) from None
        except LookupError as error:
            raise StateError(f"{folder.broker}: cannot be handed to {BROKER_GROUP}: {error}") from None


def make_folders(folder: FederationFolder, beside: FederationFolder | None) -> None:
    """Make the missing folders; if `beside` is given, link to its shared ones."""
    make_folder(folder.root, mode=0o755)
    make_folder(folder.aggregator)
    make_folder(folder.devices)
    if beside is None:
        make_folder(folder.registrar)
        make_folder(folder.broker, mode=0o750)
        make_folder(folder.broker_data)
        return
    beside.federation()  # raises an error if it is not a federation's folder
    for link, target in ((folder.registrar, beside.registrar), (folder.broker, beside.broker)):
        if link.exists() and not link.samefile(target):
            raise ConfigError(f"{link}: is there already and is not that of {beside.root}")
        if not link.is_symlink():
            try:
                point(link, Path(os.path.relpath(target.resolve(), folder.root.resolve())))
            except OSError as error:
                raise StateError(f"{link}: cannot be made: {error.strerror}") from error
