"""Queries on tasks and models, and the slots that they are published in."""

from hashlib import sha256

from aggregator.ledger.queries.access import Access
from fedge.errors import DamagedState
from fedge.wire.freshness import RoundId
from fedge.wire.messages.frame import Blob


class ContentQueries(Access):
    """Queries on the tables `contents` and `slots`."""

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

    def content(self, digest: bytes) -> bytes:
        """A task or model by its digest.

        Raises:
            DamagedState: it is missing or damaged.
        """
        row = self._one("SELECT data FROM contents WHERE digest = ?", digest)
        if row is None or sha256(row[0]).digest() != digest:
            what = "is missing" if row is None else "does not match its digest"
            raise DamagedState(f"{self._path}: the content {digest.hex()[:12]}… {what}")
        return bytes(row[0])

    def has_content(self, digest: bytes) -> bool:
        """Whether a task or model is kept."""
        return self._one("SELECT 1 FROM contents WHERE digest = ?", digest) is not None

    def newest_key_slot(self) -> int | None:
        """The slot of the key frame that was stored last; None: there is none."""
        row = self._one("SELECT slot FROM slots WHERE kind = 'key' ORDER BY rowid DESC LIMIT 1")
        return row[0] if row else None

    def check_contents(self) -> None:
        """Read every task and model, and compare it with its digest.

        Raises:
            DamagedState: one is damaged.
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
        """The content of each slot, by kind and number: published already, or about to be."""
        rows = self._all("SELECT kind, slot, digest, frames, size FROM slots")
        return {
            (kind, slot): Blob(digest=digest, slot=slot, frames=frames, size=size)
            for kind, slot, digest, frames, size in rows
        }

    def export_slot(self) -> int | None:
        """The slot of the announced export at the broker; None: none is known."""
        row = self._one("SELECT slot FROM slots WHERE kind = 'export'")
        return row[0] if row else None
