"""Virtual time: the clock jumps to the next action at once."""

import heapq
from collections.abc import Callable


class Clock:
    """A queue of actions by virtual seconds; actions for the same time run in the order of scheduling."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.events = 0
        """Number of actions that were run."""
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._asked = 0

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Schedule an action that many seconds from now."""
        self.at(self.now_s + seconds, action)

    def at(self, when_s: float, action: Callable[[], None]) -> None:
        """Schedule an action at this time, or now if it is past."""
        self._asked += 1
        heapq.heappush(self._queue, (max(when_s, self.now_s), self._asked, action))

    def step(self) -> bool:
        """Run the next action; returns whether there was one."""
        if not self._queue:
            return False
        self.now_s, _, action = heapq.heappop(self._queue)
        self.events += 1
        action()
        return True
