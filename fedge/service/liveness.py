"""Detects parts of a program that are stuck. Each promises when it will report next; a late one is stuck.

A thread that has died also breaks its promise, so no check for its existence is needed. A part that waits for
work promises nothing. The code that gives it work promises for it.
"""

import math
import time
from collections.abc import Callable, Iterable


class Pulse:
    """The promise of one part: the time of its next report. Any thread may set and read it.

    Args:
        part: the part's name in messages.
        now_s: returns monotonic seconds.
    """

    def __init__(self, part: str, now_s: Callable[[], float] = time.monotonic) -> None:
        self.part = part
        self._now_s = now_s
        self._due_s = math.inf

    def within(self, seconds: float) -> None:
        """Promise to report again within this many seconds."""
        self._due_s = self._now_s() + seconds

    def expect(self, seconds: float) -> None:
        """Promise for a part that is given work. If the part has an open promise, that one stays."""
        if self._due_s == math.inf:
            self.within(seconds)

    def rest(self) -> None:
        """Withdraw the promise: there is nothing to do."""
        self._due_s = math.inf

    def overdue_s(self) -> float:
        """Return by how many seconds the promise is overdue; 0.0 if it is not."""
        return max(0.0, self._now_s() - self._due_s)


def stuck(pulses: Iterable[Pulse]) -> list[str]:
    """Return the names of the parts whose promise is overdue."""
    return [pulse.part for pulse in pulses if pulse.overdue_s() > 0.0]
