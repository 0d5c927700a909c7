"""A virtual connection ends once, whenever it is reset."""

from types import SimpleNamespace
from typing import Any

from fleet.simulator.clock import Clock
from fleet.simulator.wire import Life, Wire


class Link:
    """The link of a connection, in a place with a broker that counts who reaches it."""

    def __init__(self) -> None:
        self.ends: list[str] = []
        self.reached = 0
        self.client_id, self.keep_session_s = "pump-1", 0
        self.place: Any = SimpleNamespace(
            clock=Clock(),
            weather=SimpleNamespace(delay_s=0.1, dark_until_s=0.0),
            broker=SimpleNamespace(up=False, connect=self._connect),
        )

    def _connect(self, *_: object) -> bool:
        self.reached += 1
        return False

    def ended(self, wire: Wire, reason: str, *, taken_over: bool = False) -> None:
        self.ends.append(reason)


def test_a_connection_that_is_reset_while_it_is_made_ends_only_once() -> None:
    """Each end schedules another attempt: two of them would push each other out for ever."""
    for up in (False, True):
        link: Any = Link()
        link.place.broker.up = up
        wire = Wire(link, 1, Life())
        wire.reset()
        wire.connect(None)
        while link.place.clock.step():
            pass
        assert (link.ends, link.reached) == (["reset"], 0)
