"""The database in which a device keeps its state over restarts. Each method is one durable transaction."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from agent.core.device import Saved
from agent.core.state import AlgorithmState, MaskedUpdate, PersonalState
from agent.data.snapshot import Snapshot
from agent.shell import algorithm_states, masked_updates, personal_models
from agent.shell.memory_layout import MIGRATIONS
from agent.shell.memory_proofs import (
    attempt_of,
    examine,
    proof_of_keys,
    proof_of_seen,
    proof_of_told,
    proof_of_update,
)
from fedge.errors import StateError
from fedge.identity.ed25519 import PUBLIC_BYTES
from fedge.identity.trust import Signers
from fedge.storage.atomic_files import atomic_write, remove
from fedge.storage.databases import Connect, database_error, open_database, transaction
from fedge.wire.freshness import Attempt, RoundId

BOOTS_KEPT = 16
_SAVE_SEEN = "REPLACE INTO seen (one, generation, round, attempt, proof) VALUES (1, ?, ?, ?, ?)"


class Memory:
    """The device's database. Each method is one durable transaction.

    Raises:
        DamagedState: from the constructor and any method, if the data are not what was written.
        StateError: from the constructor and any method, if the disk is full, read-only or failing. Nothing
            has changed then.
    """

    def __init__(self, path: Path, connect: Connect = open_database) -> None:
        self._path = path
        self._db = connect(path, MIGRATIONS)
        self._reset_mark = path.with_suffix(".reset")
        """An empty file, which exists while a reset of the states is due that could not be saved."""
        self._to_reset = self._reset_mark.exists()
        """Whether a reset of the states is due that could not be saved."""
        try:
            self._has_states = examine(self._db, path)
            masked_updates.examine(self._db, path)
            self._has_masked = True
            """Whether there may be states. If not, no query for them is made."""
        except BaseException:
            self._db.close()
            raise

    def seen(self) -> Attempt:
        """Return the newest attempt that was announced; attempt 0 of round 0.0 if there is none."""
        with self._clear_errors():
            row = self._db.execute("SELECT generation, round, attempt FROM seen").fetchone()
        return attempt_of(*row) if row else attempt_of(0, 0, 0)

    def save_seen(self, attempt: Attempt) -> None:
        """Save the newest attempt that was announced."""
        with self._clear_errors():
            self._db.execute(_SAVE_SEEN, (*attempt.round, attempt.number, proof_of_seen(attempt)))

    def forget_rounds(self) -> None:
        """Delete the newest attempt seen, the update with its verdict, and the states of algorithms."""
        with transaction(self._db, self._path):
            for table in ("seen", "outbox", "verdict", "states"):
                self._db.execute(f"DELETE FROM {table}")  # noqa: S608 # these four names
        self._has_states = False
        with suppress(StateError):  # a mark that stays costs nothing: there is no state
            self._end_reset()

    def saved(self) -> Saved | None:
        """The newest update without its bytes, and the verdict on it."""
        with self._clear_errors():
            row = self._db.execute(
                "SELECT generation, round, digest, verdict,"
                " EXISTS (SELECT 1 FROM states WHERE states.digest = outbox.digest),"
                " EXISTS (SELECT 1 FROM personal WHERE personal.generation = outbox.generation"
                " AND personal.round = outbox.round)"
                " FROM outbox LEFT JOIN verdict USING (digest)"
            ).fetchone()
        if row is None:
            return None
        return Saved(
            RoundId(row[0], row[1]),
            row[2],
            row[3],
            pending=bool(row[4]) and row[3] is None,
            own_models=bool(row[5]),
        )

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
        personal: PersonalState | None = None,
        older: RoundId | None = None,
        masked: MaskedUpdate | None = None,
    ) -> None:
        """Save an update instead of the former one, and its attempt as the newest seen.

        Args:
            attempt: the newest attempt seen, which the update answers.
            digest: SHA-256 of the payload.
            payload: the packed update.
            snapshot: the source of a survey, and its snapshot, which is saved too.
            pending: the algorithm's new state, which waits for the verdict on the update. A state that waited
                for the verdict on the former update is dropped.
            personal: what the device keeps of its own models from now on, whatever the verdict; None: what it
                has.
            older: the round that the update was made for, if it is not that of the attempt.
            masked: the update that the payload promises; None: that of an earlier round is dropped.
        """
        round_id = older or attempt.round
        with transaction(self._db, self._path):
            self._keep_pending(digest, pending)
            self._db.execute(_SAVE_SEEN, (*attempt.round, attempt.number, proof_of_seen(attempt)))
            self._db.execute(
                # Not REPLACE: an update in place of the same size writes into the old pages and no others.
                "INSERT INTO outbox VALUES (1, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " generation = excluded.generation, round = excluded.round, digest = excluded.digest,"
                " proof = excluded.proof, payload = excluded.payload",
                (*round_id, digest, proof_of_update(round_id, digest), payload),
            )
            if personal is not None:
                personal_models.replace(self._db, personal)
            if self._has_masked or masked is not None:
                masked_updates.replace(self._db, masked)
                self._has_masked = masked is not None
            if snapshot is not None:
                source, content = snapshot[0], snapshot[1].to_bytes()
                self._db.execute(
                    "REPLACE INTO told VALUES (?, ?, ?)", (source, content, proof_of_told(source, content))
                )

    def save_verdict(self, digest: bytes, verdict: str, *, resets: bool = False) -> None:
        """Save the verdict on the newest update, which decides about the state that waits for it.

        Args:
            digest: of the update; the verdict on another one is ignored.
            verdict: `admitted` or `refused`.
            resets: whether all states are dropped, because it is not known whether the update counted.
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
        """Return the algorithm's state after its last admitted update; None: the algorithm begins anew."""
        if self._to_reset:
            self.reset_state()
        if not self._has_states:
            return None
        with self._clear_errors():
            return algorithm_states.current(self._db)

    def state_round(self) -> RoundId | None:
        """Return the round of `state`, without reading its data."""
        if self._to_reset or not self._has_states:
            return None
        with self._clear_errors():
            return algorithm_states.current_round(self._db)

    def personal(self) -> PersonalState | None:
        """Return what the device keeps of its own models; None: nothing."""
        with self._clear_errors():
            return personal_models.read(self._db)

    def masked(self) -> MaskedUpdate | None:
        """Return the update that was promised in a masked round; None: there is none."""
        with self._clear_errors():
            return masked_updates.read(self._db)

    def masking(self) -> bytes | None:
        """Return the state in secure aggregation, as it was saved; None: there is none."""
        with self._clear_errors():
            return masked_updates.read_state(self._db)

    def save_masking(self, state: bytes) -> None:
        """Save the state in secure aggregation."""
        with self._clear_errors():
            masked_updates.save_state(self._db, state)

    def reset_state(self) -> None:
        """Delete the states, so that the algorithm begins anew in its next round.

        If this fails, `state` tries it again before it returns anything, also after a restart. An empty file
        beside the database marks this. Even a full disk usually has room for it.
        """
        self._to_reset = True
        try:
            with self._clear_errors():
                self._db.execute("DELETE FROM states")
        except StateError:
            if self._path.exists():  # a database in memory has no file, and ends with its process
                with suppress(StateError):
                    atomic_write(self._reset_mark, b"")
            raise
        self._has_states = False
        self._end_reset()

    def snapshots(self) -> dict[str, Snapshot]:
        """Return the snapshots that surveys have reported, by source."""
        with self._clear_errors():
            rows = self._db.execute("SELECT source, snapshot FROM told ORDER BY source").fetchall()
        return {source: Snapshot.from_bytes(content) for source, content in rows}

    def forget_snapshots(self) -> None:
        """Delete the snapshots, so that the next survey measures every source again."""
        with self._clear_errors():
            self._db.execute("DELETE FROM told")

    def signers(self) -> Signers:
        """Return the known signing keys, the pinned one first; empty if none was ever pinned."""
        with self._clear_errors():
            row = self._db.execute("SELECT keys FROM signers").fetchone()
        keys = bytes(row[0]) if row else b""
        return tuple(keys[at : at + PUBLIC_BYTES] for at in range(0, len(keys), PUBLIC_BYTES))

    def save_signers(self, signers: Signers, seen: Attempt | None = None) -> None:
        """Trust the last of these keys from now on, and delete the attempts that earlier keys announced.

        Args:
            signers: the known keys, the pinned one first.
            seen: the attempt that the last key announced, which is the newest seen from now on.
        """
        keys = b"".join(signers)
        with transaction(self._db, self._path):
            self._db.execute("REPLACE INTO signers VALUES (1, ?, ?)", (keys, proof_of_keys(keys)))
            self._db.execute("DELETE FROM seen")
            if seen is not None:
                self._db.execute(_SAVE_SEEN, (*seen.round, seen.number, proof_of_seen(seen)))

    def add_boot(self, boot: bytes) -> frozenset[bytes]:
        """Save the id of this boot; return the earlier ones."""
        with transaction(self._db, self._path):
            earlier = frozenset(row[0] for row in self._db.execute("SELECT boot FROM boots"))
            self._db.execute("INSERT INTO boots (boot) VALUES (?)", (boot,))
            self._db.execute("DELETE FROM boots WHERE n <= (SELECT max(n) FROM boots) - ?", (BOOTS_KEPT,))
        return earlier

    def moved(self) -> tuple[str, int]:
        """Return the day and its bytes, as `save_moved` stored them; ("", 0) if nothing is stored."""
        with self._clear_errors():
            row = self._db.execute("SELECT day, bytes FROM moved").fetchone()
        return (str(row[0]), int(row[1])) if row else ("", 0)

    def save_moved(self, day: str, count: int) -> None:
        """Save a day, in the form of `agent.shell.traffic`, and the number of bytes that count for it."""
        with self._clear_errors():
            self._db.execute("REPLACE INTO moved VALUES (1, ?, ?)", (day, count))

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def _end_reset(self) -> None:
        if self._reset_mark.exists():
            remove(self._reset_mark)
        self._to_reset = False

    def _keep_pending(self, digest: bytes, pending: AlgorithmState | None) -> None:
        if pending is None and not self._has_states:
            return
        self._has_states = True  # also if this transaction fails: then later queries find nothing
        algorithm_states.replace_pending(self._db, digest, pending)

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise database_error(self._path, error) from error
