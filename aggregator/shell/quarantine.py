"""The list of devices that an operator has set aside: `fedge quarantine` writes it, the aggregator reads it.

It is a text file beside the federation's configuration, with one device a line, and since when. Every user of
this machine may read it, and only the owner of the federation's folder may write it. So the aggregator needs
no rights for it, and reads the same list after a restart.
"""

import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from fedge.errors import StateError
from fedge.storage.atomic_files import atomic_write
from fedge.storage.files import read_file, reading
from fedge.wire.topics import DEVICE_ID

log = logging.getLogger("fedge.aggregator")

LOOK_S = 1.0
"""How often an idle aggregator checks whether the list has changed."""
LARGEST = 10_000_000
HEAD = "# Devices that do not count, written by `fedge quarantine`: one a line, and since when.\n"


def read(path: Path) -> dict[str, str]:
    """The devices in quarantine, and since when (ISO 8601, or empty); none if there is no file.

    Raises:
        StateError: it cannot be read, or a line names no device.
    """
    try:
        text = read_file(path, LARGEST).decode()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StateError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise StateError(
            f"{path}: is not text in UTF-8: correct it, or remove it and run `fedge quarantine` again"
        ) from None
    listed: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        device, _, since = line.strip().partition(" ")
        if re.fullmatch(DEVICE_ID, device) is None:
            raise StateError(f"{path}, line {number}: {device[:40]!r} is not a device id; correct the line")
        listed[device] = since.strip()
    return listed


def write(path: Path, listed: Mapping[str, str]) -> None:
    """Replace the whole list durably; every user of this machine may read it.

    Raises:
        StateError: it cannot be written; the older one is unchanged.
    """
    lines = (f"{device} {since}".rstrip() + "\n" for device, since in sorted(listed.items()))
    atomic_write(path, (HEAD + "".join(lines)).encode(), mode=0o644, exact=True)


class QuarantineList:
    """The list, which is checked for changes while rounds run.

    Raises:
        StateError: the list cannot be read at the start. Later, such an error is logged, and the last list
            that could be read stays in force.
    """

    def __init__(self, path: Path, now_s: Callable[[], float] = time.monotonic) -> None:
        self._path, self._now_s = path, now_s
        self._due_s = now_s() + LOOK_S
        self._seen, self._said = self._signature(), ""
        self.devices = frozenset(read(path))

    def has_changed(self) -> bool:
        """Whether devices were added or removed; checked once in `LOOK_S`. `devices` has the present ones."""
        if self._now_s() < self._due_s:
            return False
        self._due_s = self._now_s() + LOOK_S
        seen = self._signature()
        if seen == self._seen:
            return False
        try:
            devices = frozenset(read(self._path))
        except StateError as error:  # tried again with each check, and logged once
            if f"{error}" != self._said:
                log.error("%s; until then the devices that were in quarantine stay in it", error)
            self._said = f"{error}"
            return False
        self._seen, self._said = seen, ""
        changed, self.devices = devices != self.devices, devices
        return changed

    def _signature(self) -> tuple[int, ...] | None:
        """A value that changes with the file, which may be a link; None: there is no file."""
        try:
            with reading(self._path) as file:
                found = os.fstat(file.fileno())
        except FileNotFoundError:
            return None
        except OSError as error:
            return (error.errno or 0,)
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
