"""The owner's limit on the seconds that a round may train: an end that counts, or an error."""

import time
from collections.abc import Callable

from fedge.data.disclosure import Public, public

EARLY = 0.1
"""The part of the limit after which the total duration is estimated."""
FAR_TOO_LONG = 2.0
"""Training stops early if the estimate is more than this many times the limit: the first steps may be
slow."""


class TooLong(Exception):  # noqa: N818 (what happened, as the runtime reports it)
    """Training takes longer than the owner allows; the text names the limit and the estimated duration."""

    def __init__(self, public: Public) -> None:
        super().__init__(public)
        self.public = public
        """The same text; it may be sent to others."""


class Allowance:
    """Answers before each step whether the time is used up: `Job.enough` of an algorithm with `partial`.

    The time begins when this is made. The step that is under way when it ends is still done.

    Args:
        limit_s: the longest duration of all steps together, in seconds.
        now_s: monotonic seconds.
    """

    def __init__(self, limit_s: float, now_s: Callable[[], float] = time.monotonic) -> None:
        self.limit_s = limit_s
        self._now_s = now_s
        self._begun_s = now_s()
        self.used_up = False
        """Whether the answer was yes."""

    def __call__(self) -> bool:
        """Whether the limit has passed."""
        self.used_up = self._now_s() - self._begun_s > self.limit_s
        return self.used_up


class Timekeeper:
    """Answers before each step whether training is cancelled, and enforces the time limit.

    Args:
        cancelled: returns whether training was asked to stop.
        steps: the number of steps of this training.
        limit_s: the longest duration of all steps together, in seconds.
        now_s: monotonic seconds.
    """

    def __init__(
        self,
        cancelled: Callable[[], bool],
        steps: int,
        limit_s: float,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cancelled = cancelled
        self._steps = steps
        self._limit_s = limit_s
        self._now_s = now_s
        self._begun_s: float | None = None
        self._taken = 0
        self._early = True

    def __call__(self) -> bool:
        """Whether training is cancelled.

        Raises:
            TooLong: the limit has passed; or a tenth of it has passed, and the estimate is far above the
                limit.
        """
        now_s = self._now_s()
        if self._begun_s is None:
            self._begun_s = now_s
        passed_s = now_s - self._begun_s
        if self._taken and passed_s > self._limit_s:
            raise TooLong(self._told(passed_s))
        if self._taken and self._early and passed_s > EARLY * self._limit_s:
            self._early = False
            if self._foreseen_s(passed_s) > FAR_TOO_LONG * self._limit_s:
                raise TooLong(self._told(passed_s))
        self._taken += 1
        return self._cancelled()

    def _foreseen_s(self, passed_s: float) -> float:
        return passed_s * self._steps / self._taken

    def _told(self, passed_s: float) -> Public:
        return public(
            "the plan asks for about {foreseen_s:.1f} s of training "
            "({taken} of {steps} steps took {passed_s:.1f} s), [limits] seconds is {limit_s:g}",
            foreseen_s=self._foreseen_s(passed_s),
            taken=self._taken,
            steps=self._steps,
            passed_s=passed_s,
            limit_s=self._limit_s,
        )
