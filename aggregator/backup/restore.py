"""`fedge-aggregator restore FILE`: replace the ledger by a backup, and keep the old one beside it."""

import argparse
import os
from pathlib import Path

from aggregator.backup import archive
from aggregator.backup.archive import About
from aggregator.backup.state_dir import load
from aggregator.config import FederationSettings
from aggregator.ledger.layout import FILE
from aggregator.ledger.reading import read_only
from aggregator.ledger.writing import Ledger
from fedge.errors import ConfigError, DamagedState, StateError
from fedge.storage.atomic_files import give_to_owner, make_folder, move, quarantine, remove
from fedge.storage.locks import lock
from fedge.storage.segments import SUFFIX
from fedge.wire.freshness import RoundId


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's arguments."""
    parser = commands.add_parser("restore", help="replace the ledger by a backup")
    parser.add_argument("file", type=Path, metavar="FILE", help="a file that `fedge-aggregator backup` made")
    parser.add_argument(
        "--force", action="store_true", help="replace also a ledger that is not older than the backup"
    )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    about, aside = restore(load(options.config), options.file, force=options.force)
    print(f"restored: federation {about.federation}, round {about.generation}.{about.round}")
    if aside is not None:
        print(f"the old ledger is kept as {aside}")
    print("next: start the aggregator; if devices have seen newer rounds, its log says so, and what to do")
    return 0


def restore(settings: FederationSettings, file: Path, *, force: bool) -> tuple[About, Path | None]:
    """Put the ledger of a backup into the state folder, after a complete check.

    Returns:
        The description of the backup, and the new path of the old ledger; None: there was none.

    Raises:
        Conflict: an aggregator is running with the state folder.
        ConfigError: it is another federation's backup, or the present ledger is not older, without `force`.
        StateError: the backup is damaged or of a newer program, or the state folder cannot be written.
    """
    folder = make_folder(settings.state.folder)
    held = lock(folder)
    try:
        path, temporary = folder / FILE, folder / f".{FILE}.restored"
        _clear(temporary)  # left by a restore that a power cut ended
        try:
            about = archive.extract(file, temporary)
            if about.federation != settings.federation.name:
                raise ConfigError(
                    f"{file}: is a backup of federation {about.federation!r}, and [federation] name is "
                    f"{settings.federation.name!r}; name that federation's configuration by --config"
                )
            _examine(temporary, file)
            if not force:
                _refuse_over_newer(path, about)
            # SQLite would replay a left-over write-ahead log into the restored ledger, and left-over segments
            # would be deleted, because the restored ledger does not refer to them.
            left = (*_files(path), path.with_name(path.name + SUFFIX))
            aside = quarantine(path) if any(map(os.path.lexists, left)) else None
            give_to_owner(folder, temporary)
            move(temporary, path)
        finally:
            _clear(temporary)
        return about, aside
    finally:
        os.close(held)


def _files(database: Path) -> list[Path]:
    """A database and the files that SQLite keeps beside it."""
    return [database.with_name(database.name + suffix) for suffix in ("-wal", "-shm", "")]


def _clear(database: Path) -> None:
    for file in _files(database):
        remove(file)


def _examine(temporary: Path, file: Path) -> None:
    """Check it as the aggregator will: pages, layout (an older one is migrated), contents and updates."""
    try:
        ledger = Ledger(temporary)
        try:
            ledger.check_contents()
            ledger.check_updates()
        finally:
            ledger.close()
    except StateError as error:
        text = str(error).replace(str(temporary), f"the ledger in {file}")
        raise type(error)(text) from error


def _refuse_over_newer(path: Path, about: About) -> None:
    if not path.exists():
        return
    try:
        with read_only(path) as ledger:
            found = ledger.newest_round()
    except DamagedState:
        return  # a damaged ledger may be replaced
    restored = RoundId(about.generation, about.round)
    if found is not None and found >= restored:
        raise ConfigError(
            f"{path}: is at round {found}, and the backup of {about.made_at} at {restored}: to restore "
            "it would put aside what was learnt and admitted since; to do that, add --force"
        )
