"""Spaces publications in time, for a broker that takes only so many, or so many bytes, a second. Pure."""

from collections.abc import Callable
from math import inf


class Pace:
    """Says when the next publication may be sent. A pause earns no credit, so there are no bursts after it.

    Args:
        publishes_per_s: the most publications a second; None: any number.
        bytes_per_s: the most bytes of their packets a second; None: any number.
        now_s: monotonic seconds.
        later: called with seconds; after that time `woke` must be called and sending be tried again.
    """

    def __init__(
        self,
        publishes_per_s: float | None,
        bytes_per_s: float | None,
        now_s: Callable[[], float],
        later: Callable[[float], None],
    ) -> None:
        self._each_s = 1 / publishes_per_s if publishes_per_s is not None else 0.0
        self._byte_s = 1 / bytes_per_s if bytes_per_s is not None else 0.0
        self._now_s, self._later = now_s, later
        self._due_s = -inf
        self._waits = False

    def ready(self) -> bool:
        """Whether a publication may be sent now; if not, `later` has been called."""
        wait_s = self._due_s - self._now_s()
        if wait_s <= 0:
            return True
        if not self._waits:
            self._waits = True
            self._later(wait_s)
        return False

    def spend(self, size: int) -> None:
        """Account for a packet of `size` bytes that is sent now."""
        self._due_s = self._now_s() + max(self._each_s, size * self._byte_s)

    def woke(self) -> None:
        """Note that the time which `later` was called with is over."""
        self._waits = False
