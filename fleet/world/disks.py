"""What hosts have written and committed: production's own databases, in memory, behind a tripwire.

A statement that was not committed when the power fails is rolled back, as on a real disk.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from agent.memory import Memory
from aggregator.answers import Answer
from aggregator.ledger import Ledger
from fedge.freshness import RoundId
from fedge.messages import Frame
from fleet.world.oracle import Oracle, SpooledFrame
from fleet.world.power import Power, Tripwire

S = TypeVar("S", bound=Memory | Ledger)


class Disk:
    """One host's database; `path` is a real file, None keeps it in memory."""

    def __init__(self, power: Power, path: Path | None) -> None:
        self._power, self._path = power, path
        self._content: bytes | None = None
        self._db: sqlite3.Connection | None = None

    def mount(self, open_store: Callable[[Path], S]) -> S:
        """Open it, as a program does when it starts.

        Raises:
            StateError: as `open_store`.
        """
        store = open_store(self._path or Path(":memory:"))
        self._db = store._db
        if self._path is None and self._content is not None:
            self._db.deserialize(self._content)
        vars(store)["_db"] = Tripwire(self._db, self._power)
        return store

    def unmount(self) -> None:
        """The program is gone: what it had not committed is lost."""
        if self._db is not None:
            self._db.rollback()
            self._content = self._db.serialize() if self._path is None else None
            self._db.close()
            self._db = None

    def copy(self, power: Power, path: Path | None) -> "Disk":
        """Another disk with the same content, as of a cloned SD card."""
        clone = Disk(power, path)
        if path is None:
            clone._content = self._db.serialize() if self._db is not None else self._content
        elif self._db is not None:
            target = sqlite3.connect(path)
            self._db.backup(target)
            target.close()
        return clone


class WatchedMemory(Memory):
    """A device's memory that tells the oracle what is durable."""

    def __init__(self, path: Path, device: str, oracle: Oracle) -> None:
        super().__init__(path)
        self._device, self._oracle = device, oracle

    def save_update(self, round_id: RoundId, digest: bytes, payload: bytes) -> None:
        """As `Memory.save_update`."""
        super().save_update(round_id, digest, payload)
        self._oracle.device_saved(self._device, digest)

    def save_verdict(self, digest: bytes, verdict: str) -> None:
        """As `Memory.save_verdict`."""
        super().save_verdict(digest, verdict)
        self._oracle.device_learnt(self._device, digest, verdict)


class WatchedLedger(Ledger):
    """A ledger that tells the oracle what is durable."""

    def __init__(self, path: Path, power: Power, oracle: Oracle) -> None:
        super().__init__(path)
        self._power, self._oracle = power, oracle
        self._answered: set[RoundId] = set()
        self._frames: set[SpooledFrame] = set()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """As `Ledger.transaction`."""
        self._answered, self._frames = set(), set()
        before = self._db.total_changes
        with super().transaction():
            yield
        if self._db.total_changes != before:
            with self._power.spare():
                self._oracle.ledger_committed(self, self._answered, self._frames)

    def spool(self, device: str, frame: Frame) -> None:
        """As `Ledger.spool`."""
        super().spool(device, frame)
        self._frames.add((device, frame.id, frame.i))

    def save_answer(self, round_id: RoundId, device: str, answer: Answer) -> None:
        """As `Ledger.save_answer`."""
        super().save_answer(round_id, device, answer)
        self._answered.add(round_id)
