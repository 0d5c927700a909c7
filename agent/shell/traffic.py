"""Counts the bytes that a device moves in a day, over restarts, without a write to disk for every message."""

import logging
from collections.abc import Callable
from typing import Protocol

from fedge.errors import DamagedState, StateError

log = logging.getLogger("fedge.agent")

PARTS = 64
"""A day's budget is saved in this many parts. So a day costs at most about this many writes, and not one for
each message."""
DAY_S, HOUR_S = 86_400.0, 3_600.0
HOURS = "+"
"""Separates the date from the hours that the program has run on it: 2026-05-01+7."""


class Notebook(Protocol):
    """Stores the day's bytes durably."""

    def moved(self) -> tuple[str, int]:
        """Return the day and its bytes; an empty day and 0 if nothing is stored."""

    def save_moved(self, day: str, count: int) -> None:
        """Store a day and its bytes durably."""


class TrafficBudget:
    """Counts bytes against a day's budget.

    A part of the budget is saved as used before it is used. So a device that loses its power counts at most
    one part too much, and never too little. A day ends when a synchronised clock shows another date. While
    the clock is not synchronised, it ends after the program has run for 24 hours, over all its restarts.

    Args:
        notebook: stores the count.
        budget: bytes a day; None: no budget, and nothing is counted.
        today: the date by a synchronised clock; None: there is none.
        now_s: monotonic seconds.
    """

    def __init__(
        self,
        notebook: Notebook,
        budget: int | None,
        today: Callable[[], str | None],
        now_s: Callable[[], float],
    ) -> None:
        self._notebook = notebook
        self._budget = budget
        self._part = None if budget is None else max(1, budget // PARTS)
        self._today = today
        self._now_s = now_s
        text, self.spent = notebook.moved() if budget is not None else ("", 0)
        """`spent`: the bytes moved today."""
        self._day, _, hours = text.partition(HOURS)
        self._hours = int(hours) if hours.isdecimal() else 0
        """How many hours the program has run on this day, as saved."""
        self._written = self.spent
        self._transferred = 0
        self._begun_s = now_s() - self._hours * HOUR_S

    def count(self, transferred: int) -> None:
        """Record how many bytes were moved since the program began.

        Raises:
            DamagedState: the notebook is damaged. A full disk raises nothing.
        """
        if self._part is None:
            return
        more, self._transferred = transferred - self._transferred, transferred
        self._turn_the_page()
        self.spent += more
        if self.spent > self._written:
            self._write(self.spent + self._part)
        elif self._today() is None and self._ran_hours() > self._hours:
            self._write(self._written)  # otherwise the day would never end for a device that is off at night

    @property
    def used_up(self) -> bool:
        """Whether today's budget is used up."""
        return self._budget is not None and self.spent >= self._budget

    def close(self) -> None:
        """Save the exact count, instead of the part that was reserved."""
        if self._part is not None and self.spent != self._written:
            self._write(self.spent)

    def _turn_the_page(self) -> None:
        today = self._today()
        ran_s = self._now_s() - self._begun_s
        if ran_s >= DAY_S if today is None else self._day not in ("", today):
            self.spent, self._begun_s, self._day, self._hours = 0, self._now_s(), "", 0
            self._written = -1
        self._day = today or self._day

    def _ran_hours(self) -> int:
        return int((self._now_s() - self._begun_s) // HOUR_S)

    def _write(self, count: int) -> None:
        self._written, self._hours = count, self._ran_hours()
        try:
            self._notebook.save_moved(f"{self._day}{HOURS}{self._hours}" if self._hours else self._day, count)
        except DamagedState:
            raise
        except StateError as error:
            log.error("%s: today's bytes are counted, but a restart would lose the count", error)
