"""Virtual time: what happens next happens at once, however far away it is."""

import heapq
from collections.abc import Callable


class Clock:
    """A queue of things to do by virtual seconds; those of one instant in the order they were asked for."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.events = 0
        """How many things have happened."""
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._asked = 0

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something that many seconds from now."""
        self.at(self.now_s + seconds, action)

    def at(self, when_s: float, action: Callable[[], None]) -> None:
        """Do something then, or now if that is past."""
        self._asked += 1
        heapq.heappush(self._queue, (max(when_s, self.now_s), self._asked, action))

    def step(self) -> bool:
        """Let the next thing happen; whether there was one."""
        if not self._queue:
            return False
        self.now_s, _, action = heapq.heappop(self._queue)
        self.events += 1
        action()
        return True
