"""Whether a program's parts are alive: each promises when it is heard of next; one that is not is stuck.

A thread that died keeps no promise either, so nothing has to ask whether it is still there. A part that waits
for work promises nothing; whoever gives it work promises in its place.
"""

import math
import time
from collections.abc import Callable, Iterable


class Pulse:
    """The promise of one part. It is a single number, so that any thread may make it and any may look.

    Args:
        part: what it is called in messages.
        now_s: monotonic seconds.
    """

    def __init__(self, part: str, now_s: Callable[[], float] = time.monotonic) -> None:
        self.part = part
        self._now_s = now_s
        self._due_s = math.inf

    def within(self, seconds: float) -> None:
        """Promise to be heard of again within so many seconds."""
        self._due_s = self._now_s() + seconds

    def expect(self, seconds: float) -> None:
        """Promise for a part that is given work; what it promised itself and still owes stays."""
        if self._due_s == math.inf:
            self.within(seconds)

    def rest(self) -> None:
        """Take the promise back: there is nothing to do."""
        self._due_s = math.inf

    def overdue_s(self) -> float:
        """For how long the promise has not been kept, in seconds; 0.0 if it still may be."""
        return max(0.0, self._now_s() - self._due_s)


def stuck(pulses: Iterable[Pulse]) -> list[str]:
    """Name the parts that have not kept their promise."""
    return [pulse.part for pulse in pulses if pulse.overdue_s() > 0.0]
