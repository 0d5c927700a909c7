"""The limit on the seconds of training."""

import pytest

from agent.trainers.time_limit import Allowance, Timekeeper, TooLong
from tests.wording import assert_tells, telling


class Training:
    """Takes steps of so many seconds each, by a clock of its own."""

    def __init__(self, steps: int, limit_s: float, *, cancelled: bool = False) -> None:
        self.now_s = 100.0
        self.taken = 0
        self._steps = steps
        self._keeper = Timekeeper(lambda: cancelled, steps, limit_s, lambda: self.now_s)

    def run(self, step_s: float, first_s: float | None = None) -> bool:
        """False: it was cancelled."""
        for number in range(self._steps):
            if self._keeper():
                return False
            self.now_s += step_s if number or first_s is None else first_s
            self.taken += 1
        return True


def test_training_within_the_limit_is_left_alone() -> None:
    training = Training(steps=100, limit_s=100.0)
    assert training.run(0.99)
    assert training.taken == 100


def test_at_the_limit_it_ends_and_both_figures_are_told() -> None:
    training = Training(steps=150, limit_s=100.0)
    with pytest.raises(TooLong) as caught:
        training.run(1.0)
    assert_tells(str(caught.value), "150.0 s", "101 of 150 steps", "101.0 s", "[limits] seconds", "100")


def test_what_is_far_too_long_ends_early() -> None:
    training = Training(steps=10_000, limit_s=100.0)
    with pytest.raises(TooLong, match=telling("10000.0 s", "11 of 10000 steps", "11.0 s")):
        training.run(1.0)
    assert training.taken == 11, "a tenth of the limit was enough to know"


def test_a_slow_beginning_is_forgiven() -> None:
    training = Training(steps=100, limit_s=100.0)
    assert training.run(0.8, first_s=1.9)


def test_one_step_is_always_taken() -> None:
    assert Training(steps=1, limit_s=0.001).run(50.0)


def test_a_cancelled_training_stays_cancelled() -> None:
    assert not Training(steps=9, limit_s=100.0, cancelled=True).run(1.0)


def test_work_that_counts_ends_with_the_first_step_after_the_limit() -> None:
    """Steps of 0.4 s: after the third 1.2 s have passed, and the limit is 1 s."""
    clock = [100.0]
    enough = Allowance(1.0, lambda: clock[0])
    answers = []
    for _ in range(3):
        clock[0] += 0.4
        answers.append((enough(), enough.used_up))
    assert answers == [(False, False), (False, False), (True, True)]


def test_work_that_counts_may_use_all_of_its_time() -> None:
    clock = [100.0]
    enough = Allowance(1.0, lambda: clock[0])
    clock[0] += 1.0
    assert not enough()
