"""Queries on updates."""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Any

from aggregator.ledger.layout import HAS_MASKING, HAS_PREFIXES, HAS_SEGMENTS
from aggregator.ledger.queries.access import Access
from fedge.errors import DamagedState
from fedge.wire.encoding import MAX_PAYLOAD
from fedge.wire.frames import Partial, offer
from fedge.wire.freshness import RoundId
from fedge.wire.messages.frame import Frame

NAMED = 5
"""The largest number of updates named in one error."""


class UpdateQueries(Access):
    """Queries on the table `frames`, and on the segments that it refers to."""

    def pieces(self, device: str, digest: bytes) -> Iterator[bytes]:
        """The data of an update's frames, in order; without those that are removed meanwhile.

        The aggregator may move one to another segment while another thread or program reads it.
        """
        rows = self._all(f"{self._where_frames_are()} ORDER BY i", device, digest)
        return self._read(device, digest, rows)

    def pieces_of(self, updates: Sequence[tuple[str, bytes]]) -> Iterator[Iterator[bytes]]:
        """As `pieces`, of each of these updates (device and digest); one query finds them all.

        Args:
            updates: at most 1,000. Frames of old layouts are in the table, and read at once.
        """
        # A few texts of the statement serve all numbers: SQLite compiles each text once.
        once = list(dict.fromkeys(updates))
        asked = [*once, *[("", b"")] * ((1 << (len(once) - 1).bit_length()) - len(once))]
        rows = self._all(
            f"WITH asked(device, digest) AS (VALUES {', '.join(['(?, ?)'] * len(asked))})"  # noqa: S608 # question marks
            f" SELECT asked.device, asked.digest, {self._columns()} FROM asked CROSS JOIN frames ON"
            f" {self._is_of('asked.device', 'asked.digest')}"
            " ORDER BY asked.device, asked.digest, i",
            *(value for pair in asked for value in pair),
        )
        found: dict[tuple[str, bytes], list[Any]] = {}
        for device, digest, *row in rows:
            found.setdefault((device, digest), []).append(tuple(row))
        return (self._read(*update, found.get(update, [])) for update in updates)

    def _is_of(self, device: str, digest: str) -> str:
        """The condition that a frame is of an update, by these expressions for its device and digest."""
        prefix = f" AND frames.prefix = substr({digest}, 1, 4)" if self._layout() >= HAS_PREFIXES else ""
        return f"frames.device = {device}{prefix} AND frames.digest = {digest}"

    def _columns(self) -> str:
        place = "segment, offset, length" if self._layout() >= HAS_SEGMENTS else "NULL, NULL, NULL"
        return f"data, {place}, i"

    def _where_frames_are(self) -> str:
        return f"SELECT {self._columns()} FROM frames WHERE {self._is_of('?1', '?2')}"  # noqa: S608 # texts of ours

    def _read(self, device: str, digest: bytes, rows: Iterable[Any]) -> Iterator[bytes]:
        """The data of the frames in these rows."""
        for found in rows:
            row = found
            while row is not None:
                data, segment, offset, length, i = row
                if segment is None:
                    yield data
                    break
                try:
                    data = self._segments.read(self._place(segment, offset, length))
                except DamagedState:
                    statement = f"{self._where_frames_are()} AND i = ?3"
                    row, before = self._one(statement, device, digest, i), row
                    if row == before:
                        raise
                else:
                    yield data
                    break

    def partials(self) -> dict[str, Partial]:
        """The records of spooled updates that are not answered yet."""
        partials: dict[str, Partial] = {}
        taken = "SELECT device, digest FROM answers"
        if self._layout() >= HAS_MASKING:
            taken += " UNION SELECT device, content FROM masking"
        rows = self._rows(
            "SELECT device, digest, i, n, size, coalesce(length, length(data)) FROM frames"  # noqa: S608 # texts of ours
            f" WHERE (device, digest) NOT IN ({taken}) ORDER BY device, digest, i"
        )
        for device, digest, i, n, size, length in rows:
            with self._sound("the frames of updates that are not complete"):
                if not isinstance(length, int) or not 0 <= length <= MAX_PAYLOAD:
                    raise ValueError(f"a frame of {length!r} bytes")
                frame = Frame(id=digest, i=i, n=n, size=size, data=bytes(length))  # only its length counts
                partial = offer(partials.get(device), frame)
            if isinstance(partial, Partial):
                partials[device] = partial
        return partials

    def check_updates(self) -> None:
        """Compare each update that counts in a kept round with its digest.

        Rounds of a generation that a program before layout 7 ended are left out, because it freed their
        updates. Updates are read one at a time, so memory use does not grow with their number; 200 MB in the
        page cache take about 0.2 s.

        Raises:
            DamagedState: some are damaged; the error names the first five.
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
                f"{self._path}: the updates of {names} are damaged (their bytes do not match their digests), "
                "so these rounds cannot be computed again"
            )

    def update_bytes(self, round_id: RoundId) -> int:
        """Bytes of the updates that counted in a round."""
        row = self._one(
            f"SELECT coalesce(sum({self._length()}), 0) FROM answers JOIN frames ON"  # noqa: S608 # texts of ours
            f" {self._is_of('answers.device', 'answers.digest')}"
            " WHERE generation = ? AND round = ? AND verdict = 'admitted'",
            *round_id,
        )
        return int(row[0]) if row else 0

    def bytes_of(self, device: str) -> int:
        """Bytes of a device's updates, complete or not."""
        statement = f"SELECT coalesce(sum({self._length()}), 0) FROM frames WHERE device = ?"  # noqa: S608 # texts of ours
        return int(self._one(statement, device)[0])

    def _length(self) -> str:
        """The expression for the bytes in a frame."""
        return "coalesce(length, length(data))" if self._layout() >= HAS_SEGMENTS else "length(data)"
