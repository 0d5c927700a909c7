"""`fedge-aggregator backup FILE`: copy the ledger of one moment, whether its aggregator works or not."""

import argparse
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from aggregator.backup import archive
from aggregator.backup.archive import About
from aggregator.backup.state_dir import load
from aggregator.config import FederationSettings
from aggregator.ledger.layout import FILE, HAS_SEGMENTS
from aggregator.ledger.writing import Ledger
from fedge import __version__
from fedge.errors import DamagedState, StateError
from fedge.storage.atomic_files import exists
from fedge.storage.databases import database_error, open_read_only
from fedge.storage.folders import opened
from fedge.storage.pinning import pinned
from fedge.storage.segments import FileSegments, place
from fedge.storage.temporary import temporary_folder

ATTEMPTS = 5
"""How often a ledger is copied that another program changes meanwhile."""


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's arguments."""
    parser = commands.add_parser("backup", help="copy the ledger into one file, while the aggregator works")
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="the file to write; an older backup is replaced"
    )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    about = backup(load(options.config), options.file)
    print(
        f"{options.file}: federation {about.federation}, round {about.generation}.{about.round}, "
        f"{about.size:,} bytes"
    )
    return 0


def backup(settings: FederationSettings, file: Path) -> About:
    """Copy the ledger, as it is at one moment, into `file`; the aggregator may run meanwhile.

    While it runs, the disk needs room for a second copy beside the file.

    Raises:
        DamagedState: the ledger is damaged; no backup is made, and an older one stays.
        StateError: there is no ledger, the file cannot be written, or there is a file that is not a backup.
    """
    if file.exists():
        archive.read_about(file)  # never replace a file that is not a backup
    source = settings.state.folder / FILE
    try:
        with opened(file.parent):
            pass  # refuses links, which could lead root elsewhere
        with temporary_folder(prefix=f".{file.name}.", parent=file.parent) as folder:
            about = _copy(settings.federation.name, source, folder / FILE)
            archive.write(file, about, folder / FILE)
    except OSError as error:
        raise StateError(f"{file}: cannot be written: {error.strerror or error}") from error
    return about


def _copy(federation: str, source: Path, target: Path) -> About:
    """Copy a ledger as it is at one moment, with the frames in segments put into the table; check the copy.

    In WAL mode a reader does not block the writer. Meanwhile a segment may be deleted, because its round is
    no longer kept, or overwritten by `fedge forget`. Then the newer ledger does not refer to it, and is
    copied instead.
    """
    if not exists(source):
        raise StateError(f"{source}: there is no ledger; the aggregator makes it when it first runs")
    try:
        with closing(open_read_only(source)) as reading:
            for attempt in range(ATTEMPTS):
                version = _version(reading)
                try:
                    with closing(_open_new(target)) as writing:
                        reading.backup(writing)
                        _take_in(writing, FileSegments(source))
                    return _describe(federation, target)
                except DamagedState:
                    if attempt == ATTEMPTS - 1 or _version(reading) == version:
                        raise
        raise AssertionError("the last attempt returns or raises")
    except sqlite3.Error as error:
        raise database_error(source, error) from error


def _version(ledger: sqlite3.Connection) -> int:
    """A number that changes with each transaction of another program."""
    (version,) = ledger.execute("PRAGMA data_version").fetchone()
    return int(version)


def _take_in(copy: sqlite3.Connection, segments: FileSegments) -> None:
    """Put all frames into the table of a copy, whose updates its digests check."""
    copy.execute("PRAGMA journal_mode=MEMORY")  # it is no backup before it is complete
    (layout,) = copy.execute("PRAGMA user_version").fetchone()
    if layout < HAS_SEGMENTS:
        return
    rows = copy.execute("SELECT rowid, segment, offset, length FROM frames WHERE segment IS NOT NULL")
    with closing(segments):
        for row, *found in rows.fetchall():
            try:
                at = place(*found)
            except ValueError as error:
                raise DamagedState(f"{FILE}: is damaged (where a frame is: {error})") from error
            copy.execute(
                "UPDATE frames SET data = ?, segment = NULL, offset = NULL, length = NULL WHERE rowid = ?",
                (segments.read(at), row),
            )
    copy.commit()


def _open_new(path: Path) -> sqlite3.Connection:
    with pinned(path, make=True) as address:
        return sqlite3.connect(address, uri=True)


def _describe(federation: str, copy: Path) -> About:
    """Check the copy, and describe it."""
    ledger = Ledger(copy)
    try:
        ledger.check_contents()
        ledger.check_updates()
        meta, newest = ledger.meta(), ledger.newest_round()
    finally:
        ledger.close()
    if meta is None or newest is None:
        raise StateError(f"{FILE}: no round has been opened yet, so there is nothing to back up")
    size, digest = archive.digest_of(copy)
    return About(
        fedge=__version__,
        federation=federation,
        ledger=meta.ledger.hex(),
        generation=newest.generation,
        round=newest.round,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        size=size,
        sha256=digest,
    )
