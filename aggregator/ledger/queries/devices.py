"""Queries on devices."""

import json

from aggregator.core.verdicts import Missed
from aggregator.ledger.queries.access import Access
from fedge.wire.capabilities import told
from fedge.wire.freshness import Attempt, RoundId


class DeviceQueries(Access):
    """Queries on the table `devices`."""

    def devices(self) -> frozenset[str]:
        """The devices that have sent a status."""
        rows = self._all("SELECT device FROM devices WHERE version IS NOT NULL")
        return frozenset(row[0] for row in rows)

    def heard(self) -> frozenset[str]:
        """Every device with a stored status, miss or refusal."""
        return frozenset(device for (device,) in self._all("SELECT device FROM devices"))

    def abilities(self) -> dict[str, frozenset[str]]:
        """The capabilities of each device that has sent a status, as names of `fedge.wire.capabilities`."""
        rows = self._all("SELECT device, can FROM devices WHERE version IS NOT NULL")
        with self._sound("the devices' capabilities"):
            return {device: told(tuple(json.loads(can)) if can is not None else None) for device, can in rows}

    def missed(self) -> dict[str, Missed]:
        """The devices with misses since their last admitted update."""
        rows = self._all("SELECT device, missed, missed_in FROM devices WHERE missed > 0")
        with self._sound("the devices' misses"):
            return {device: Missed(times, _attempt(last)) for device, times, last in rows}


def _attempt(text: str) -> Attempt:
    generation, round_, number = json.loads(text)
    return Attempt(RoundId(generation, round_), number)
