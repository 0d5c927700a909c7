"""What is left of the owner's `[limits] seconds` for a device's models of its own."""

import time
from collections.abc import Callable

from agent.phases.phase import Cancelled


class OutOfTime(Exception):  # noqa: N818 (what happened)
    """The owner's time is used up, and the part took another step all the same."""


class Rest:
    """What is left of the owner's time: `Job.enough` and `cancelled` of the personal work.

    Args:
        cancelled: whether the round's work was cancelled.
        limit_s: `[limits] seconds`; None: no limit.
        begun_s: when the round's training began, in monotonic seconds.
        now_s: monotonic seconds.
    """

    def __init__(
        self,
        cancelled: Cancelled,
        limit_s: float | None,
        begun_s: float,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cancelled = cancelled
        self._limit_s, self._begun_s, self._now_s = limit_s, begun_s, now_s
        self._told = False
        self.used_up = False
        """Whether work ended early, or was not begun."""

    def enough(self) -> bool:
        """Whether the time is used up."""
        over = self._limit_s is not None and self._now_s() - self._begun_s > self._limit_s
        self.used_up = self.used_up or over
        return over

    def cancelled(self) -> bool:
        """Whether the work was cancelled; call it before each step.

        Raises:
            OutOfTime: the time was used up before the former step already.
        """
        if self._told:
            raise OutOfTime
        self._told = self.enough()
        return self._cancelled()

    def begin(self) -> None:
        """Begin another piece of work.

        Raises:
            OutOfTime: there is no time for it.
        """
        self._told = False
        if self.enough():
            raise OutOfTime
