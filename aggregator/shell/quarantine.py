"""The list of devices that an operator has set aside: `fedge quarantine` writes it, the aggregator reads it.

A file of text beside the federation's configuration, which every user of this machine may read, and only who
keeps the federation may write: one device a line, and since when. So the aggregator needs no rights and no
connection to whoever writes it, and who comes after a restart reads the same.
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
        raise StateError(f"{path}: is no list of devices: `fedge quarantine` writes it anew") from None
    listed: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        device, _, since = line.strip().partition(" ")
        if re.fullmatch(DEVICE_ID, device) is None:
            raise StateError(f"{path}, line {number}: {device[:40]!r} is no device's id; correct the line")
        listed[device] = since.strip()
    return listed


def write(path: Path, listed: Mapping[str, str]) -> None:
    """Replace the whole list durably; every user of this machine may read it.

    Raises:
        StateError: it cannot be written; the older one is untouched.
    """
    lines = (f"{device} {since}".rstrip() + "\n" for device, since in sorted(listed.items()))
    atomic_write(path, (HEAD + "".join(lines)).encode(), mode=0o644, exact=True)


class QuarantineList:
    """The list, checked for changes again and again.

    Raises:
        StateError: it cannot be read now; later such a list is named in the log, and the one before holds.
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
        except StateError as error:  # tried again with each look, and said once
            if f"{error}" != self._said:
                log.error("%s; whoever was in quarantine before stays there", error)
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
