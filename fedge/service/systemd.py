"""Notifies the service manager (sd_notify(3)) and feeds its watchdog, with the standard library alone.

Without a service manager (no `NOTIFY_SOCKET`) the functions of this module do nothing.
"""

import faulthandler
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping

from fedge.service.liveness import Pulse, stuck

log = logging.getLogger(__name__)

FEEDS = 4
"""How often the watchdog is fed within its limit, so that one late feed raises no alarm."""


class ServiceManager:
    """The service manager that started this program, if there is one.

    Args:
        environment: where `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` are looked up.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self.watchdog_s = _watchdog_s(environment)
        """The watchdog's limit in seconds; None: there is no watchdog."""

    def ready(self) -> None:
        """Tell the manager that the program is ready."""
        self._notify("READY=1")

    def stopping(self) -> None:
        """Tell the manager that the program is stopping."""
        self._notify("STOPPING=1")

    def feed(self) -> None:
        """Feed the watchdog."""
        self._notify("WATCHDOG=1")

    def _notify(self, message: str) -> None:
        if not self._address:
            return
        # A name in the abstract namespace begins with NUL, which is written as @.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
                connection.sendto(message.encode(), socket.MSG_DONTWAIT, address)
        except OSError as error:
            log.debug("could not send %r to the service manager: %s", message, error)


def _watchdog_s(environment: Mapping[str, str]) -> float | None:
    time_us = environment.get("WATCHDOG_USEC", "")
    meant_for_us = environment.get("WATCHDOG_PID") in (None, "", str(os.getpid()))
    return int(time_us) / 1e6 if time_us.isdecimal() and int(time_us) > 0 and meant_for_us else None


class Watchdog:
    """Feeds the manager's watchdog as long as every part keeps its promise (`fedge.service.liveness`).

    The loop calls `look` in each turn and waits at most `period_s` for the next turn. So a loop that hangs
    stops feeding, and needs no promise of its own. Before the manager restarts the program, it sends a
    signal, on which faulthandler prints the stack of each thread.

    Args:
        manager: the manager whose watchdog is fed.
        now_s: returns monotonic seconds.
    """

    def __init__(self, manager: ServiceManager, now_s: Callable[[], float] = time.monotonic) -> None:
        self._manager = manager
        self._now_s = now_s
        self._next_s = 0.0
        self._stuck: list[str] = []
        self.period_s = None if manager.watchdog_s is None else manager.watchdog_s / FEEDS
        """The longest time that the loop may wait between two looks, in seconds; None: no limit."""
        if self.period_s is not None and not faulthandler.is_enabled():
            faulthandler.enable()

    def look(self, *pulses: Pulse) -> None:
        """Feed the watchdog if it is due and no part is stuck; otherwise log which part is."""
        now_s = self._now_s()
        if self.period_s is None or now_s < self._next_s:
            return
        self._next_s = now_s + self.period_s / 2
        found = stuck(pulses)
        if found != self._stuck:
            self._stuck = found
            if found:
                log.critical("stuck: %s; the service manager will start this program again", ", ".join(found))
            else:
                log.warning("nothing is stuck any more")
        if not found:
            self._manager.feed()

    def wait_s(self, wanted_s: float | None) -> float | None:
        """Return how long the loop may wait, in seconds, if it wants to wait `wanted_s` (None: no limit)."""
        bounds = [seconds for seconds in (wanted_s, self.period_s) if seconds is not None]
        return min(bounds, default=None)
