"""The disks of a world that are in no host, and how new ones are made."""

from pathlib import Path

from fleet.simulator.disks import Disk
from fleet.simulator.hosts import AggregatorHost, DeviceHost


class SpareDisks:
    """The disks that are in no host.

    Args:
        folder: for disks that are files; None: they are in memory.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._paths = 0
        self.copies: list[Disk] = []
        """Ledgers that are no longer in use, and copies that may be restored."""
        self.lost: list[Disk] = []
        """Disks that nobody can restore."""

    @property
    def all(self) -> list[Disk]:
        """All that are not in a host."""
        return [*self.copies, *self.lost]

    def blank(self, host: AggregatorHost | DeviceHost) -> Disk:
        """An empty disk for this host."""
        return Disk(host.power, self.path())

    def copy(self, host: AggregatorHost | DeviceHost) -> Disk:
        """A copy of this host's disk."""
        return host.disk.copy(host.power, self.path())

    def path(self) -> Path | None:
        """A new path for a disk; None: it is in memory."""
        if self._folder is None:
            return None
        self._paths += 1
        return self._folder / f"state-{self._paths}.db"
