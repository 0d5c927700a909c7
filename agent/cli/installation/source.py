"""The source of an installed device's identity: a bundle, a folder, or a token."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from fedge.errors import ConfigError
from fedge.identity import bundle
from fedge.identity.device_names import as_id
from fedge.storage.files import read_file
from fedge.wire.topics import DEVICE_ID, FEDERATION


@dataclass(frozen=True)
class Claim:
    """A token, and the name with which this device joins."""

    federation: str
    device: str
    token: str


Source = Path | Claim
"""The source of a device's identity: a bundle or folder, or a claim."""


def read_source(source: Path) -> dict[str, bytes]:
    """Read the files of a bundle, or of the folder that `fedge-agent join` made.

    Raises:
        ConfigError: the source is neither, or holds no identity.
    """
    try:
        if source.is_dir():
            known = sorted(bundle.REQUIRED | {bundle.IDENTITY})
            files = {name: read_file(source / name) for name in known if (source / name).is_file()}
        else:
            files = bundle.unpack(source.read_bytes())
    except OSError as error:
        raise ConfigError(f"{source}: cannot be read: {error.strerror}") from None
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None
    if missing := sorted({bundle.AGENT, bundle.CA, bundle.IDENTITY} - files.keys()):
        hint = (
            "; if the bundle answers a request, use `fedge-agent join` where the request was made"
            if source.is_file()
            else ""
        )
        raise ConfigError(f"{source}: {', '.join(missing)} is missing{hint}")
    return files


def identity_of(agent_toml: bytes, source: Path) -> tuple[str, str]:
    """Return the federation's name, which is the service's too, and the device's id.

    Args:
        agent_toml: the content of the configuration.
        source: where it is from, for messages.

    Raises:
        ConfigError: the content is not TOML, or one of the names is missing or not allowed.
    """
    try:
        settings = tomllib.loads(agent_toml.decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{source}: agent.toml: not valid TOML: {error}") from None
    federation, device = settings.get("federation"), settings.get("device")
    if not isinstance(federation, str) or re.fullmatch(FEDERATION, federation) is None:
        raise ConfigError(f"{source}: agent.toml: federation: {federation!r} is not the name of a federation")
    if not isinstance(device, str) or re.fullmatch(DEVICE_ID, as_id(device)) is None:
        raise ConfigError(f"{source}: agent.toml: device: {device!r} is not the id of a device")
    return federation, as_id(device)
