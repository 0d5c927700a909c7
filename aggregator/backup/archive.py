"""The file format of backups: a tar of exactly `backup.json`, the description, and then `ledger.db`.

`tar xf` unpacks it. The digest in `backup.json` covers every byte of the ledger. SQLite itself detects damage
to its pages, but not a flipped bit in a number or in a weight.
"""

import hashlib
import io
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aggregator.ledger.layout import FILE
from fedge.errors import StateError
from fedge.storage.files import reading, written
from fedge.wire.messages.fields import MAX_COUNTER
from fedge.wire.topics import LONGEST_FEDERATION

ABOUT = "backup.json"
LARGEST_ABOUT = 65_536
CHUNK = 2**20


class About(BaseModel):
    """The description of a backup, `backup.json`."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    fedge: str = Field(max_length=40)
    """The version of the program that made it."""
    federation: str = Field(max_length=LONGEST_FEDERATION)
    ledger: str = Field(pattern="^[0-9a-f]{32}$")
    """The id of the copied ledger."""
    generation: int = Field(ge=1, le=MAX_COUNTER)
    round: int = Field(ge=0, le=MAX_COUNTER)
    """The round that was open."""
    made_at: str = Field(max_length=40)
    """Date and time by the server's clock, for people."""
    size: int = Field(ge=1)
    """Size of the ledger in bytes."""
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """SHA-256 of the ledger, in hex."""


def digest_of(path: Path) -> tuple[int, str]:
    """Size in bytes and SHA-256 in hex of a file."""
    with reading(path) as file:
        return os.fstat(file.fileno()).st_size, hashlib.file_digest(
            cast(BufferedReader, file), "sha256"
        ).hexdigest()


def write(path: Path, about: About, database: Path) -> None:
    """Write a backup, or replace the one of that name, as a whole and durably; only its owner can read it.

    Raises:
        StateError: the file cannot be written; an older one is unchanged.
    """
    with (
        written(path, mode=0o600) as file,
        reading(database) as ledger,
        tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        text = about.model_dump_json(indent=2).encode() + b"\n"
        tar.addfile(_entry(ABOUT, len(text)), io.BytesIO(text))
        tar.addfile(_entry(FILE, about.size), ledger)


def read_about(path: Path) -> About:
    """Read the description of a backup.

    Raises:
        StateError: the file is not a backup, or is damaged.
    """
    with _opened(path) as (about, _):
        return about


def extract(path: Path, target: Path) -> About:
    """Copy the ledger out of a backup into a new file that only its owner can read; every byte is checked.

    Raises:
        StateError: the file is not a backup, or is damaged, or the disk is full, read-only or failing.
    """
    with _opened(path) as (about, ledger):
        found, size = hashlib.sha256(), 0
        with written(target, mode=0o600) as file:
            while chunk := ledger.read(CHUNK):
                file.write(chunk)
                found.update(chunk)
                size += len(chunk)
        if (size, found.hexdigest()) != (about.size, about.sha256):
            raise StateError(
                f"{path}: is damaged (the ledger in it does not match its SHA-256); use another backup"
            )
        return about


@contextmanager
def _opened(path: Path) -> Iterator[tuple[About, IO[bytes]]]:
    """The description, and a stream of the ledger; no file is made under a name from the archive."""
    try:
        with reading(path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            first, second = tar.next(), tar.next()
            names = [entry.name for entry in (first, second) if entry is not None and entry.isreg()]
            if first is None or second is None or names != [ABOUT, FILE] or first.size > LARGEST_ABOUT:
                raise StateError(
                    f"{path}: is not a backup of Fedge, which holds {ABOUT} and {FILE}; name another file"
                )
            text, ledger = tar.extractfile(first), tar.extractfile(second)
            assert text is not None
            assert ledger is not None
            yield About.model_validate_json(text.read()), ledger
    except OSError as error:
        raise StateError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (tarfile.TarError, ValidationError) as error:
        raise StateError(f"{path}: is not a backup of Fedge, or is damaged ({_brief(error)})") from error
    except ValueError as error:  # tarfile does not catch all errors of int() and seek()
        raise StateError(
            f"{path}: is not a backup of Fedge, or is damaged (its headers cannot be read)"
        ) from error


def _brief(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return f"{ABOUT}: " + "; ".join(detail["msg"] for detail in error.errors(include_url=False))
    return str(error)


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o600
    return entry
