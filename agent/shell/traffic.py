"""How many bytes a device moved today, over restarts, without a write to the SD card for every message."""

import logging
from collections.abc import Callable
from typing import Protocol

from fedge.errors import DamagedState, StateError

log = logging.getLogger("fedge.agent")

PARTS = 64
"""A day's budget is written down in so many parts, so a day costs so many writes and not one a message."""
DAY_S, HOUR_S = 86_400.0, 3_600.0
HOURS = "+"
"""Between the date and how many hours the program has run on it: 2026-05-01+7."""


class Notebook(Protocol):
    """Where the day's bytes are written down durably."""

    def moved(self) -> tuple[str, int]:
        """The day, and its bytes; an empty day and 0 if nothing is written."""

    def save_moved(self, day: str, count: int) -> None:
        """Write them down."""


class TrafficBudget:
    """Counts against a day's budget.

    A part of the budget is written down before it is used up: a device that loses its power has counted too
    much by a part, and never too little. A day is over when a synchronised clock shows another date; where no
    clock is synchronised, when the program has run for 24 hours since it began, in all its lives together.

    Args:
        notebook: where the count is kept.
        budget: bytes a day; None: they are counted, but not written down.
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
        """`spent`: bytes moved today."""
        self._day, _, hours = text.partition(HOURS)
        self._hours = int(hours) if hours.isdecimal() else 0
        """How long the program has run on this day, as it is written down."""
        self._written = self.spent
        self._transferred = 0
        self._begun_s = now_s() - self._hours * HOUR_S

    def count(self, transferred: int) -> None:
        """Take in how many bytes were moved since the program began.

        Raises:
            DamagedState: the notebook is not what was written. A disk that is full raises nothing.
        """
        if self._part is None:
            return
        more, self._transferred = transferred - self._transferred, transferred
        self._turn_the_page()
        self.spent += more
        if self.spent > self._written:
            self._write(self.spent + self._part)
        elif self._today() is None and self._ran_hours() > self._hours:
            self._write(self._written)  # else whoever is switched off every night would never see the day end

    @property
    def used_up(self) -> bool:
        """Whether the budget is."""
        return self._budget is not None and self.spent >= self._budget

    def close(self) -> None:
        """Write down the count as it is, and not the part that was set aside."""
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
            log.error("%s: today's bytes are counted, but would be forgotten in a restart", error)
