"""What a device remembers over a restart, in one small SQLite database.

| table   | what it holds                                                                         |
|---------|---------------------------------------------------------------------------------------|
| seen    | one row: the newest (generation, round, attempt) this device has seen                 |
| outbox  | one row: the newest update and its bytes                                              |
| verdict | one row: what became of an update; beside it, so that its bytes are not written again |
| boots   | the last boot ids of this device: their late wills are its own                        |
| signers | one row: the public keys that models were signed with, from the pinned to the newest  |
| moved   | one row: the day, and the bytes that count as moved on it (see `agent.shell.traffic`)         |
| told    | one row a source: what surveys tell of it (see `agent.data.snapshot`)                      |
| states  | two rows at most: an algorithm's current state, and the one that waits for a verdict      |

SQLite notices damage to its pages, but not a flipped bit in a number or in a payload. So `seen`, `outbox`,
`signers`, `told` and `states` carry a proof of what stands in them; the digest of the outbox is that of its
payload.

Which state is the current one is written nowhere: the one whose update is in the outbox waits until that has
a verdict, is the current one as soon as that is "admitted", and is void if it is "refused"; the other one is
of an earlier update that was admitted. So the verdict, and what becomes of the state, are one row, and no
byte of a state is written twice.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path

from agent.core.device import Saved
from agent.core.state import AlgorithmState
from agent.data.snapshot import Snapshot
from fedge.errors import DamagedState
from fedge.identity.ed25519 import PUBLIC_BYTES
from fedge.identity.trust import Signers
from fedge.storage.databases import Connect, database_error, open_database, open_read_only, transaction
from fedge.wire.freshness import Attempt, RoundId

FILE = "agent.db"
"""The file's name in the state folder."""

BOOTS_KEPT = 16
MIGRATIONS = (
    """
CREATE TABLE seen (
    one INTEGER PRIMARY KEY CHECK (one = 1), generation INTEGER NOT NULL, round INTEGER NOT NULL,
    proof BLOB NOT NULL
);
CREATE TABLE outbox (
    one INTEGER PRIMARY KEY CHECK (one = 1), generation INTEGER NOT NULL, round INTEGER NOT NULL,
    digest BLOB NOT NULL, proof BLOB NOT NULL, payload BLOB NOT NULL
);
CREATE TABLE verdict (one INTEGER PRIMARY KEY CHECK (one = 1), digest BLOB NOT NULL, verdict TEXT NOT NULL);
CREATE TABLE boots (n INTEGER PRIMARY KEY, boot BLOB NOT NULL)
""",
    """
CREATE TABLE signers (one INTEGER PRIMARY KEY CHECK (one = 1), keys BLOB NOT NULL, proof BLOB NOT NULL)
""",
    "CREATE TABLE moved (one INTEGER PRIMARY KEY CHECK (one = 1), day TEXT NOT NULL, bytes INTEGER NOT NULL)",
    "ALTER TABLE seen ADD COLUMN attempt INTEGER NOT NULL DEFAULT 0",
    "CREATE TABLE told (source TEXT PRIMARY KEY, snapshot BLOB NOT NULL, proof BLOB NOT NULL)",
    """
CREATE TABLE states (
    slot INTEGER PRIMARY KEY CHECK (slot IN (0, 1)), digest BLOB NOT NULL, generation INTEGER NOT NULL,
    round INTEGER NOT NULL, lineage BLOB NOT NULL, proof BLOB NOT NULL, data BLOB NOT NULL
)
""",
)
"""The layouts, from the first on; see docs/state.md."""


_CURRENT = (
    " FROM states LEFT JOIN outbox USING (digest) LEFT JOIN verdict USING (digest)"
    " WHERE outbox.one IS NULL OR verdict = 'admitted' ORDER BY outbox.one IS NULL LIMIT 1"
)
"""The current state: that of the update in the outbox, once it was admitted, else of one before it."""
_SAVE_SEEN = "REPLACE INTO seen (one, generation, round, attempt, proof) VALUES (1, ?, ?, ?, ?)"


class Memory:
    """The device's database; each method is one durable transaction.

    Raises:
        DamagedState: from any method, also the first, when what is read is not what was written.
        StateError: from any method, when the disk is full, read-only or failing; nothing has changed then.
    """

    def __init__(self, path: Path, connect: Connect = open_database) -> None:
        self._path = path
        self._db = connect(path, MIGRATIONS)
        self._has_states = False
        """An algorithm may remember something: else nothing is looked for, and nothing dropped."""
        self._to_reset = False
        """What is remembered is to be dropped, and the disk has not taken it yet."""
        try:
            self._examine()
        except BaseException:
            self._db.close()
            raise

    def seen(self) -> Attempt:
        """The newest announcement seen; attempt 0 of round 0.0 if none."""
        with self._clear_errors():
            row = self._db.execute("SELECT generation, round, attempt FROM seen").fetchone()
        return _attempt(*row) if row else _attempt(0, 0, 0)

    def save_seen(self, attempt: Attempt) -> None:
        """Remember the newest announcement."""
        with self._clear_errors():
            self._db.execute(_SAVE_SEEN, (*attempt.round, attempt.number, _proof_of_seen(attempt)))

    def forget_rounds(self) -> None:
        """Forget which announcement was seen, the update made for one, and what algorithms remember."""
        with transaction(self._db, self._path):
            for table in ("seen", "outbox", "verdict", "states"):
                self._db.execute(f"DELETE FROM {table}")  # nosec B608 # these four names

    def saved(self) -> Saved | None:
        """What is known of the newest update."""
        with self._clear_errors():
            row = self._db.execute(
                "SELECT generation, round, digest, verdict,"
                " EXISTS (SELECT 1 FROM states WHERE states.digest = outbox.digest)"
                " FROM outbox LEFT JOIN verdict USING (digest)"
            ).fetchone()
        if row is None:
            return None
        return Saved(RoundId(row[0], row[1]), row[2], row[3], pending=bool(row[4]) and row[3] is None)

    def payload(self, digest: bytes) -> bytes | None:
        """The bytes of the newest update, if it is this one."""
        with self._clear_errors():
            row = self._db.execute("SELECT payload FROM outbox WHERE digest = ?", (digest,)).fetchone()
        return bytes(row[0]) if row else None

    def save_update(
        self,
        attempt: Attempt,
        digest: bytes,
        payload: bytes,
        snapshot: tuple[str, Snapshot] | None = None,
        pending: AlgorithmState | None = None,
    ) -> None:
        """Keep an update, and that its attempt was seen; it takes the place of the one before.

        `snapshot`: the source that a survey tells of, and what it tells, which is kept with it. `pending`:
        the algorithm's new state, which waits with the update; one that waited with the one before is void.
        """
        round_id = attempt.round
        with transaction(self._db, self._path):
            self._keep_pending(digest, pending)
            self._db.execute(_SAVE_SEEN, (*round_id, attempt.number, _proof_of_seen(attempt)))
            self._db.execute(
                # In place, not REPLACE: of the same size, the new bytes go into the old pages and no others.
                "INSERT INTO outbox VALUES (1, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " generation = excluded.generation, round = excluded.round, digest = excluded.digest,"
                " proof = excluded.proof, payload = excluded.payload",
                (*round_id, digest, _proof(round_id, digest), payload),
            )
            if snapshot is not None:
                source, content = snapshot[0], snapshot[1].to_bytes()
                self._db.execute(
                    "REPLACE INTO told VALUES (?, ?, ?)", (source, content, _proof_of_told(source, content))
                )

    def save_verdict(self, digest: bytes, verdict: str, *, resets: bool = False) -> None:
        """Remember what became of the newest update, and so of the state that waits with it.

        `resets`: nobody knows whether it counted, and no state is kept.
        """
        save = "REPLACE INTO verdict SELECT 1, digest, ? FROM outbox WHERE digest = ?"
        if not resets:
            with self._clear_errors():
                self._db.execute(save, (verdict, digest))
            return
        with transaction(self._db, self._path):
            self._db.execute(save, (verdict, digest))
            self._db.execute("DELETE FROM states")
        self._has_states = False

    def state(self) -> AlgorithmState | None:
        """What the algorithm remembers of its last admitted update; None: it is at its beginning."""
        if self._to_reset:
            self.reset_state()
        if not self._has_states:
            return None
        with self._clear_errors():
            row = self._db.execute(
                f"SELECT states.generation, states.round, lineage, data{_CURRENT}"
            ).fetchone()  # nosec B608 # a text of ours
        return AlgorithmState(RoundId(row[0], row[1]), bytes(row[2]), bytes(row[3])) if row else None

    def state_round(self) -> RoundId | None:
        """The round of `state`, without its data."""
        if not self._has_states:
            return None
        with self._clear_errors():
            row = self._db.execute(f"SELECT states.generation, states.round{_CURRENT}").fetchone()  # nosec B608 # a text of ours
        return RoundId(*row) if row else None

    def reset_state(self) -> None:
        """Have the algorithm begin anew in its next round; if that fails, `state` tries it again first."""
        self._to_reset = True
        with self._clear_errors():
            self._db.execute("DELETE FROM states")
        self._to_reset = self._has_states = False

    def snapshots(self) -> dict[str, Snapshot]:
        """What was told in surveys, by source."""
        with self._clear_errors():
            rows = self._db.execute("SELECT source, snapshot FROM told ORDER BY source").fetchall()
        return {source: Snapshot.from_bytes(content) for source, content in rows}

    def forget_snapshots(self) -> None:
        """Have every source measured anew in the next survey."""
        with self._clear_errors():
            self._db.execute("DELETE FROM told")

    def signers(self) -> Signers:
        """The keys that are known, the pinned one first; empty if none was ever pinned."""
        with self._clear_errors():
            row = self._db.execute("SELECT keys FROM signers").fetchone()
        keys = bytes(row[0]) if row else b""
        return tuple(keys[at : at + PUBLIC_BYTES] for at in range(0, len(keys), PUBLIC_BYTES))

    def save_signers(self, signers: Signers, seen: Attempt | None = None) -> None:
        """Believe the last of these keys from now on; what an earlier one said of rounds counts no more.

        `seen`: what the last one announced, which is the newest that this device has seen from now on.
        """
        keys = b"".join(signers)
        with transaction(self._db, self._path):
            self._db.execute("REPLACE INTO signers VALUES (1, ?, ?)", (keys, _proof_of_keys(keys)))
            self._db.execute("DELETE FROM seen")
            if seen is not None:
                self._db.execute(_SAVE_SEEN, (*seen.round, seen.number, _proof_of_seen(seen)))

    def add_boot(self, boot: bytes) -> frozenset[bytes]:
        """Remember this boot; returns the earlier ones."""
        with transaction(self._db, self._path):
            earlier = frozenset(row[0] for row in self._db.execute("SELECT boot FROM boots"))
            self._db.execute("INSERT INTO boots (boot) VALUES (?)", (boot,))
            self._db.execute("DELETE FROM boots WHERE n <= (SELECT max(n) FROM boots) - ?", (BOOTS_KEPT,))
        return earlier

    def moved(self) -> tuple[str, int]:
        """The day and its bytes, as `save_moved` had them; ("", 0) if nothing is written."""
        with self._clear_errors():
            row = self._db.execute("SELECT day, bytes FROM moved").fetchone()
        return (str(row[0]), int(row[1])) if row else ("", 0)

    def save_moved(self, day: str, count: int) -> None:
        """Write down a day, as `agent.shell.traffic` spells it, and the bytes that count as moved on it."""
        with self._clear_errors():
            self._db.execute("REPLACE INTO moved VALUES (1, ?, ?)", (day, count))

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def _keep_pending(self, digest: bytes, pending: AlgorithmState | None) -> None:
        """Write it into the slot that the current state is not in; before the outbox changes."""
        if pending is None and not self._has_states:
            return
        self._has_states = True  # also if this transaction fails: it is only looked for in vain then
        row = self._db.execute(f"SELECT slot{_CURRENT}").fetchone()  # nosec B608 # a text of ours
        current = row[0] if row else None
        slot = None if pending is None else 1 if current == 0 else 0
        self._db.execute("DELETE FROM states WHERE slot IS NOT ? AND slot IS NOT ?", (current, slot))
        if pending is None or slot is None:
            return
        self._db.execute(
            "INSERT INTO states VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
            " digest = excluded.digest, generation = excluded.generation, round = excluded.round,"
            " lineage = excluded.lineage, proof = excluded.proof, data = excluded.data",
            (
                slot,
                digest,
                *pending.round,
                pending.lineage,
                _proof_of_state(slot, digest, pending),
                pending.data,
            ),
        )

    def _examine(self) -> None:
        """Check the proofs, and the payload against its digest."""
        with self._clear_errors():
            seen = self._db.execute("SELECT generation, round, attempt, proof FROM seen").fetchone()
            outbox = self._db.execute(
                "SELECT generation, round, proof, digest, payload, verdict"
                " FROM outbox LEFT JOIN verdict USING (digest)"
            ).fetchone()
            signers = self._db.execute("SELECT keys, proof FROM signers").fetchone()
            told = self._db.execute("SELECT source, snapshot, proof FROM told").fetchall()
            states = self._db.execute(
                "SELECT slot, digest, generation, round, lineage, data, proof FROM states"
            ).fetchall()
        self._has_states = bool(states)
        for slot, digest, generation, round_, lineage, data, proof in states:
            found = AlgorithmState(RoundId(generation, round_), lineage, data)
            whole = all(isinstance(value, bytes) for value in (digest, lineage, data))
            if not whole or proof != _proof_of_state(slot, digest, found):
                raise DamagedState(
                    f"{self._path}: is damaged (what the algorithm remembers does not match its proof)"
                )
        for source, content, found in told:
            if found != _proof_of_told(source, content):
                raise DamagedState(
                    f"{self._path}: is damaged (what was told of {source!r} does not match its proof)"
                )
        if signers is not None and signers[1] != _proof_of_keys(signers[0]):
            raise DamagedState(f"{self._path}: is damaged (the signing keys do not match their proof)")
        if seen is not None and seen[3] != _proof_of_seen(_attempt(*seen[:3])):
            raise DamagedState(f"{self._path}: is damaged (the newest round does not match its proof)")
        if outbox is not None:
            generation, round_, proof, digest, payload, verdict = outbox
            if verdict not in (None, "admitted", "refused"):
                raise DamagedState(
                    f"{self._path}: is damaged (the verdict on the saved update is {verdict!r})"
                )
            if proof != _proof(RoundId(generation, round_), digest) or digest != sha256(payload).digest():
                raise DamagedState(f"{self._path}: is damaged (the saved update does not match its digest)")

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise database_error(self._path, error) from error


def read_moved(path: Path) -> tuple[str, int]:
    """As `Memory.moved`, of a database that may be in use, and may not be there yet.

    Raises:
        StateError: it cannot be read.
    """
    if not path.is_file():
        return "", 0
    try:
        with closing(open_read_only(path)) as db:
            if db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'moved'").fetchone() is None:
                return "", 0  # of an older program
            row = db.execute("SELECT day, bytes FROM moved").fetchone()
    except sqlite3.Error as error:
        raise database_error(path, error) from error
    return (str(row[0]), int(row[1])) if row else ("", 0)


def read_snapshots(path: Path) -> dict[str, Snapshot]:
    """As `Memory.snapshots`, of a database that may be in use, and may not be there yet.

    Raises:
        StateError: it cannot be read.
    """
    if not path.is_file():
        return {}
    try:
        with closing(open_read_only(path)) as db:
            if db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'told'").fetchone() is None:
                return {}  # of an older program
            rows = db.execute("SELECT source, snapshot FROM told ORDER BY source").fetchall()
    except sqlite3.Error as error:
        raise database_error(path, error) from error
    return {source: Snapshot.from_bytes(content) for source, content in rows}


def _attempt(generation: int, round_: int, number: int) -> Attempt:
    return Attempt(RoundId(generation, round_), number)


def _proof_of_seen(attempt: Attempt) -> bytes:
    # Of the first attempt it is what it was before the attempt was remembered.
    return _proof(attempt.round, str(attempt.number).encode() if attempt.number else b"")


def _proof(round_id: RoundId, digest: bytes = b"") -> bytes:
    return sha256(f"{round_id.generation}|{round_id.round}|".encode() + digest).digest()[:8]


def _proof_of_keys(keys: bytes) -> bytes:
    return sha256(keys).digest()[:8]


def _proof_of_told(source: str, content: bytes) -> bytes:
    return sha256(source.encode() + b"|" + content).digest()[:8]


def _proof_of_state(slot: int, digest: bytes, state: AlgorithmState) -> bytes:
    head = f"{slot}|{state.round.generation}|{state.round.round}|{len(digest)}|{len(state.lineage)}|"
    return sha256(b"".join((head.encode(), digest, state.lineage, state.data))).digest()[:8]
