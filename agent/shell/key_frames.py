"""The key frame that coded models refer to: an earlier model, in memory and in a file of its own."""

import logging
from pathlib import Path

from fedge.errors import ProtocolError, StateError
from fedge.storage.atomic_files import atomic_write
from fedge.storage.files import read_file
from fedge.wire.models import Key, read_key

log = logging.getLogger("fedge.agent")

FILE = "model.key"
"""The name, in the state folder, of the file with the key frame. It saves a download after a restart: what is
not the key frame that an announcement names is not used."""


class KeyFrames:
    """The newest key frame that the device has.

    Args:
        path: its file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._key = _stored(path)

    @property
    def digest(self) -> bytes | None:
        """The digest of the key frame that the device has; None: it has none."""
        return self._key.digest if self._key is not None else None

    def held(self, digest: bytes) -> Key | None:
        """The key frame with this digest; None: another one is here, or none."""
        return self._key if self._key is not None and self._key.digest == digest else None

    def take(self, data: bytes) -> None:
        """Keep a key frame. If its file cannot be written, this is logged: it is fetched after a restart.

        Raises:
            ProtocolError: it is no model in float32.
        """
        self._key = read_key(data)
        try:
            atomic_write(self._path, data)
        except StateError as error:
            log.warning("%s; it will be fetched again after a restart", error)


def _stored(path: Path) -> Key | None:
    try:
        return read_key(read_file(path))
    except FileNotFoundError:
        return None
    except (OSError, ProtocolError) as error:
        log.warning("%s: the key frame cannot be read, and will be fetched again: %s", path, error)
        return None
