"""The folder of a federation: find it, check that it is complete, and move it to its final place."""

import os
import re
import shutil
import tomllib
from pathlib import Path

from fedge.deployment import units
from fedge.deployment.machine import say
from fedge.errors import ConfigError
from fedge.storage.atomic_files import make_folder
from fedge.storage.files import permit, read_file
from fedge.wire.topics import FEDERATION

FEDERATIONS = Path("/etc/fedge/federations")


FILES = (
    "federation.toml",
    "device.toml",
    "ca.pem",
    "aggregator/identity.pem",
    "aggregator/watch.pem",
    "aggregator/signing.key",
    "aggregator/signing.pub",
    "registrar/registrar.toml",
    "registrar/registrar.db",
    "registrar/ca.key",
    "registrar/identity.pem",
    "broker/mosquitto.conf",
    "broker/ca.pem",
    "broker/identity.pem",
    "broker/acl",
    "broker/passwords",
    "broker/crl.pem",
)
"""The files that `fedge init` makes: if one is missing, it was interrupted."""


def look_up(source: Path, federations: Path = FEDERATIONS) -> Path:
    """The given folder of `fedge init`, or the installed one of this name; nothing is changed.

    Raises:
        ConfigError: it is not a federation's folder, or `fedge init` was interrupted there.
    """
    folder = source
    if not source.exists() and (federations / source.name).is_dir():
        folder = federations / source.name
    name = federation_of(folder)
    if missing := [file for file in FILES if not (folder / file).exists()]:
        raise ConfigError(
            f"{folder}: {', '.join(missing)} {'are' if len(missing) > 1 else 'is'} missing, so "
            f"`fedge init` was interrupted: run `fedge init {name} --folder {folder}` again, with the same "
            "other options; it makes what is missing and changes nothing else"
        )
    return folder


def take_in(source: Path, federations: Path = FEDERATIONS) -> Path:
    """Move the federation's folder to its final place, so that there is one copy of the authority's key.

    Returns:
        The new path.

    Raises:
        ConfigError: it is not a federation's folder, or another one is there already.
    """
    name = federation_of(source)
    folder = federations / name
    source = source.resolve()
    if source == folder.resolve():
        return folder
    if folder.exists():
        raise ConfigError(
            f"{folder} exists already, so {source} cannot be moved there: keep one of the two folders, and "
            "move the other one away"
        )
    if (source / "broker").is_symlink():
        raise ConfigError(
            f"{source} shares the broker of another federation, so it cannot be moved: make it in its final "
            f"place, with fedge init {name} … --folder {folder}"
        )
    say(f"move {source} to {folder}")
    make_folder(federations, mode=0o755)
    mask = os.umask(0o077)  # a move to another disk copies, and sets the files' modes last
    try:
        shutil.move(source, folder)
    finally:
        os.umask(mask)
    permit(folder, 0o755)
    conf = folder / "broker" / "mosquitto.conf"
    text = read_file(conf).decode().replace(f" {source}/broker", f" {folder}/broker")
    units.place(conf, text.encode(), 0o640)
    return folder


def federation_of(folder: Path) -> str:
    """The name of the federation whose folder this is.

    Raises:
        ConfigError: it is not a federation's folder.
    """
    settings = folder / "federation.toml"
    try:
        name = tomllib.loads(read_file(settings).decode("utf-8-sig"))["federation"]["name"]
    except OSError as error:
        raise ConfigError(
            f"{settings}: {error.strerror}; `fedge init NAME` makes a federation's folder"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{settings}: [federation] name cannot be read: {error}") from None
    if not isinstance(name, str) or re.fullmatch(FEDERATION, name) is None:
        raise ConfigError(
            f"{settings}: [federation] name: {name!r} is not a name: expected 1 to 31 of a-z, 0-9 and '-'"
        )
    return name


def folders() -> list[Path]:
    """The folders of all installed federations, by name."""
    return sorted(path for path in FEDERATIONS.glob("*") if path.is_dir())
