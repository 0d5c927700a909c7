"""A roster: the devices that an owner knows, each with the fingerprint of its certificate's key.

One device a line, its id and the fingerprint, as `fedge-agent roster` and `fedge roster` print them; # begins
a comment. A device may stand on several lines: any of its keys is accepted, as during renewals.

    pump-1 4f0c…(64 hexadecimal digits)
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fedge.errors import ConfigError
from fedge.identity.certified_keys import fingerprint
from fedge.wire.topics import DEVICE_ID

MAX_BYTES = 8_000_000
"""The largest file that is read."""
_LINE = re.compile(rf"({DEVICE_ID.strip('^$')})\s+([0-9a-f]{{64}})")


@dataclass(frozen=True)
class PinnedRoster:
    """The fingerprints of each device's keys, by its id."""

    pins: dict[str, frozenset[str]]

    @property
    def devices(self) -> frozenset[str]:
        """The devices that it names."""
        return frozenset(self.pins)

    def objection(self, device: str, key: bytes) -> str | None:
        """Why this is not the key of a device that the owner knows; None: it is.

        Args:
            device: its id.
            key: of its certificate, a compressed point of P-256.
        """
        if device not in self.pins:
            return f"this device's owner does not know {device}: the roster has no such device"
        if fingerprint(key) not in self.pins[device]:
            return (
                f"the roster has another key of {device}: it was enrolled again, or renewed its certificate"
            )
        return None


def line_of(device: str, key: bytes) -> str:
    """The line of a device.

    Args:
        device: its id.
        key: of its certificate, a compressed point of P-256.
    """
    return f"{device} {fingerprint(key)}"


def read_roster(path: Path) -> PinnedRoster:
    """Read a roster.

    Raises:
        ConfigError: it cannot be read, names no device, or a line is something else.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ConfigError(f"{path}: longer than {MAX_BYTES:,} bytes")
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not a text in UTF-8") from None
    pins: dict[str, frozenset[str]] = {}
    for device, pin in _lines(path, text):
        pins[device] = pins.get(device, frozenset()) | {pin}
    if not pins:
        raise ConfigError(f"{path}: names no device; `fedge-agent roster` prints a device's line")
    return PinnedRoster(pins)


def _lines(path: Path, text: str) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        entry = line.partition("#")[0].strip()
        if not entry:
            continue
        found = _LINE.fullmatch(entry)
        if found is None:
            raise ConfigError(
                f"{path}:{number}: expected a device's id and the 64 hexadecimal digits of its key's "
                "fingerprint, as `fedge-agent roster` prints them"
            )
        yield found[1], found[2]
