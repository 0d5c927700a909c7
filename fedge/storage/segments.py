"""Append-only files beside a database, for values that are too big to be written twice.

SQLite writes a value into its write-ahead log, and again into the database at the next checkpoint. A value
in a segment is written once, and the database has its `Place` alone. This order makes both durable together:

1. `append` the values, 2. `sync`, 3. commit the places.

After a power cut, whatever has no committed place is not there. Bytes are never written to a second time, so
a place stays right, and an older copy of the database still finds what it refers to as long as the file is
there. (The number of a deleted segment may be used again after a restart; a digest tells the difference.) A
segment is deleted when no place refers to it (`keep`). Whoever keeps the places moves the values of a segment
that is mostly unused (`ended`), so that it can be deleted.
"""

import os
import re
from collections.abc import Collection, Iterable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, Protocol

from fedge.errors import DamagedState, StateError
from fedge.storage.folders import adopt, opened
from fedge.storage.paths import ROOT

SUFFIX = "-updates"
"""What the folder's name has after that of its database."""
LARGEST = 64 * 2**20
"""Bytes after which a new segment begins."""
AT_ONCE = 2**20
"""Bytes that `append` gathers before it writes them. Each write lets another thread of the program have its
turn, and it may take 5 ms until that one gives it back."""
PIECES = 512
"""Values in one write; Linux takes 1,024."""
OPEN_AT_ONCE = 8
"""Segments that are held open for reading."""
ZEROS = bytes(2**20)
_FAR = 2**40
"""More than any offset or length."""
_FILE = re.compile(r"[1-9][0-9]{0,17}")


class Place(NamedTuple):
    """Where a value is."""

    segment: int
    offset: int
    length: int


def place(segment: object, offset: object, length: object) -> Place:
    """The place that a row names.

    Raises:
        ValueError: they name none.
    """
    if (
        isinstance(segment, int)
        and isinstance(offset, int)
        and isinstance(length, int)
        and segment > 0
        and 0 <= offset < _FAR
        and 0 <= length < _FAR
    ):
        return Place(segment, offset, length)
    raise ValueError(f"no place: segment {segment!r}, offset {offset!r}, length {length!r}")


class Segments(Protocol):
    """The segments of one database."""

    @property
    def newest(self) -> int:
        """The number of the segment that was begun last; 0: none yet by this program."""

    def append(self, data: bytes) -> Place:
        """Write a value; it is durable after `sync`.

        Raises:
            StateError: the disk is full, read-only or failing.
        """

    def sync(self) -> None:
        """Make everything that was appended durable.

        Raises:
            StateError: as `append`.
        """

    def undo(self) -> None:
        """Free what was appended since the last `sync`, whose places were not committed."""

    def read(self, place: Place) -> bytes:
        """Read a value.

        Raises:
            DamagedState: the segment is missing or too short.
            StateError: it cannot be read.
        """

    def roll(self) -> None:
        """Let the next value begin a new segment, so that those of one round can be deleted together."""

    def ended(self) -> dict[int, int]:
        """The sizes in bytes of the segments to which nothing is appended any more, by their numbers.

        Raises:
            StateError: they cannot be read.
        """

    def keep(self, segments: Collection[int]) -> None:
        """Delete all other segments.

        Raises:
            StateError: the disk is read-only or failing.
        """

    def erase(self, places: Iterable[Place]) -> None:
        """Overwrite everything but these places with zeros, durably.

        Raises:
            DamagedState: a segment is missing.
            StateError: the disk is read-only or failing.
        """

    def close(self) -> None:
        """Close all files."""


class FileSegments:
    """Segments as files `1`, `2`, … in the folder `DATABASE-updates`.

    Args:
        database: the path of the database; the folder is made with the first value.
    """

    def __init__(self, database: Path) -> None:
        self._folder = database.with_name(database.name + SUFFIX)
        self._number = self._end = self._synced = 0
        self._writing = -1
        self._unsynced = False
        self._gathered: list[bytes] = []
        """The values at the end that are not written yet."""
        self._gathered_from = 0
        """The offset of the first of them."""
        self._reading: dict[int, int] = {}

    @property
    def newest(self) -> int:
        """As `Segments.newest`."""
        return self._number

    def append(self, data: bytes) -> Place:
        """As `Segments.append`."""
        try:
            if self._writing < 0 or self._end >= LARGEST:
                self._begin()
            place = Place(self._number, self._end, len(data))
            self._end += len(data)  # also if it is never written: no place is used twice
            self._unsynced = True
            self._gathered.append(data)
            if self._end - self._gathered_from >= AT_ONCE or len(self._gathered) == PIECES:
                self._write()
        except OSError as error:
            raise self._error(error) from error
        return place

    def sync(self) -> None:
        """As `Segments.sync`."""
        if self._unsynced:
            try:
                self._write()
                os.fdatasync(self._writing)
            except OSError as error:
                raise self._error(error) from error
            self._unsynced, self._synced = False, self._end

    def undo(self) -> None:
        """As `Segments.undo`; the next value begins a new segment, because no place is used twice."""
        self._gathered.clear()
        if self._unsynced:
            with suppress(OSError):  # then it stays until the segment is deleted
                os.ftruncate(self._writing, self._synced)
            with suppress(OSError):
                os.close(self._writing)
            self._writing, self._unsynced = -1, False

    def read(self, place: Place) -> bytes:
        """As `Segments.read`."""
        try:
            if place.segment == self._number and place.offset + place.length > self._gathered_from:
                self._write()
            descriptor = self._reading.get(place.segment, -1)
            if descriptor < 0:
                descriptor = self._open(place.segment)
            if place.offset + place.length > os.fstat(descriptor).st_size:
                raise self._too_short(place)  # before there is memory for it
            data = os.pread(descriptor, place.length, place.offset)
            while 0 < len(data) < place.length:
                more = os.pread(descriptor, place.length - len(data), place.offset + len(data))
                if not more:
                    break
                data += more
        except FileNotFoundError:
            raise DamagedState(f"{self._folder / str(place.segment)}: is missing") from None
        except OSError as error:
            raise self._error(error) from error
        if len(data) != place.length:
            raise self._too_short(place)
        return data

    def roll(self) -> None:
        """As `Segments.roll`."""
        if self._writing >= 0:
            self.sync()
            os.close(self._writing)
            self._writing = -1

    def ended(self) -> dict[int, int]:
        """As `Segments.ended`."""
        sizes = {}
        try:
            with opened(self._folder) as folder:
                for name in folder.names():
                    if _FILE.fullmatch(name) and not self._writes(int(name)):
                        found = folder.find(name)
                        if found is not None:
                            sizes[int(name)] = found.st_size
        except FileNotFoundError:
            pass  # nothing was written yet
        except OSError as error:
            raise self._error(error) from error
        return sizes

    def keep(self, segments: Collection[int]) -> None:
        """As `Segments.keep`."""
        try:
            with opened(self._folder) as folder:
                for name in folder.names():
                    if _FILE.fullmatch(name) and int(name) not in segments and not self._writes(int(name)):
                        self._forget(int(name))
                        folder.unlink(name)
        except FileNotFoundError:
            pass  # nothing was written yet
        except OSError as error:
            raise self._error(error) from error

    def erase(self, places: Iterable[Place]) -> None:
        """As `Segments.erase`."""
        used: dict[int, list[tuple[int, int]]] = {}
        for place in places:
            used.setdefault(place.segment, []).append((place.offset, place.offset + place.length))
        self.roll()
        self.keep(used)
        try:
            for number, spans in used.items():
                with opened(self._folder) as folder, folder.file(str(number), os.O_RDWR) as descriptor:
                    end = os.fstat(descriptor).st_size
                    for (_, begin), (until, _) in pairwise([(0, 0), *sorted(spans), (end, end)]):
                        until = min(until, end)  # also where a place is behind it, because it is damaged
                        while begin < until:
                            begin += os.pwrite(descriptor, ZEROS[: until - begin], begin)
                    os.fsync(descriptor)
        except FileNotFoundError as error:
            raise DamagedState(f"{self._folder}: a segment is missing") from error
        except OSError as error:
            raise self._error(error) from error

    def close(self) -> None:
        """As `Segments.close`."""
        with suppress(StateError):
            self.roll()
        for number in tuple(self._reading):
            self._forget(number)

    def _begin(self) -> None:
        """Begin a new segment; its number is free in the folder."""
        self.roll()
        with opened(self._folder, make=0o700) as folder:
            if self._number == 0:
                with opened(self._folder.parent) as parent:
                    if os.geteuid() == folder.owner[0] == ROOT:  # made for the service's user
                        parent.give(self._folder.name, *parent.owner)
                    parent.sync()
            numbers = [int(name) for name in folder.names() if _FILE.fullmatch(name)]
            self._number, self._end, self._synced = max([self._number, *numbers]) + 1, 0, 0
            self._gathered_from = 0
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
            with folder.file(str(self._number), flags) as descriptor:
                adopt(folder, descriptor)
                folder.sync()  # before anything is written to it: a value is nowhere without its file's name
                self._writing = os.dup(descriptor)

    def _write(self) -> None:
        """Write what has gathered."""
        pieces = [memoryview(data) for data in self._gathered]
        at, self._gathered_from = self._gathered_from, self._end
        self._gathered.clear()
        while pieces:
            written = os.pwritev(self._writing, pieces, at)
            at += written
            while pieces and written >= len(pieces[0]):
                written -= len(pieces.pop(0))
            if written:
                pieces[0] = pieces[0][written:]

    def _open(self, number: int) -> int:
        while len(self._reading) >= OPEN_AT_ONCE:
            self._forget(next(iter(self._reading)))
        with opened(self._folder) as folder, folder.file(str(number)) as descriptor:
            self._reading[number] = os.dup(descriptor)
        return self._reading[number]

    def _forget(self, number: int) -> None:
        descriptor = self._reading.pop(number, -1)
        if descriptor >= 0:
            os.close(descriptor)

    def _writes(self, number: int) -> bool:
        return self._writing >= 0 and number == self._number

    def _too_short(self, place: Place) -> DamagedState:
        end = place.offset + place.length
        return DamagedState(f"{self._folder / str(place.segment)}: is damaged (it ends before byte {end})")

    def _error(self, error: OSError) -> StateError:
        return StateError(f"{self._folder}: {error.strerror or error}")
