"""The aggregator's memory: one SQLite database, from which every kept round can be computed again.

| table    | what it holds                                                                        |
|----------|--------------------------------------------------------------------------------------|
| life     | one row: the ledger's id, the generation, and what is learnt in it (to see a change)  |
| rounds   | one row a round: its attempts and cohorts, how long it has lasted, how it closed      |
| answers  | one row a device and round: the verdict on its update, n_k, and its metrics           |
| frames   | the bytes of updates, as they came: first a spool, then what the mean is computed of  |
| contents | tasks and models by digest                                                           |
| slots    | which content lies in which retained slot at the broker                              |
| devices  | what each device last said of itself, and how often it was refused                   |
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

from aggregator.answers import Answer
from fedge.errors import DamagedState, StateError
from fedge.frames import Partial, offer
from fedge.freshness import RoundId
from fedge.messages import Blob, Cohort, Frame, Status
from fedge.reasons import Reason
from fedge.store import Connect, database_error, open_database
from fedge.topics import lane_of

FILE = "ledger.db"
KEPT = "kept"
"""The kind of a generation's round 0 that began with the model of the generation before, without a survey."""
MIGRATIONS = (
    """
CREATE TABLE life (
    one INTEGER PRIMARY KEY CHECK (one = 1), ledger BLOB NOT NULL, generation INTEGER NOT NULL,
    learnt TEXT NOT NULL
);
CREATE TABLE rounds (
    generation INTEGER NOT NULL, round INTEGER NOT NULL, kind TEXT NOT NULL, cohorts TEXT NOT NULL,
    elapsed_s REAL NOT NULL DEFAULT 0, opened_at REAL NOT NULL, closed_at REAL, model BLOB,
    devices INTEGER, samples INTEGER, summary TEXT NOT NULL DEFAULT '{}',
    PRIMARY KEY (generation, round)
);
CREATE TABLE answers (
    generation INTEGER NOT NULL, round INTEGER NOT NULL, lane INTEGER NOT NULL, device TEXT NOT NULL,
    digest BLOB NOT NULL, verdict TEXT NOT NULL, reason TEXT, detail TEXT NOT NULL,
    samples INTEGER NOT NULL, metrics TEXT NOT NULL,
    PRIMARY KEY (generation, round, lane, device)
) WITHOUT ROWID;
CREATE INDEX answers_by_update ON answers (device, digest);
CREATE TABLE frames (
    device TEXT NOT NULL, digest BLOB NOT NULL, i INTEGER NOT NULL, n INTEGER NOT NULL, size INTEGER NOT NULL,
    data BLOB NOT NULL, PRIMARY KEY (device, digest, i)
);
CREATE TABLE contents (
    digest BLOB PRIMARY KEY, kind TEXT NOT NULL, generation INTEGER NOT NULL, round INTEGER NOT NULL,
    data BLOB NOT NULL
);
CREATE TABLE slots (
    kind TEXT NOT NULL, slot INTEGER NOT NULL, digest BLOB NOT NULL, frames INTEGER NOT NULL,
    size INTEGER NOT NULL, PRIMARY KEY (kind, slot)
);
CREATE TABLE devices (
    device TEXT PRIMARY KEY, online INTEGER NOT NULL DEFAULT 0, version TEXT, samples INTEGER, holds BLOB,
    generation INTEGER NOT NULL DEFAULT 0, round INTEGER NOT NULL DEFAULT 0, declined TEXT,
    refused INTEGER NOT NULL DEFAULT 0, last_refusal TEXT
)
""",
    "ALTER TABLE devices ADD COLUMN seen_at REAL",
    """
ALTER TABLE rounds ADD COLUMN attempt INTEGER NOT NULL DEFAULT 0;
UPDATE rounds SET attempt = max(0, json_array_length(cohorts) - 1)
""",
)
"""The layouts, from the first on; see docs/state.md."""


@dataclass(frozen=True)
class Life:
    """Which memory this is, and of what."""

    ledger: bytes
    generation: int
    learnt: str
    """What may not change within a generation: features, outputs, layers, as JSON."""


@dataclass(frozen=True)
class OpenRound:
    """A round that was announced or drawn, and is not closed."""

    round: RoundId
    kind: str
    attempt: int
    cohorts: tuple[Cohort, ...]
    """By attempt; the last one is also that of all further attempts."""
    elapsed_s: float


@dataclass(frozen=True)
class RoundRow:
    """One round, as shown to people."""

    generation: int
    round: int
    kind: str
    attempt: int
    closed: bool
    devices: int
    """Updates that counted."""
    samples: int
    seconds: float | None
    """From the round before being closed to this one being closed."""
    accuracy: float | None
    """Of the model the round began from, on the devices' held-out parts."""
    held_loss: float | None
    loss_before: float | None
    loss: float | None
    """Mean training loss after local training."""
    weight_change: float | None
    bytes_up: int
    bytes_down: int


@dataclass(frozen=True)
class DeviceRow:
    """One device, as shown to people."""

    device: str
    online: bool
    version: str | None
    samples: int | None
    holds: bytes | None
    round: RoundId
    admitted: int
    refused: int
    last_refusal: str | None
    seen_at: float | None
    """When it last said something new of itself, in seconds since 1970; None if that was never noted."""


class Ledger:
    """The database. Methods that change something belong inside `transaction`, which makes them durable.

    Raises:
        DamagedState: from any method, also the first, when what is read is not what was written.
        StateError: from any method, when the disk is full, read-only or failing; nothing has changed then.
    """

    def __init__(self, path: Path, connect: Connect = open_database) -> None:
        self._path = path
        self._db = connect(path, MIGRATIONS)

    @classmethod
    @contextmanager
    def reading(cls, path: Path) -> Iterator[Self]:
        """A ledger to look at only, also while its aggregator runs; what would change it fails.

        Raises:
            StateError: there is none, or it cannot be read.
        """
        ledger = cls.__new__(cls)
        ledger._path = path
        with _reading(path) as ledger._db:
            yield ledger

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, and durable when it ends."""
        try:
            self._db.execute("BEGIN")  # nobody else writes: a turn that changes nothing takes no lock
            yield
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise database_error(self._path, error) from error
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    # ── a generation's life ────────────────────────────────────────────────────────────────────────

    def life(self) -> Life | None:
        """None in a new ledger."""
        row = self._one("SELECT ledger, generation, learnt FROM life")
        return Life(*row) if row else None

    def begin_life(self, life: Life) -> None:
        """Begin a generation: what was learnt before is kept, but no longer counts."""
        self._run(
            "REPLACE INTO life VALUES (1, ?, ?, ?)",
            life.ledger,
            life.generation,
            life.learnt,
        )
        self._run("DELETE FROM frames")

    # ── rounds ─────────────────────────────────────────────────────────────────────────────────────

    def save_round(
        self, round_id: RoundId, kind: str, attempt: int, cohorts: Iterable[Cohort], now: float
    ) -> None:
        """Open a round, or its next attempt."""
        self._run(
            "INSERT INTO rounds (generation, round, kind, attempt, cohorts, opened_at)"
            " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET attempt = excluded.attempt,"
            " cohorts = excluded.cohorts, elapsed_s = 0",
            *round_id,
            kind,
            attempt,
            json.dumps([cohort.model_dump(exclude_none=True) for cohort in cohorts]),
            now,
        )

    def save_elapsed(self, round_id: RoundId, elapsed_s: float) -> None:
        """Keep how long the attempt has lasted."""
        self._run("UPDATE rounds SET elapsed_s = ? WHERE generation = ? AND round = ?", elapsed_s, *round_id)

    def close_round(
        self, round_id: RoundId, model: bytes, devices: int, samples: int, summary: dict[str, Any], now: float
    ) -> None:
        """Close a round with the digest of its model."""
        self._run(
            "UPDATE rounds SET closed_at = ?, model = ?, devices = ?, samples = ?, summary = ?"
            " WHERE generation = ? AND round = ?",
            now,
            model,
            devices,
            samples,
            json.dumps(summary),
            *round_id,
        )

    def last_closed(self, generation: int) -> RoundId | None:
        """The newest closed round of a generation."""
        row = self._one(
            "SELECT max(round) FROM rounds WHERE generation = ? AND closed_at IS NOT NULL", generation
        )
        return RoundId(generation, row[0]) if row and row[0] is not None else None

    def newest_round(self) -> RoundId | None:
        """The round that is open or, where learning has ended, would be next; None in a new ledger."""
        life = self.life()
        if life is None:
            return None
        last = self.last_closed(life.generation)
        return RoundId(life.generation, 0) if last is None else last._replace(round=last.round + 1)

    def round_as_saved(self, round_id: RoundId) -> OpenRound | None:
        """A round's kind, attempt, cohorts and time, closed or not."""
        row = self._one(
            "SELECT kind, attempt, cohorts, elapsed_s FROM rounds WHERE generation = ? AND round = ?",
            *round_id,
        )
        if row is None:
            return None
        with self._sound(f"the cohorts of round {round_id}"):
            cohorts = tuple(Cohort.model_validate(cohort) for cohort in json.loads(row[2]))
        return OpenRound(round_id, row[0], row[1], cohorts, row[3])

    def kept_rounds(self, generation: int) -> dict[int, tuple[str, bytes]]:
        """Kind and digest of the model, by number, of the closed rounds that can still be computed again."""
        rows = self._all(
            "SELECT r.round, r.kind, r.model FROM rounds r JOIN contents c ON c.digest = r.model"
            " AND (c.generation, c.round) = (r.generation, r.round)"
            " WHERE r.generation = ? AND r.kind != ? ORDER BY r.round",
            generation,
            KEPT,
        )
        return {number: (kind, model) for number, kind, model in rows}

    def summaries(self, generation: int) -> list[dict[str, Any]]:
        """What the closed training rounds of a generation brought, in order."""
        rows = self._all(
            "SELECT summary FROM rounds WHERE generation = ? AND kind = 'train' AND closed_at IS NOT NULL"
            " ORDER BY round",
            generation,
        )
        with self._sound("the summaries"):
            return [json.loads(row[0]) for row in rows]

    def summary(self, round_id: RoundId) -> dict[str, float]:
        """What one closed round brought."""
        row = self._one("SELECT summary FROM rounds WHERE generation = ? AND round = ?", *round_id)
        with self._sound(f"the summary of round {round_id}"):
            return json.loads(row[0]) if row else {}

    def retain(self, newest: RoundId, rounds: int, size: int) -> None:
        """Free what old rounds were computed of: keep `rounds`, or fewer in at most `size` bytes.

        The newest round and the one before stay, whatever they take. The file keeps its length: what is freed
        in it is used again.
        """
        oldest = max(0, newest.round - rounds + 1)
        self.forget_rounds_before(newest._replace(round=oldest))
        while oldest < newest.round - 1 and self.bytes_held() > size:
            oldest += 1
            self.forget_rounds_before(newest._replace(round=oldest))

    def bytes_held(self) -> int:
        """What the ledger takes, without what has been freed in it."""
        names = ("page_count", "freelist_count", "page_size")
        pages, free, page = (self._one(f"PRAGMA {name}")[0] for name in names)
        return int((pages - free) * page)

    def forget_rounds_before(self, round_id: RoundId) -> None:
        """Free what older rounds were computed of; their rows of figures stay."""
        self._run(
            "DELETE FROM frames WHERE (device, digest) IN (SELECT device, digest FROM answers"
            " WHERE generation < ?1 OR (generation = ?1 AND round < ?2))",
            *round_id,
        )
        self._run(
            "DELETE FROM contents WHERE kind = 'model'"
            " AND (generation < ?1 OR (generation = ?1 AND round < ?2))",
            *round_id,
        )
        self._run("DELETE FROM answers WHERE generation < ?1 OR (generation = ?1 AND round < ?2)", *round_id)

    # ── updates ────────────────────────────────────────────────────────────────────────────────────

    def spool(self, device: str, frame: Frame) -> None:
        """Keep a frame."""
        self._run(
            "INSERT OR IGNORE INTO frames VALUES (?, ?, ?, ?, ?, ?)",
            device,
            frame.id,
            frame.i,
            frame.n,
            frame.size,
            frame.data,
        )

    def drop_spool(self, device: str, digest: bytes) -> None:
        """Forget an update's frames, unless a kept round was computed of them (it may be sent once more)."""
        self._run(
            "DELETE FROM frames WHERE device = ?1 AND digest = ?2 AND NOT EXISTS"
            " (SELECT 1 FROM answers WHERE device = ?1 AND digest = ?2 AND verdict = 'admitted')",
            device,
            digest,
        )

    def pieces(self, device: str, digest: bytes) -> Iterator[bytes]:
        """The data of an update's frames, in order."""
        for (data,) in self._rows(
            "SELECT data FROM frames WHERE device = ? AND digest = ? ORDER BY i", device, digest
        ):
            yield data

    def partials(self) -> dict[str, Partial]:
        """The books of what has been spooled and not been answered."""
        partials: dict[str, Partial] = {}
        rows = self._rows(
            "SELECT device, digest, i, n, size, data FROM frames"
            " WHERE (device, digest) NOT IN (SELECT device, digest FROM answers) ORDER BY device, digest, i"
        )
        for device, digest, i, n, size, data in rows:
            partial = offer(partials.get(device), Frame(id=digest, i=i, n=n, size=size, data=data))
            if isinstance(partial, Partial):
                partials[device] = partial
        return partials

    def save_answer(self, round_id: RoundId, device: str, answer: Answer) -> None:
        """Keep a verdict; the first one stays."""
        self._run(
            "INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            *round_id,
            lane_of(device),
            device,
            answer.digest,
            answer.verdict,
            answer.reason,
            answer.detail,
            answer.samples,
            json.dumps(answer.metrics),
        )

    def answers(self, round_id: RoundId) -> dict[str, Answer]:
        """The verdicts of a round, in the order of the sum: lane, then device."""
        rows = self._all(
            "SELECT device, digest, verdict, reason, detail, samples, metrics FROM answers"
            " WHERE generation = ? AND round = ? ORDER BY lane, device",
            *round_id,
        )
        with self._sound(f"the answers of round {round_id}"):
            return {
                device: Answer(
                    digest, verdict, Reason(reason) if reason else None, detail, samples, json.loads(metrics)
                )
                for device, digest, verdict, reason, detail, samples, metrics in rows
            }

    def update_bytes(self, round_id: RoundId) -> int:
        """Bytes of the updates that counted in a round."""
        row = self._one(
            "SELECT coalesce(sum(length(data)), 0) FROM frames JOIN answers USING (device, digest)"
            " WHERE generation = ? AND round = ? AND verdict = 'admitted'",
            *round_id,
        )
        return int(row[0]) if row else 0

    # ── what is published ──────────────────────────────────────────────────────────────────────────

    def save_content(self, kind: str, round_id: RoundId, blob: Blob, data: bytes) -> None:
        """Keep a task or model, and in which slot it is published."""
        # The same bytes may be said again by a later generation: then they are its newest.
        self._run("REPLACE INTO contents VALUES (?, ?, ?, ?, ?)", blob.digest, kind, *round_id, data)
        self._run(
            "REPLACE INTO slots VALUES (?, ?, ?, ?, ?)", kind, blob.slot, blob.digest, blob.frames, blob.size
        )

    def content(self, digest: bytes) -> bytes:
        """A task or model by its digest.

        Raises:
            DamagedState: it is not there, or not what it was.
        """
        row = self._one("SELECT data FROM contents WHERE digest = ?", digest)
        if row is None or sha256(row[0]).digest() != digest:
            what = "is missing" if row is None else "does not match its digest"
            raise DamagedState(f"{self._path}: the content {digest.hex()[:12]}… {what}")
        return bytes(row[0])

    def check_contents(self) -> None:
        """Read every task and model, and compare it with its digest.

        Raises:
            DamagedState: one is not what it was.
        """
        for (digest,) in self._all("SELECT digest FROM contents"):
            self.content(digest)

    def newest(self, kind: str, generation: int) -> bytes | None:
        """The digest of a generation's newest task or model."""
        row = self._one(
            "SELECT digest FROM contents WHERE kind = ? AND generation = ?"
            " ORDER BY round DESC, rowid DESC LIMIT 1",  # round 0 begins with one task and ends with another
            kind,
            generation,
        )
        return row[0] if row else None

    def first_task(self, generation: int) -> bytes | None:
        """The digest of the task that a generation begins with, before its survey."""
        row = self._one(
            "SELECT digest FROM contents WHERE kind = 'task' AND generation = ? ORDER BY rowid LIMIT 1",
            generation,
        )
        return row[0] if row else None

    def slots(self) -> dict[tuple[str, int], Blob]:
        """What lies in which slot at the broker, or is about to."""
        rows = self._all("SELECT kind, slot, digest, frames, size FROM slots")
        return {
            (kind, slot): Blob(digest=digest, slot=slot, frames=frames, size=size)
            for kind, slot, digest, frames, size in rows
        }

    # ── devices ────────────────────────────────────────────────────────────────────────────────────

    def save_status(self, device: str, status: Status, now: float) -> None:
        """Keep what a device says of itself, and since when: what is only retained says nothing new."""
        declined = f"{status.declined.reason}: {status.declined.detail}" if status.declined else None
        self._run(
            "INSERT INTO devices"
            " (device, online, version, samples, holds, generation, round, declined, seen_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET seen_at = CASE"
            " WHEN (online, version, samples, holds, generation, round, declined) IS NOT"
            " (excluded.online, excluded.version, excluded.samples, excluded.holds, excluded.generation,"
            " excluded.round, excluded.declined) THEN excluded.seen_at ELSE seen_at END,"
            " online = excluded.online,"
            " version = excluded.version, samples = excluded.samples, holds = excluded.holds,"
            " generation = excluded.generation, round = excluded.round, declined = excluded.declined",
            device,
            status.online,
            status.version,
            status.samples,
            status.holds,
            status.generation,
            status.round,
            declined,
            now,
        )

    def count_refusal(self, device: str, reason: Reason) -> None:
        """Count what a device sent in vain."""
        self._run(
            "INSERT INTO devices (device, refused, last_refusal) VALUES (?, 1, ?)"
            " ON CONFLICT DO UPDATE SET refused = refused + 1, last_refusal = excluded.last_refusal",
            device,
            reason,
        )

    def _run(self, statement: str, *values: object) -> None:
        self._all(statement, *values)

    def _one(self, statement: str, *values: object) -> Any:
        rows = self._all(statement, *values)
        return rows[0] if rows else None

    def _all(self, statement: str, *values: object) -> list[Any]:
        try:
            return self._db.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise database_error(self._path, error) from error

    def _rows(self, statement: str, *values: object) -> Iterator[Any]:
        try:
            yield from self._db.execute(statement, values)
        except sqlite3.Error as error:
            raise database_error(self._path, error) from error

    @contextmanager
    def _sound(self, what: str) -> Iterator[None]:
        """What is read here was written by us: if it makes no sense, bits have flipped."""
        try:
            yield
        except ValueError as error:
            raise DamagedState(f"{self._path}: is damaged ({what}: {error})") from error


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    if not path.is_file():
        raise StateError(f"{path}: there is no ledger; it is made when the aggregator first runs")
    db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    try:
        yield db
    except sqlite3.Error as error:
        raise database_error(path, error) from error
    finally:
        db.close()


def read_rounds(path: Path) -> list[RoundRow]:
    """Every round of the newest generation, oldest first; safe while the aggregator runs.

    Raises:
        StateError: there is no ledger, or it cannot be read.
    """
    with _reading(path) as db:
        rows = db.execute(
            "SELECT generation, round, kind, attempt, closed_at IS NOT NULL,"
            " coalesce(devices, 0), coalesce(samples, 0), summary FROM rounds"
            " WHERE generation = (SELECT generation FROM life) ORDER BY round"
        ).fetchall()
    return [_round_row(*row) for row in rows]


def _round_row(
    generation: int,
    round_: int,
    kind: str,
    attempt: int,
    closed: int,
    devices: int,
    samples: int,
    summary: str,
) -> RoundRow:
    found = json.loads(summary)
    return RoundRow(
        generation=generation,
        round=round_,
        kind=kind,
        attempt=attempt,
        closed=bool(closed),
        devices=devices,
        samples=samples,
        seconds=found.get("seconds"),
        accuracy=found.get("accuracy"),
        held_loss=found.get("held_loss"),
        loss_before=found.get("loss_before"),
        loss=found.get("loss"),
        weight_change=found.get("weight_change"),
        bytes_up=found.get("bytes_up", 0),
        bytes_down=found.get("bytes_down", 0),
    )


def read_devices(path: Path) -> list[DeviceRow]:
    """Every device that was ever seen, by name; safe while the aggregator runs.

    Raises:
        StateError: there is no ledger, or it cannot be read.
    """
    with _reading(path) as db:
        rows = db.execute(
            "SELECT device, online, version, samples, holds, generation, round,"
            " (SELECT count(*) FROM answers a WHERE a.device = d.device AND verdict = 'admitted'),"
            " refused, last_refusal, seen_at"
            " FROM devices d ORDER BY device"
        ).fetchall()
    return [
        DeviceRow(row[0], bool(row[1]), row[2], row[3], row[4], RoundId(row[5], row[6]), *row[7:])
        for row in rows
    ]
