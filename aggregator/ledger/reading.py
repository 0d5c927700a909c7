"""What a ledger tells: to the aggregator that keeps it, and to those who compute its rounds again."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from aggregator.answers import Answer, Missed, Verdict
from aggregator.ledger.layout import (
    HAS_MARKS,
    KEPT,
    MEASURES,
    NAMES_RULES,
    NAMES_TASKS,
    RULES_BEFORE,
    TELLS_DECLINES,
)
from fedge.capabilities import told
from fedge.errors import DamagedState, StateError
from fedge.frames import Partial, offer
from fedge.freshness import Attempt, RoundId
from fedge.messages import Blob, Cohort, Frame
from fedge.reasons import Reason
from fedge.store import database_error, exists, open_read_only

NAMED = 5
"""Updates that one text names at most."""


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
    quorum: int | None = None
    """The updates that it takes, where the rule is a share of the devices."""


@dataclass(frozen=True)
class Beginning:
    """What the round 0 of a generation that asked for no survey was made of."""

    source: RoundId
    """The round whose model it began with."""
    last: int
    """The last round that was computed again on top of that; the source's own number where none was."""
    without: tuple[str, ...] = ()
    """Devices that were left out of the rounds after the source's, up to `last`."""
    survey: int | None = None
    """The generation whose survey the frozen layers are of; None: a program before layout 6 went on."""
    survey_without: tuple[str, ...] = ()
    """Devices that were left out of that survey, of all times that it was merged again."""


class LedgerReader:
    """The questions that can be asked of an open ledger; none of them changes anything.

    Raises:
        DamagedState: from any method, when what is read is not what was written.
        StateError: from any method, when the disk is failing.
    """

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self._path, self._db = path, db

    # ── a generation's life ────────────────────────────────────────────────────────────────────────

    def life(self) -> Life | None:
        """None in a new ledger."""
        row = self._one("SELECT ledger, generation, learnt FROM life")
        return Life(*row) if row else None

    # ── rounds ─────────────────────────────────────────────────────────────────────────────────────

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

    def has_closed(self) -> bool:
        """Whether a round of any generation was closed in it."""
        return self._one("SELECT 1 FROM rounds WHERE closed_at IS NOT NULL LIMIT 1") is not None

    def devices(self) -> frozenset[str]:
        """Those that have told their status."""
        rows = self._all("SELECT device FROM devices WHERE version IS NOT NULL")
        return frozenset(row[0] for row in rows)

    def round_as_saved(self, round_id: RoundId) -> OpenRound | None:
        """A round's kind, attempt, cohorts and time, closed or not."""
        row = self._one(
            "SELECT kind, attempt, cohorts, elapsed_s,"  # nosec B608 # one of two texts of ours
            f" {'quorum' if self._layout() >= TELLS_DECLINES else 'NULL'} FROM rounds"
            " WHERE generation = ? AND round = ?",
            *round_id,
        )
        if row is None:
            return None
        with self._sound(f"the cohorts of round {round_id}"):
            cohorts = tuple(Cohort.model_validate(cohort) for cohort in json.loads(row[2]))
        return OpenRound(round_id, row[0], row[1], cohorts, row[3], row[4])

    def only_measured(self, round_id: RoundId) -> bool:
        """Whether a round asks or asked for nothing but figures: no vector came, and its model is the one
        before."""
        row = self._one("SELECT kind FROM rounds WHERE generation = ? AND round = ?", *round_id)
        return row is not None and row[0] == MEASURES

    def last_trained(self, generation: int) -> RoundId | None:
        """The newest closed round that made a model."""
        row = self._one(
            "SELECT max(round) FROM rounds WHERE generation = ? AND closed_at IS NOT NULL AND kind != ?",
            generation,
            MEASURES,
        )
        return RoundId(generation, row[0]) if row and row[0] is not None else None

    def kept_rounds(self, generation: int) -> dict[int, tuple[str, bytes]]:
        """Kind and digest of the model, by number, of the closed rounds that can still be computed again."""
        rows = self._all(
            "SELECT r.round, r.kind, r.model FROM rounds r JOIN contents c ON c.digest = r.model"
            " AND (c.generation, c.round) = (r.generation, r.round)"
            " WHERE r.generation = ? AND r.kind != ? AND EXISTS (SELECT 1 FROM answers a"
            " WHERE (a.generation, a.round) = (r.generation, r.round)) ORDER BY r.round",
            generation,
            KEPT,
        )
        return {number: (kind, model) for number, kind, model in rows}

    def beginning(self, generation: int) -> Beginning | None:
        """What a generation began with; None if with a survey, or if a program before layout 7 began it."""
        if self._layout() < NAMES_TASKS:
            return None
        row = self._one(
            "SELECT from_generation, from_round, last_round, without, survey, survey_without FROM beginnings"
            " WHERE generation = ?",
            generation,
        )
        if row is None:
            return None
        with self._sound(f"the beginning of generation {generation}"):
            without, survey_without = tuple(json.loads(row[3])), tuple(json.loads(row[5]))
        return Beginning(RoundId(row[0], row[1]), row[2], without, row[4], survey_without)

    def survey_of(self, generation: int) -> int | None:
        """The generation whose survey a generation's frozen layers are of; None if that is not known."""
        if (begun := self.beginning(generation)) is not None:
            return begun.survey
        row = self._one("SELECT kind FROM rounds WHERE generation = ? AND round = 0", generation)
        return None if row is None or row[0] == KEPT else generation

    def trained_before(self, generation: int) -> RoundId | None:
        """The newest round that made a model in the generations before one, if not just its first weights."""
        for earlier in range(generation - 1, 0, -1):
            last = self.last_trained(earlier)
            if last is not None and (last.round > 0 or not self.surveyed(earlier)):
                return last
        return None

    def surveyed(self, generation: int) -> bool:
        """Whether a generation began with a survey, so that the model of its round 0 was never trained."""
        row = self._one("SELECT kind FROM rounds WHERE generation = ? AND round = 0", generation)
        return row is not None and row[0] != KEPT

    def task_after(self, round_id: RoundId) -> bytes | None:
        """The digest of the task that a closed round's model belongs to; None if that is not known."""
        row = self._one("SELECT task FROM rounds WHERE generation = ? AND round = ?", *round_id)
        return bytes(row[0]) if row is not None and row[0] is not None else None

    def model_of(self, round_id: RoundId) -> bytes | None:
        """The digest of a closed round's model, if that is still kept."""
        row = self._one(
            "SELECT r.model FROM rounds r JOIN contents c ON c.digest = r.model"
            " WHERE r.generation = ? AND r.round = ? AND r.closed_at IS NOT NULL",
            *round_id,
        )
        return bytes(row[0]) if row else None

    def kept_models(self, generation: int) -> list[int]:
        """The closed rounds of a generation whose model is still there, in order."""
        rows = self._all(
            "SELECT r.round FROM rounds r JOIN contents c ON c.digest = r.model"
            " WHERE r.generation = ? AND r.closed_at IS NOT NULL ORDER BY r.round",
            generation,
        )
        return [number for (number,) in rows]

    def forgotten(self, round_id: RoundId) -> int:
        """Of how many devices the contribution to a closed round was removed at somebody's wish."""
        if self._layout() < NAMES_TASKS:
            return 0
        row = self._one("SELECT forgotten FROM rounds WHERE generation = ? AND round = ?", *round_id)
        return int(row[0]) if row else 0

    def mark(self, name: str) -> str | None:
        """What was noted under a name; None: nothing."""
        if self._layout() < HAS_MARKS:
            return None
        row = self._one("SELECT value FROM marks WHERE name = ?", name)
        return str(row[0]) if row else None

    def _layout(self) -> int:
        """Of which layout it is: one that is only looked at is not migrated."""
        return int(self._one("PRAGMA user_version")[0])

    def rule(self, round_id: RoundId) -> str | None:
        """Name and version of the rule that closed a round; None while it is open, or if it was only kept."""
        if self._layout() < NAMES_RULES:
            row = self._one(
                "SELECT kind FROM rounds WHERE generation = ? AND round = ? AND closed_at IS NOT NULL",
                *round_id,
            )
            return RULES_BEFORE.get(row[0]) if row else None
        row = self._one("SELECT rule FROM rounds WHERE generation = ? AND round = ?", *round_id)
        return row[0] if row else None

    def summaries(self, generation: int) -> list[dict[str, Any]]:
        """What the closed training rounds of a generation brought, in order."""
        rows = self._all(
            "SELECT summary FROM rounds WHERE generation = ? AND kind = 'train' AND closed_at IS NOT NULL"
            " ORDER BY round",
            generation,
        )
        with self._sound("the summaries"):
            return [json.loads(row[0]) for row in rows]

    def history(self, generation: int) -> list[tuple[str, dict[str, Any]]]:
        """Kind and summary of the closed rounds of a generation after its first, in order."""
        rows = self._all(
            "SELECT kind, summary FROM rounds WHERE generation = ? AND round > 0 AND closed_at IS NOT NULL"
            " ORDER BY round",
            generation,
        )
        with self._sound("the summaries"):
            return [(kind, json.loads(summary)) for kind, summary in rows]

    def summary(self, round_id: RoundId) -> dict[str, float]:
        """What one closed round brought, in numbers."""
        row = self._one("SELECT summary FROM rounds WHERE generation = ? AND round = ?", *round_id)
        with self._sound(f"the summary of round {round_id}"):
            found = json.loads(row[0]) if row else {}
            return {name: value for name, value in found.items() if isinstance(value, int | float)}

    def bytes_held(self) -> int:
        """What the ledger takes, without what has been freed in it."""
        names = ("page_count", "freelist_count", "page_size")
        pages, free, page = (self._one(f"PRAGMA {name}")[0] for name in names)
        return int((pages - free) * page)

    # ── updates ────────────────────────────────────────────────────────────────────────────────────

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

    def verdict(self, device: str, digest: bytes) -> Verdict | None:
        """What was said of an update, in whichever kept round; None: nothing, or it is forgotten."""
        row = self._one(
            "SELECT generation, round, verdict, reason, detail, samples FROM answers"
            " WHERE device = ? AND digest = ? ORDER BY generation, round",
            device,
            digest,
        )
        if row is None:
            return None
        generation, round_, verdict, reason, detail, samples = row
        with self._sound(f"the verdict on an update of {device}"):
            answer = Answer(digest, verdict, Reason(reason) if reason else None, detail, samples)
        return Verdict(RoundId(generation, round_), answer)

    def remembers(self, round_id: RoundId) -> bool:
        """Whether verdicts of a round are held: those of every closed one are, until it is freed."""
        row = self._one("SELECT 1 FROM answers WHERE generation = ? AND round = ? LIMIT 1", *round_id)
        return row is not None

    def check_updates(self) -> None:
        """Put each update together that counts in a kept round; compare it with its digest.

        Rounds of a generation that a program before layout 7 ended are left out: it freed their updates then.
        One at a time, a frame at a time: it takes no memory, and some 0.2 s for 200 MB in the page cache.

        Raises:
            DamagedState: some are not what they were; the text names the first ones.
        """
        damaged = []
        rows = self._rows(
            "SELECT generation, round, device, digest FROM answers LEFT JOIN rounds USING (generation, round)"
            " WHERE verdict = 'admitted' AND (generation = (SELECT generation FROM life)"
            " OR (closed_at IS NOT NULL AND task IS NOT NULL)) ORDER BY generation, round, lane, device"
        )
        for generation, round_, device, digest in rows:
            found = sha256()
            for data in self.pieces(device, digest):
                found.update(data)
            if found.digest() != digest:
                damaged.append(f"{device} in round {RoundId(generation, round_)}")
        if damaged:
            names = ", ".join(damaged[:NAMED]) + (
                f" and {more} more" if (more := len(damaged) - NAMED) > 0 else ""
            )
            raise DamagedState(
                f"{self._path}: the updates of {names} are not what was admitted: these rounds cannot be "
                "computed again"
            )

    def update_bytes(self, round_id: RoundId) -> int:
        """Bytes of the updates that counted in a round."""
        row = self._one(
            "SELECT coalesce(sum(length(data)), 0) FROM frames JOIN answers USING (device, digest)"
            " WHERE generation = ? AND round = ? AND verdict = 'admitted'",
            *round_id,
        )
        return int(row[0]) if row else 0

    def abilities(self) -> dict[str, frozenset[str]]:
        """What each device can that has told its status, as names of `fedge.capabilities`."""
        rows = self._all("SELECT device, can FROM devices WHERE version IS NOT NULL")
        with self._sound("what the devices can"):
            return {device: told(tuple(json.loads(can)) if can is not None else None) for device, can in rows}

    def missed(self) -> dict[str, Missed]:
        """The devices that let rounds wait in vain since their last update that was admitted."""
        rows = self._all("SELECT device, missed, missed_in FROM devices WHERE missed > 0")
        with self._sound("who missed deadlines"):
            return {device: Missed(times, _attempt(last)) for device, times, last in rows}

    # ── one device ─────────────────────────────────────────────────────────────────────────────────

    def heard(self) -> frozenset[str]:
        """Every device that has told something, or was refused."""
        return frozenset(device for (device,) in self._all("SELECT device FROM devices"))

    def answered_by(self, device: str) -> tuple[tuple[RoundId, ...], RoundId | None]:
        """The closed rounds of which a device's update is kept that counted, and the open one it answered."""
        rows = self._all(
            "SELECT generation, round, verdict, closed_at IS NOT NULL FROM answers"
            " JOIN rounds USING (generation, round) WHERE device = ? ORDER BY generation, round",
            device,
        )
        closed = tuple(
            RoundId(g, r) for g, r, verdict, is_closed in rows if is_closed and verdict == "admitted"
        )
        waiting = [RoundId(g, r) for g, r, _, is_closed in rows if not is_closed]
        return closed, waiting[-1] if waiting else None

    def bytes_of(self, device: str) -> int:
        """Bytes of a device's updates, complete or not."""
        return int(self._one("SELECT coalesce(sum(length(data)), 0) FROM frames WHERE device = ?", device)[0])

    def surveys_that_name(self, device: str) -> tuple[RoundId, ...]:
        """The closed rounds whose summary names a device that lay far from the fleet."""
        return tuple(
            round_id
            for round_id, found in self._surveys_with_outlying()
            if any(one.get("device") == device for one in found["outlying"])
        )

    def _surveys_with_outlying(self) -> Iterator[tuple[RoundId, dict[str, Any]]]:
        rows = self._all("SELECT generation, round, summary FROM rounds WHERE summary LIKE '%\"outlying\"%'")
        for generation, number, summary in rows:
            with self._sound(f"the summary of round {RoundId(generation, number)}"):
                yield RoundId(generation, number), json.loads(summary)

    def generations_begun(self) -> list[int]:
        """The generations that began with a model of before, in order."""
        return [g for (g,) in self._all("SELECT generation FROM beginnings ORDER BY generation")]

    def beginnings_without(self, device: str) -> tuple[int, ...]:
        """The generations that began without what a device had contributed, and name it for that."""
        return tuple(
            generation
            for generation in self.generations_begun()
            if (begun := self.beginning(generation)) is not None
            and device in (*begun.without, *begun.survey_without)
        )

    # ── what is published ──────────────────────────────────────────────────────────────────────────

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

    def export_slot(self) -> int | None:
        """The slot of the exported file that is announced at the broker; None: none is known to be."""
        row = self._one("SELECT slot FROM slots WHERE kind = 'export'")
        return row[0] if row else None

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


def _attempt(text: str) -> Attempt:
    generation, round_, number = json.loads(text)
    return Attempt(RoundId(generation, round_), number)


@contextmanager
def read_only(path: Path) -> Iterator[LedgerReader]:
    """A ledger to look at, also while its aggregator runs.

    Raises:
        StateError: there is none, or it cannot be read.
    """
    with connect_read_only(path) as db:
        yield LedgerReader(path, db)


@contextmanager
def connect_read_only(path: Path) -> Iterator[sqlite3.Connection]:
    """The database of a ledger, in which every attempt to change something fails.

    Raises:
        StateError: there is none, or it cannot be read.
    """
    if not exists(path):
        raise StateError(f"{path}: there is no ledger; it is made when the aggregator first runs")
    try:
        db = open_read_only(path)
    except sqlite3.Error as error:
        raise database_error(path, error) from error
    try:
        yield db
    except sqlite3.Error as error:
        raise database_error(path, error) from error
    finally:
        db.close()
