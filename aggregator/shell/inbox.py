"""The inbox of the aggregator's loop: all threads put their events into it, and the loop takes them out.

Each turn costs a durable transaction, however few its events are. So messages wait up to `GATHER_S` for
others. The broker's answers do not wait, because further publications wait for them.
"""

import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Event

from aggregator.shell.runtime import InboxEvent
from fedge.service.systemd import Watchdog
from fedge.transport import Answered, MessageArrived

LARGEST_TURN = 256
"""The largest number of events in one transaction."""
LARGEST_BYTES = 2**21
"""A turn ends once its payloads have so many bytes: half of what may wait for its acknowledgement, so that
the next turn's messages are read while this one's are written."""
GATHER_S = 0.02
"""How long a message waits at most for others of the same turn."""
REST_S = 0.002
"""How long the loop sleeps at a time while it gathers messages, because to wake for each one costs more."""


_NEVER = Event()
"""Nobody sets it, so to wait for it is to sleep. `time.sleep` fails under libfaketime, with which tests set
clocks."""


class Stop:
    """Ask the loop to end; put into the inbox by a signal handler."""


class Inbox(SimpleQueue["InboxEvent | Stop"]):
    """A queue of events. Whoever waits for them wakes in time for the watchdog.

    Args:
        watchdog: says how long the loop may wait.
        now_s: monotonic seconds.
        sleep: waits for so many seconds.
    """

    def __init__(
        self,
        watchdog: Watchdog,
        now_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = _NEVER.wait,
    ) -> None:
        super().__init__()
        self._watchdog, self._now_s, self._sleep = watchdog, now_s, sleep

    def turn(self, wait_s: float, answered: Callable[[Answered], None]) -> list[InboxEvent | Stop]:
        """Return the events of the next turn, in the order in which they came.

        A turn ends with an event that is no message, with `LARGEST_TURN` messages or `LARGEST_BYTES`, or
        `GATHER_S` after it began.

        Args:
            wait_s: how long to wait for the first event; none comes: the turn is empty. It may be empty
                earlier, because the watchdog is due.
            answered: called with each answer of the broker that comes before the end of the turn; it is no
                event of the turn.
        """
        due_s = self._now_s() + (self._watchdog.wait_s(max(0.0, wait_s)) or 0.0)
        events: list[InboxEvent | Stop] = []
        size = 0
        while len(events) < LARGEST_TURN and size < LARGEST_BYTES:
            try:
                event = self.get(timeout=max(0.0, due_s - self._now_s())) if not events else self.get_nowait()
            except Empty:
                if not events or self._now_s() >= due_s:
                    break
                self._sleep(REST_S)
                continue
            if isinstance(event, Answered):
                answered(event)
                if self._now_s() >= due_s:  # the deadline and the beat do not wait for a flood of answers
                    break
                continue
            if not events:
                due_s = min(due_s, self._now_s() + GATHER_S)
            events.append(event)
            if not isinstance(event, MessageArrived):
                break
            size += len(event.payload)
        return events

    def is_stopped_within(self, seconds: float) -> bool:
        """Wait, and drop the events of closed connections; True: the loop was asked to end meanwhile."""
        due_s = time.monotonic() + seconds
        while (left_s := due_s - time.monotonic()) > 0:
            self._watchdog.look()
            try:
                if isinstance(self.get(timeout=self._watchdog.wait_s(left_s)), Stop):
                    return True
            except Empty:
                pass
        return False
