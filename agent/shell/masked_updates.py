"""The tables `masked` and `masking` of a device's memory: the promised update, and secure aggregation."""

import sqlite3
from hashlib import sha256
from pathlib import Path

from agent.core.state import MaskedUpdate
from fedge.errors import DamagedState
from fedge.storage.databases import database_error
from fedge.wire.freshness import RoundId

COLUMNS = "generation, round, base, value_bits, clip, weight, levels, drawn, promised"


def examine(db: sqlite3.Connection, path: Path) -> None:
    """Check both rows against their proofs.

    Raises:
        DamagedState: one does not match.
        StateError: the database cannot be read.
    """
    try:
        masked = db.execute(f"SELECT {COLUMNS}, proof FROM masked").fetchone()  # noqa: S608 # a text of ours
        masking = db.execute("SELECT state, proof FROM masking").fetchone()
    except sqlite3.Error as error:
        raise database_error(path, error) from error
    if masked is not None and masked[-1] != _proof_of(masked[:-1]):
        raise DamagedState(f"{path}: is damaged (the promised update does not match its proof)")
    if masking is not None and masking[1] != _proof((masking[0],)):
        raise DamagedState(f"{path}: is damaged (the state of secure aggregation does not match its proof)")


def read(db: sqlite3.Connection) -> MaskedUpdate | None:
    """Return the promised update; None: there is none."""
    row = db.execute(f"SELECT {COLUMNS} FROM masked").fetchone()  # noqa: S608 # a text of ours
    return MaskedUpdate(RoundId(row[0], row[1]), *row[2:]) if row else None


def replace(db: sqlite3.Connection, update: MaskedUpdate | None) -> None:
    """Write the promised update anew, or drop it; call this in the transaction that saves the promise."""
    if update is None:
        db.execute("DELETE FROM masked")
        return
    row = (
        *update.round,
        update.base,
        update.value_bits,
        update.clip,
        update.weight,
        update.levels,
        update.drawn,
        update.promised,
    )
    places = ", ".join("?" * (len(row) + 1))
    db.execute(
        f"REPLACE INTO masked (one, {COLUMNS}, proof) VALUES (1, {places})",  # noqa: S608 # a text of ours
        (*row, _proof_of(row)),
    )


def read_state(db: sqlite3.Connection) -> bytes | None:
    """Return the state in secure aggregation; None: there is none."""
    row = db.execute("SELECT state FROM masking").fetchone()
    return bytes(row[0]) if row else None


def save_state(db: sqlite3.Connection, state: bytes) -> None:
    """Write the state in secure aggregation anew."""
    db.execute("REPLACE INTO masking VALUES (1, ?, ?)", (state, _proof((state,))))


def _proof_of(row: tuple[object, ...]) -> bytes:
    """Of a promised update. Without drawn bytes, or a promise, it is as before there were any."""
    row = row if row[-1] else row[:-1]
    return _proof(row if row[-1] else row[:-1])


def _proof(row: tuple[object, ...]) -> bytes:
    text = "|".join(each.hex() if isinstance(each, bytes) else repr(each) for each in row)
    return sha256(text.encode()).digest()[:8]
