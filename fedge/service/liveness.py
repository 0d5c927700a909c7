"""Signs of life: each part announces when it will report next; one that misses that moment is stuck.

A thread that died misses its announcement too, so no check for its existence is needed. A part that waits for
work announces nothing; whoever gives it work announces for it.
"""

import math
import time
from collections.abc import Callable, Iterable


class Pulse:
    """The announcement ("promise") of one part: a single number, which any thread may set and read.

    Args:
        part: its name in messages.
        now_s: monotonic seconds.
    """

    def __init__(self, part: str, now_s: Callable[[], float] = time.monotonic) -> None:
        self.part = part
        self._now_s = now_s
        self._due_s = math.inf

    def within(self, seconds: float) -> None:
        """Promise to report again within so many seconds."""
        self._due_s = self._now_s() + seconds

    def expect(self, seconds: float) -> None:
        """Promise for a part that is given work; its own open promise stays."""
        if self._due_s == math.inf:
            self.within(seconds)

    def rest(self) -> None:
        """Withdraw the promise: there is nothing to do."""
        self._due_s = math.inf

    def overdue_s(self) -> float:
        """How many seconds the promise is overdue; 0.0 if it is not."""
        return max(0.0, self._now_s() - self._due_s)


def stuck(pulses: Iterable[Pulse]) -> list[str]:
    """Name the parts whose promise is overdue."""
    return [pulse.part for pulse in pulses if pulse.overdue_s() > 0.0]
