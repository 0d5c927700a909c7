"""The inbox: which events make a turn, and what does not wait for one."""

from collections.abc import Callable

import pytest

from aggregator.core import events as on
from aggregator.shell.inbox import GATHER_S, LARGEST_BYTES, LARGEST_TURN, REST_S, Inbox, Stop
from fedge.service.systemd import ServiceManager, Watchdog
from fedge.transport import Answered, LinkDown, LinkUp, MessageArrived
from fedge.transport.mqtt.connection import MOST_HELD

UP = LinkUp(1, False, 1_000)


def message(number: int) -> MessageArrived:
    return MessageArrived(f"topic/{number}", b"", False, None, 1, number)


class Clock:
    """Time passes when the inbox sleeps; `during` says what comes meanwhile."""

    def __init__(self) -> None:
        self.now_s, self.during = 100.0, list[Callable[[], None]]()

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        if self.during:
            self.during.pop(0)()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def inbox(clock: Clock) -> Inbox:
    return Inbox(Watchdog(ServiceManager({})), clock, clock.sleep)


@pytest.fixture
def answers() -> list[Answered]:
    return []


def test_messages_that_come_one_by_one_are_one_turn(
    inbox: Inbox, clock: Clock, answers: list[Answered]
) -> None:
    inbox.put(message(1))
    clock.during = [lambda: inbox.put(message(2)), lambda: None, lambda: inbox.put(message(3))]
    assert inbox.turn(1.0, answers.append) == [message(1), message(2), message(3)]
    assert clock.now_s == pytest.approx(100.0 + GATHER_S, abs=REST_S)


def test_a_turn_is_not_longer_than_it_says_and_leaves_the_others_in_the_inbox(
    inbox: Inbox, clock: Clock, answers: list[Answered]
) -> None:
    for number in range(LARGEST_TURN + 1):
        inbox.put(message(number))
    assert inbox.turn(1.0, answers.append) == [message(number) for number in range(LARGEST_TURN)]
    assert clock.now_s == 100.0, "a full turn waits for nothing"
    assert inbox.turn(1.0, answers.append) == [message(LARGEST_TURN)]


def test_a_turn_with_many_bytes_ends_so_that_the_next_messages_are_read_meanwhile(
    inbox: Inbox, clock: Clock, answers: list[Answered]
) -> None:
    large = [
        MessageArrived("topic", bytes(LARGEST_BYTES // 2), False, None, 1, number) for number in range(3)
    ]
    for each in large:
        inbox.put(each)
    assert inbox.turn(1.0, answers.append) == large[:2]
    assert clock.now_s == 100.0
    assert LARGEST_BYTES <= MOST_HELD // 2


def test_the_brokers_answers_do_not_wait_for_the_turn(
    inbox: Inbox, clock: Clock, answers: list[Answered]
) -> None:
    inbox.put(message(1))
    seen_s = list[float]()
    clock.during = [lambda: inbox.put(Answered(7, None))]
    turn = inbox.turn(1.0, lambda answer: (answers.append(answer), seen_s.append(clock.now_s))[0])
    assert (turn, answers) == ([message(1)], [Answered(7, None)])
    assert seen_s == [100.0 + REST_S]


@pytest.mark.parametrize("event", [UP, LinkDown("gone"), on.Tick(1.0), Stop()])
def test_another_event_ends_the_turn_so_an_answer_after_it_comes_after_it(
    inbox: Inbox, clock: Clock, answers: list[Answered], event: LinkUp | LinkDown | on.Tick | Stop
) -> None:
    inbox.put(message(1))
    inbox.put(event)
    inbox.put(Answered(7, None))
    assert inbox.turn(1.0, answers.append) == [message(1), event]
    assert (answers, clock.now_s) == ([], 100.0)
    assert inbox.turn(0.0, answers.append) == []
    assert answers == [Answered(7, None)]


def test_a_flood_of_answers_does_not_keep_the_loop_from_its_deadline(
    inbox: Inbox, clock: Clock, answers: list[Answered]
) -> None:
    def handle(answer: Answered) -> None:
        answers.append(answer)
        assert len(answers) < 10, "the turn does not end"
        clock.now_s += 0.25
        inbox.put(answer)  # another one is there at once

    inbox.put(Answered(7, None))
    assert inbox.turn(1.0, handle) == []
    assert len(answers) == 4
