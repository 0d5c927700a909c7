"""The inbox of the aggregator's loop: all threads put their events into it, and the loop takes them out."""

import time
from queue import Empty, SimpleQueue

from aggregator.shell.runtime import InboxEvent
from fedge.service.systemd import Watchdog

LARGEST_TURN = 256
"""The largest number of events in one transaction."""


class Stop:
    """Ask the loop to end; put into the inbox by a signal handler."""


class Inbox(SimpleQueue["InboxEvent | Stop"]):
    """A queue of events. Whoever waits for them wakes in time for the watchdog.

    Args:
        watchdog: says how long the loop may wait.
    """

    def __init__(self, watchdog: Watchdog) -> None:
        super().__init__()
        self._watchdog = watchdog

    def turn(self, wait_s: float) -> list[InboxEvent | Stop]:
        """Return the events of the next turn; none: `wait_s` seconds have passed, or the watchdog is due."""
        events: list[InboxEvent | Stop] = []
        try:
            events.append(self.get(timeout=self._watchdog.wait_s(max(0.0, wait_s))))
            while len(events) < LARGEST_TURN:
                events.append(self.get_nowait())
        except Empty:
            pass
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
