"""Changes of the spool of updates."""

from collections.abc import Iterator

from aggregator.ledger.changes.transactions import Transactions
from fedge.wire.messages.frame import Frame

IN_THE_TABLE = 4_096
"""Frames of at most so many bytes are stored in the table: they cost less there than a second sync."""


class UpdateChanges(Transactions):
    """Changes of the table `frames`, and of the segments that it refers to."""

    in_the_table = IN_THE_TABLE

    def spool(self, device: str, frame: Frame) -> None:
        """Store a frame of a device's update; it takes the place of one of the same number."""
        data: bytes = frame.data
        place: tuple[int | None, ...] = (None, None, None)
        if frame.n == 1:
            self._whole = (device, frame.id, data)
        if len(data) > self.in_the_table:
            place, data = self._segments.append(data), b""
        self._run_soon(
            "INSERT INTO frames VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            device,
            frame.id,
            frame.i,
            frame.n,
            frame.size,
            data,
            *place,
        )

    def pieces(self, device: str, digest: bytes) -> Iterator[bytes]:
        """As `UpdateQueries.pieces`; an update of one frame that has just arrived is not read back."""
        whole = self._whole
        if whole is not None and whole[:2] == (device, digest):
            return iter((whole[2],))
        return super().pieces(device, digest)

    def drop_spool(self, device: str, digest: bytes) -> None:
        """Remove an update's frames, unless a kept round was computed from them: a device may send an update
        again that has counted."""
        if self._whole is not None and self._whole[:2] == (device, digest):
            self._whole = None
        self._run(
            "DELETE FROM frames WHERE device = ?1 AND prefix = substr(?2, 1, 4) AND digest = ?2"
            " AND NOT EXISTS"
            " (SELECT 1 FROM answers WHERE device = ?1 AND digest = ?2 AND verdict = 'admitted')",
            device,
            digest,
        )
