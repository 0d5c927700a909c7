"""What a device remembers over a restart, in one small SQLite database.

| table   | what it holds                                                                         |
|---------|---------------------------------------------------------------------------------------|
| seen    | one row: the newest (generation, round) this device has seen                          |
| outbox  | one row: the newest update and its bytes                                              |
| verdict | one row: what became of an update; beside it, so that its bytes are not written again |
| boots   | the last boot ids of this device: their late wills are its own                        |
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from agent.lifecycle import Saved
from fedge.errors import StateError
from fedge.freshness import RoundId
from fedge.store import open_database

BOOTS_KEPT = 16
_VERSION = 1
_SCHEMA = """
CREATE TABLE seen (
    one INTEGER PRIMARY KEY CHECK (one = 1), generation INTEGER NOT NULL, round INTEGER NOT NULL
);
CREATE TABLE outbox (
    one INTEGER PRIMARY KEY CHECK (one = 1), generation INTEGER NOT NULL, round INTEGER NOT NULL,
    digest BLOB NOT NULL, payload BLOB NOT NULL
);
CREATE TABLE verdict (one INTEGER PRIMARY KEY CHECK (one = 1), digest BLOB NOT NULL, verdict TEXT NOT NULL);
CREATE TABLE boots (n INTEGER PRIMARY KEY, boot BLOB NOT NULL)
"""


class Memory:
    """The device's database; each method is one durable transaction.

    Raises:
        StateError: from any method, when the disk is full, read-only or damaged; nothing has changed then.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db = open_database(path, _SCHEMA, _VERSION)

    def seen(self) -> RoundId:
        """The newest round seen; (0, 0) if none."""
        with self._clear_errors():
            row = self._db.execute("SELECT generation, round FROM seen").fetchone()
        return RoundId(*row) if row else RoundId(0, 0)

    def save_seen(self, round_id: RoundId) -> None:
        """Remember the newest round."""
        with self._clear_errors():
            self._db.execute("REPLACE INTO seen VALUES (1, ?, ?)", round_id)

    def saved(self) -> Saved | None:
        """What is known of the newest update."""
        with self._clear_errors():
            row = self._db.execute(
                "SELECT generation, round, digest, verdict FROM outbox LEFT JOIN verdict USING (digest)"
            ).fetchone()
        return Saved(RoundId(row[0], row[1]), row[2], row[3]) if row else None

    def payload(self, digest: bytes) -> bytes | None:
        """The bytes of the newest update, if it is this one."""
        with self._clear_errors():
            row = self._db.execute("SELECT payload FROM outbox WHERE digest = ?", (digest,)).fetchone()
        return bytes(row[0]) if row else None

    def save_update(self, round_id: RoundId, digest: bytes, payload: bytes) -> None:
        """Keep an update, and that its round was seen; it takes the place of the one before."""
        with self._clear_errors():
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("REPLACE INTO seen VALUES (1, ?, ?)", round_id)
            self._db.execute(
                "REPLACE INTO outbox VALUES (1, ?, ?, ?, ?)",
                (*round_id, digest, payload),
            )
            self._db.execute("COMMIT")

    def save_verdict(self, digest: bytes, verdict: str) -> None:
        """Remember what became of the newest update."""
        with self._clear_errors():
            self._db.execute(
                "REPLACE INTO verdict SELECT 1, digest, ? FROM outbox WHERE digest = ?", (verdict, digest)
            )

    def add_boot(self, boot: bytes) -> frozenset[bytes]:
        """Remember this boot; returns the earlier ones."""
        with self._clear_errors():
            earlier = frozenset(row[0] for row in self._db.execute("SELECT boot FROM boots"))
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("INSERT INTO boots (boot) VALUES (?)", (boot,))
            self._db.execute("DELETE FROM boots WHERE n <= (SELECT max(n) FROM boots) - ?", (BOOTS_KEPT,))
            self._db.execute("COMMIT")
        return earlier

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
            raise StateError(f"{self._path}: {error}") from error
