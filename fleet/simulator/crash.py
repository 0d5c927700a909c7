"""Crashes of a host: its power fails at the n-th step from now, or writes to its disk fail.

A step is a statement, a publication, an acknowledgement, or one of production's failpoints before and after
an effect.
"""

import sqlite3
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from fedge.service import failpoints

T = TypeVar("T")
_OF_ROUNDS = tuple(
    f"{verb} {table} "
    for verb in ("INSERT INTO", "REPLACE INTO", "UPDATE", "DELETE FROM")
    for table in ("rounds", "life")
)
"""The beginnings of the statements that write to the tables of rounds."""


class PowerCut(BaseException):
    """The host has lost its power; not an `Exception`, so that no handler in the program catches it."""


class Power:
    """Counts the steps of a host: statements, publications, acknowledgements, and failpoints."""

    def __init__(self) -> None:
        self.effects_left: int | None = None
        """The power fails after this many further steps; None: never."""
        self.writes_that_fail = 0
        """Number of the next writes that fail, as on a full disk."""
        self._spared = False

    def spare(self, look: Callable[[], T]) -> T:
        """Let the oracle read the disk without counting steps."""
        self._spared = True
        try:
            return look()
        finally:
            self._spared = False

    def use(self) -> None:
        """Count a step that is about to be done.

        Raises:
            PowerCut: the power fails before it.
        """
        if self.effects_left is not None and not self._spared:
            self.effects_left -= 1
            if self.effects_left < 0:
                self.effects_left = None
                raise PowerCut

    def reach(self, what: object, when: failpoints.When) -> None:
        """Count a failpoint before or after an effect, as a `fedge.service.failpoints.Watcher`.

        Raises:
            PowerCut: the power fails here.
        """
        self.use()

    def use_disk(self) -> bool:
        """Count a write that is about to be done; returns whether the disk takes it."""
        self.use()
        if self.writes_that_fail:
            self.writes_that_fail -= 1
            return False
        return True


class Tripwire:
    """A database connection at whose statements the power or the disk may fail.

    Whatever is not committed when the power fails is lost, by SQLite's own rollback, as in production.
    """

    def __init__(self, db: sqlite3.Connection, power: Power, *, in_memory: bool) -> None:
        self.db = db
        self._power, self._in_memory = power, in_memory
        self._begun = ""
        """The BEGIN of a transaction that has written nothing yet; it is executed at the first write."""
        self.rounds_written = True
        """Whether the tables of rounds were written since this was set to False."""

    @property
    def in_transaction(self) -> bool:
        """As `sqlite3.Connection.in_transaction`."""
        return bool(self._begun) or self.db.in_transaction

    @property
    def total_changes(self) -> int:
        """As `sqlite3.Connection.total_changes`."""
        return self.db.total_changes

    def execute(self, statement: str, values: Any = ()) -> sqlite3.Cursor | None:
        """As `sqlite3.Connection.execute`, but a statement that begins or ends a transaction returns None."""
        word = statement[:5]
        if word == "SELEC" or word == "BEGIN":
            if self._power.effects_left is not None:
                self._power.use()
            if word == "BEGIN" and self._in_memory:
                self._begun = statement
                return None
        elif word == "ROLLB":
            if self._begun:
                self._begun = ""
                return None
        elif not self._power.use_disk():
            raise sqlite3.OperationalError("database or disk is full")
        elif self._begun:
            begun, self._begun = self._begun, ""
            if word == "COMMI":
                return None
            self.db.execute(begun)
        if word != "SELEC" and statement.startswith(_OF_ROUNDS):
            self.rounds_written = True
        return self.db.execute(statement, values)

    def executemany(self, statement: str, rows: Iterable[Any]) -> None:
        """As `sqlite3.Connection.executemany`; the power or the disk may fail at each row."""
        for values in rows:
            self.execute(statement, values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.db, name)
