"""Immutable maps and sets of devices in which a change takes O(log n).

A core's state is frozen, so to change one entry of a map means to make another map. To copy a dict takes
O(n). These maps share all but a few nodes with the one before (`immutables.Map`, a hash array mapped trie:
Bagwell, "Ideal Hash Trees", 2001).

A trie is iterated by hash, and the hashes of strings differ from process to process. So iteration here is by
name, and its results are a function of the entries. It takes O(n log n), and is for what happens once in a
round.
"""

from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any, TypeVar, overload

from immutables import Map

V = TypeVar("V")
W = TypeVar("W")


class PerDevice(Mapping[str, V]):
    """An immutable map with a value for each of some devices."""

    __slots__ = ("_map",)

    def __init__(self, values: Mapping[str, V] | None = None) -> None:
        self._map: Map[str, V] = Map(values or {})

    def __getitem__(self, device: str) -> V:
        return self._map[device]

    @overload
    def get(self, device: str, /) -> V | None: ...
    @overload
    def get(self, device: str, default: V | W, /) -> V | W: ...
    def get(self, device: str, default: Any = None, /) -> Any:
        """Return the value of a device, or `default`."""
        return self._map.get(device, default)

    def __contains__(self, device: object) -> bool:
        return device in self._map

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._map))

    def __len__(self) -> int:
        return len(self._map)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, PerDevice):
            return bool(self._map == other._map)
        return super().__eq__(other)

    __hash__ = None  # type: ignore[assignment] # its values need not be hashable

    def __repr__(self) -> str:
        return f"PerDevice({dict(self)})"

    def put(self, device: str, value: V) -> "PerDevice[V]":
        """Return the map with this value for a device."""
        return _wrapped(self._map.set(device, value))

    def put_all(self, values: Mapping[str, V]) -> "PerDevice[V]":
        """Return the map with these values for these devices."""
        return _wrapped(self._map.update(values.items())) if values else self

    def drop(self, device: str) -> "PerDevice[V]":
        """Return the map without a device: itself, if it has none of that name."""
        return _wrapped(self._map.delete(device)) if device in self._map else self


def _wrapped(values: "Map[str, V]") -> PerDevice[V]:
    made: PerDevice[V] = object.__new__(PerDevice)
    made._map = values
    return made


class Devices(Set[str]):
    """An immutable set of devices. Its operators (`|`, `&`, `-`, …) take any set, in O(n log n)."""

    __slots__ = ("_map",)

    def __init__(self, devices: Iterable[str] = ()) -> None:
        self._map: Map[str, None] = Map(dict.fromkeys(devices))

    def __contains__(self, device: object) -> bool:
        return device in self._map

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._map))

    def __len__(self) -> int:
        return len(self._map)

    def __repr__(self) -> str:
        return f"Devices({list(self)})"

    def put(self, device: str) -> "Devices":
        """Return the set with a device: itself, if it is in it."""
        return self if device in self._map else _gathered(self._map.set(device, None))

    def drop(self, device: str) -> "Devices":
        """Return the set without a device: itself, if it is not in it."""
        return _gathered(self._map.delete(device)) if device in self._map else self

    def drop_all(self, devices: Iterable[str]) -> "Devices":
        """Return the set without these devices."""
        changed = self._map.mutate()
        for device in devices:
            changed.pop(device, None)
        return _gathered(changed.finish())

    def having(self, device: str, *, member: bool) -> "Devices":
        """Return the set with a device, or without it."""
        return self.put(device) if member else self.drop(device)


def _gathered(devices: "Map[str, None]") -> Devices:
    made = object.__new__(Devices)
    made._map = devices
    return made
