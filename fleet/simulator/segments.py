"""The segments of a host's ledger in memory: what is not synced when the power fails is lost."""

from collections.abc import Collection, Iterable

from fedge.errors import DamagedState, StateError
from fedge.storage.segments import Place
from fleet.simulator.crash import Power


class MemorySegments:
    """As `fedge.storage.segments.FileSegments`, on a disk that may fail.

    Each value is held by its segment and offset. `power_fails` forgets those that were not synced.
    """

    def __init__(self, power: Power) -> None:
        self.power = power
        self._values: dict[tuple[int, int], bytes] = {}
        self._unsynced: set[tuple[int, int]] = set()
        self._number, self._end = 1, 0

    @property
    def newest(self) -> int:
        """As `FileSegments.newest`."""
        return self._number

    def append(self, data: bytes) -> Place:
        """As `FileSegments.append`."""
        self._use_disk()
        place = Place(self._number, self._end, len(data))
        self._values[place[:2]] = data
        self._unsynced.add(place[:2])
        self._end += len(data)
        return place

    def sync(self) -> None:
        """As `FileSegments.sync`."""
        if self._unsynced:
            self._use_disk()
            self._unsynced.clear()

    def undo(self) -> None:
        """As `FileSegments.undo`."""
        if self._unsynced:
            self.power_fails()

    def read(self, place: Place) -> bytes:
        """As `FileSegments.read`."""
        data = self._values.get(place[:2])
        if data is None or len(data) != place.length:
            raise DamagedState(f"segment {place.segment}: is damaged at byte {place.offset}")
        return data

    def roll(self) -> None:
        """As `FileSegments.roll`."""
        self.sync()
        self._number, self._end = self._number + 1, 0

    def ended(self) -> dict[int, int]:
        """As `FileSegments.ended`."""
        sizes: dict[int, int] = {}
        for (number, offset), data in self._values.items():
            if number != self._number:
                sizes[number] = max(sizes.get(number, 0), offset + len(data))
        return sizes

    def keep(self, segments: Collection[int]) -> None:
        """As `FileSegments.keep`."""
        self._values = {
            at: data for at, data in self._values.items() if at[0] in segments or at[0] == self._number
        }
        self._unsynced &= self._values.keys()

    def erase(self, places: Iterable[Place]) -> None:
        """As `FileSegments.erase`."""
        used = {place[:2] for place in places}
        self._values = {at: data for at, data in self._values.items() if at in used}
        self._unsynced &= self._values.keys()

    def close(self) -> None:
        """As `FileSegments.close`."""

    def power_fails(self) -> None:
        """Forget what was not synced; the next program begins a new segment, as in production."""
        for at in self._unsynced:
            del self._values[at]
        self._unsynced.clear()
        self._number, self._end = self._number + 1, 0

    def copy(self, power: Power) -> "MemorySegments":
        """Segments with the same durable values, for a copy of the disk."""
        clone = MemorySegments(power)
        clone._values = {at: data for at, data in self._values.items() if at not in self._unsynced}
        clone._number = self._number + 1
        return clone

    def _use_disk(self) -> None:
        if not self.power.use_disk():
            raise StateError("segments: No space left on device")
