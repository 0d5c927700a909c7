"""Changes of devices: their statuses, missed deadlines and refusals."""

import json

from aggregator.core.verdicts import Missed
from aggregator.ledger.changes.transactions import Transactions
from fedge.wire.messages.status import Status
from fedge.wire.reasons import Reason


class DeviceChanges(Transactions):
    """Changes of the table `devices`."""

    def save_status(self, device: str, status: Status, now: float) -> None:
        """Store a device's status and when it came, in seconds since 1970; a known status keeps its time."""
        declined = f"{status.declined.reason}: {status.declined.detail}" if status.declined else None
        self._run(
            "INSERT INTO devices"
            " (device, online, version, samples, holds, generation, round, declined, seen_at, can,"
            " declined_for, declined_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET seen_at = CASE"
            " WHEN (online, version, samples, holds, generation, round, declined) IS NOT"
            " (excluded.online, excluded.version, excluded.samples, excluded.holds, excluded.generation,"
            " excluded.round, excluded.declined) THEN excluded.seen_at ELSE seen_at END,"
            " online = excluded.online,"
            " version = excluded.version, samples = excluded.samples, holds = excluded.holds,"
            " generation = excluded.generation, round = excluded.round, declined = excluded.declined,"
            " can = excluded.can,"
            # A device that declines round after round for one reason keeps its first time, also if it says
            # nothing between two rounds.
            " declined_at = CASE WHEN excluded.declined IS NULL OR declined_for IS excluded.declined_for"
            " THEN declined_at ELSE excluded.declined_at END,"
            " declined_for = coalesce(excluded.declined_for, declined_for)",
            device,
            status.online,
            status.version,
            status.samples,
            status.holds,
            status.generation,
            status.round,
            declined,
            now,
            json.dumps(status.can) if status.can is not None else None,
            status.declined.reason if status.declined else None,
            now if status.declined else None,
        )
        self._run(
            "UPDATE devices SET uses = ? WHERE device = ? AND uses IS NOT ?", status.uses, device, status.uses
        )

    def save_missed(self, device: str, missed: Missed | None) -> None:
        """Store a device's misses; None: it has none since its last admitted update."""
        times = missed.times if missed is not None else 0
        last = json.dumps([*missed.last.round, missed.last.number]) if missed is not None else None
        self._run(
            "INSERT INTO devices (device, missed, missed_in) VALUES (?, ?, ?)"
            " ON CONFLICT DO UPDATE SET missed = excluded.missed, missed_in = excluded.missed_in",
            device,
            times,
            last,
        )

    def count_refusals(self, device: str, number: int, last: Reason) -> None:
        """Add to the number of a device's refused messages, and store the last reason."""
        self._run(
            "INSERT INTO devices (device, refused, last_refusal) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET"
            " refused = refused + excluded.refused, last_refusal = excluded.last_refusal",
            device,
            number,
            last,
        )
