"""The disks of hosts: production's own databases in memory, whose statements may fail.

A statement that is not committed when the power fails is rolled back, as on a real disk. A database in memory
outlives the programs that open it. At the end of a world it is emptied and used again for another world,
because making a new one and preparing its statements would take a third of a world's time.
"""

import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar, cast

from agent.core.state import AlgorithmState, MaskedUpdate, PersonalState
from agent.data.snapshot import Snapshot
from agent.shell.memory import Memory
from aggregator.core.verdicts import Verdict
from aggregator.ledger.writing import Ledger
from fedge.identity.trust import Signers
from fedge.storage.databases import Connect, open_database
from fedge.storage.segments import SUFFIX, Segments
from fedge.wire.freshness import Attempt, RoundId
from fedge.wire.messages.frame import Frame
from fedge.wire.messages.manifest import Cohort
from fleet.simulator.books import Book, SpooledFrame
from fleet.simulator.crash import Power, Tripwire
from fleet.simulator.oracle import Oracle
from fleet.simulator.segments import MemorySegments

S = TypeVar("S", bound=Memory | Ledger)


class Disk:
    """One host's database, in a file at `path`, or in memory if that is None.

    `book` has the promises that were made with it, if it is a ledger.
    """

    def __init__(self, power: Power, path: Path | None, book: Book | None = None) -> None:
        self._power, self._path = power, path
        self.book = book if book is not None else Book()
        self._store: Memory | Ledger | None = None
        self._db: sqlite3.Connection | None = None
        self._layout: tuple[str, ...] = ()
        self.segments: MemorySegments | None = MemorySegments(power) if path is None else None
        """Of a ledger in memory; None: files beside the database."""

    def mount(self, open_store: Callable[[Path, Connect], S]) -> S:
        """Open it, as a program does when it starts.

        Raises:
            StateError: as `open_store`.
        """
        store = open_store(self._path or Path(":memory:"), self._connect)
        vars(store)["_db"] = Tripwire(store._db, self._power, in_memory=self._path is None)
        self._store = store
        return store

    def unmount(self) -> None:
        """Close it at the end of the program; whatever was not committed is lost."""
        if self._store is not None:
            if isinstance(self._store, Ledger):
                self._store._segments.close()
            vars(self._store)["_db"] = None  # a program that continues after its end fails
            self._store = None
        if self._db is not None:
            self._db.rollback()
            if self.segments is not None:
                self.segments.power_fails()
            if self._path is not None:
                self._db.close()
                self._db = None

    def discard(self) -> None:
        """Empty it at the end of the world, for another world."""
        self.unmount()
        if self._db is not None:
            _wipe(self._db)
            _BLANK.setdefault(self._layout, []).append(self._db)
            self._db = None

    def copy(self, power: Power, path: Path | None) -> "Disk":
        """Make another disk with the same content, as when an SD card is cloned or a backup restored."""
        clone = Disk(power, path, self.book.copy())
        if self.segments is not None and path is None:
            clone.segments = self.segments.copy(power)
        elif path is not None and self._path is not None and (files := _segments(self._path)).exists():
            shutil.copytree(files, _segments(path), dirs_exist_ok=True)
        if self._db is None and path is not None and self._path is not None and self._path.exists():
            shutil.copy(self._path, path)
        elif self._db is not None:
            if path is None:
                self._db.backup(clone._connect(Path(":memory:"), self._layout))
            else:
                target = sqlite3.connect(path)
                self._db.backup(target)
                target.close()
        return clone

    def plug_into(self, power: Power) -> None:
        """Move it to another machine, whose power counts from now on."""
        self._power = power
        if self.segments is not None:
            self.segments.power = power

    def _connect(self, path: Path, migrations: Sequence[str]) -> sqlite3.Connection:
        self._layout = tuple(migrations)
        if self._path is not None:
            self._db = open_database(path, migrations)
        elif self._db is None:
            blank = _BLANK.get(self._layout)
            self._db = blank.pop() if blank else open_database(path, migrations)
        return self._db


_BLANK: dict[tuple[str, ...], list[sqlite3.Connection]] = {}
"""Empty databases of earlier worlds, by their layout."""


def _segments(path: Path) -> Path:
    return path.with_name(path.name + SUFFIX)


def _wipe(db: sqlite3.Connection) -> None:
    for (table,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
        db.execute(f"DELETE FROM {table}")  # noqa: S608 # a table of the layout


class WatchedMemory(Memory):
    """A device's memory that tells the oracle what is durable."""

    def __init__(self, path: Path, connect: Connect, device: str, disk: Disk, oracle: Oracle) -> None:
        super().__init__(path, connect)
        self._device, self._disk, self._oracle = device, disk, oracle

    def save_update(
        self,
        attempt: Attempt,
        digest: bytes,
        payload: bytes,
        snapshot: tuple[str, Snapshot] | None = None,
        pending: AlgorithmState | None = None,
        personal: PersonalState | None = None,
        older: RoundId | None = None,
        masked: MaskedUpdate | None = None,
    ) -> None:
        """As `Memory.save_update`."""
        super().save_update(attempt, digest, payload, snapshot, pending, personal, older, masked)
        self._oracle.states.saved(self._device, digest, pending)
        self._oracle.own_models.saved(self._device, personal)
        self._oracle.devices.saved(
            self._device, digest, pending=pending is not None, own=personal is not None
        )
        self._oracle.devices.saw(self._disk, attempt.round)

    def save_seen(self, attempt: Attempt) -> None:
        """As `Memory.save_seen`."""
        super().save_seen(attempt)
        self._oracle.devices.saw(self._disk, attempt.round)

    def save_signers(self, signers: Signers, seen: Attempt | None = None) -> None:
        """As `Memory.save_signers`."""
        super().save_signers(signers, seen)
        self._oracle.devices.saw(self._disk, seen.round if seen is not None else None)

    def save_verdict(self, digest: bytes, verdict: str, *, resets: bool = False) -> None:
        """As `Memory.save_verdict`."""
        super().save_verdict(digest, verdict, resets=resets)
        self._oracle.devices.learnt(self._device, digest, verdict)
        if resets:
            self._oracle.states.forgets(self._device, digest)

    def reset_state(self) -> None:
        """As `Memory.reset_state`."""
        if self._to_reset:  # the disk had not saved it before
            super().reset_state()
            self._oracle.states.makes_up_for_reset(self._device)
            return
        current = self.state_round()
        super().reset_state()
        self._oracle.states.resets(self._device, current, self._oracle.devices.newest_heard(self._device))


class WatchedLedger(Ledger):
    """A ledger that tells the oracle what is durable."""

    in_the_table = 39
    """Small enough that a world has frames in the table and in segments."""

    def __init__(
        self,
        path: Path,
        connect: Connect,
        power: Power,
        oracle: Oracle,
        book: Book,
        segments: Segments | None = None,
    ) -> None:
        super().__init__(path, connect, segments)
        self._power, self._oracle, self._book = power, oracle, book
        self._answered: set[RoundId] = set()
        self._frames: set[SpooledFrame] = set()
        self._opened: list[Attempt] = []

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """As `Ledger.transaction`."""
        self._answered, self._frames, self._opened = set(), set(), []
        before = self._db.total_changes
        with super().transaction():
            yield
        if self._db.total_changes != before:
            self._power.spare(lambda: self._look(self._answered, self._frames))

    def _look(self, answered: set[RoundId], frames: set[SpooledFrame]) -> None:
        disk = cast(Tripwire, self._db)
        rounds_written, disk.rounds_written = disk.rounds_written, False
        self._oracle.ledger_committed(self, self._book, answered, frames, rounds_written=rounds_written)
        for attempt in self._opened:
            self._oracle.waits.attempt_begins(self._book, attempt)

    def save_round(
        self,
        round_id: RoundId,
        kind: str,
        attempt: int,
        cohorts: Iterable[Cohort],
        now: float,
        quorum: int | None = None,
    ) -> None:
        """As `Ledger.save_round`."""
        super().save_round(round_id, kind, attempt, cohorts, now, quorum)
        self._opened.append(Attempt(round_id, attempt))

    def spool(self, device: str, frame: Frame) -> None:
        """As `Ledger.spool`."""
        super().spool(device, frame)
        self._frames.add((device, frame.id, frame.i))

    def save_answer(self, round_id: RoundId, device: str, answer: Verdict) -> None:
        """As `Ledger.save_answer`."""
        super().save_answer(round_id, device, answer)
        self._answered.add(round_id)

    def set_aside(self, round_id: RoundId, device: str, answer: Verdict) -> None:
        """As `Ledger.set_aside`."""
        super().set_aside(round_id, device, answer)
        self._answered.add(round_id)
