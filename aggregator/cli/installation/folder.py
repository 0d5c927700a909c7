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
"""The files of `fedge init`: if one is missing, it was interrupted."""


def look_up(source: Path, federations: Path = FEDERATIONS) -> Path:
    """The given folder of `fedge init`, or the installed one of this name; nothing is changed.

    Raises:
        ConfigError: it is no federation's folder, or `fedge init` was interrupted there.
    """
    folder = source
    if not source.exists() and (federations / source.name).is_dir():
        folder = federations / source.name
    name = federation_of(folder)
    if missing := [file for file in FILES if not (folder / file).exists()]:
        raise ConfigError(
            f"{folder}: {', '.join(missing)} {'are' if len(missing) > 1 else 'is'} missing, as after a "
            f"`fedge init` that was cut short: run it again, `fedge init {name} --folder {folder}` with its "
            "other options as before; it makes what is missing and changes nothing else"
        )
    return folder


def take_in(source: Path, federations: Path = FEDERATIONS) -> Path:
    """Move the federation's folder to its final place and return that; so there is one copy of the
    authority's key.

    Raises:
        ConfigError: it is no federation's folder, or another one is there already.
    """
    name = federation_of(source)
    folder = federations / name
    source = source.resolve()
    if source == folder.resolve():
        return folder
    if folder.exists():
        raise ConfigError(f"{folder} is there already: which of the two is it? Move {source} away, or it")
    if (source / "broker").is_symlink():
        raise ConfigError(f"{source} shares a broker: make it with fedge init {name} … --folder {folder}")
    say(f"move {source} to {folder}")
    make_folder(federations, mode=0o755)
    mask = os.umask(0o077)  # to another disk it copies, and a copy has the modes only when it is whole
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
        ConfigError: it is no federation's folder.
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
        raise ConfigError(f"{settings}: [federation] name: {name!r} is no federation's name")
    return name


def folders() -> list[Path]:
    """The folders of all installed federations, by name."""
    return sorted(path for path in FEDERATIONS.glob("*") if path.is_dir())
