"""What a host dies of: its power fails at the n-th thing it does from now, or its disk takes no more.

A thing is whatever leaves the program, and each of production's failpoints, before and after an effect.
"""

import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar

from fedge.service import failpoints

T = TypeVar("T")
_OF_ROUNDS = tuple(
    f"{verb} {table} "
    for verb in ("INSERT INTO", "REPLACE INTO", "UPDATE", "DELETE FROM")
    for table in ("rounds", "life")
)
"""How the statements begin that write to what rounds there are."""


class PowerCut(BaseException):
    """The host is dead; not an `Exception`, so that nothing on the way out handles it."""


class Power:
    """Counts what a host does: statements, publications, acknowledgements, and failpoints that it reaches."""

    def __init__(self) -> None:
        self.effects_left: int | None = None
        """The power fails after this many more of these; None: it does not."""
        self.writes_that_fail = 0
        """So many of the next writes to the disk fail, as on a full one."""
        self._spared = False

    def spare(self, look: Callable[[], T]) -> T:
        """Look at the disk without being part of the world."""
        self._spared = True
        try:
            return look()
        finally:
            self._spared = False

    def use(self) -> None:
        """Something is about to be done.

        Raises:
            PowerCut: it is not.
        """
        if self.effects_left is not None and not self._spared:
            self.effects_left -= 1
            if self.effects_left < 0:
                self.effects_left = None
                raise PowerCut

    def reach(self, what: object, when: failpoints.When) -> None:
        """The program is before or after an effect: as `fedge.service.failpoints.Watcher`.

        Raises:
            PowerCut: it comes no further.
        """
        self.use()

    def use_disk(self) -> bool:
        """Something is about to be written; whether the disk takes it."""
        self.use()
        if self.writes_that_fail:
            self.writes_that_fail -= 1
            return False
        return True


class Tripwire:
    """A database connection, each of whose statements may be the host's last, or fail.

    What was not committed when the power fails is gone: SQLite's own rollback, as in production.
    """

    def __init__(self, db: sqlite3.Connection, power: Power, *, in_memory: bool) -> None:
        self.db = db
        self._power, self._in_memory = power, in_memory
        self._begun = ""
        """How a transaction was begun that has written nothing yet: a database in memory hears of it then."""
        self.rounds_written = True
        """Something was written to what rounds there are, since this was set to False."""

    @property
    def in_transaction(self) -> bool:
        """As `sqlite3.Connection.in_transaction`."""
        return bool(self._begun) or self.db.in_transaction

    @property
    def total_changes(self) -> int:
        """As `sqlite3.Connection.total_changes`."""
        return self.db.total_changes

    def execute(self, statement: str, values: Any = ()) -> sqlite3.Cursor | None:
        """As `sqlite3.Connection.execute`; whoever begins or ends a transaction gets nothing."""
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

    def __getattr__(self, name: str) -> Any:
        return getattr(self.db, name)
