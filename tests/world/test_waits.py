"""For whom a round has waited until its deadline: as far as the aggregator could know, and no longer ago."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from aggregator.ledger.writing import Ledger
from fedge.transport import MessageArrived
from fedge.wire.freshness import Attempt, RoundId
from fedge.wire.messages.manifest import Cohort
from fedge.wire.messages.message import pack
from fedge.wire.messages.status import Decline, Status
from fedge.wire.topics import Topics
from fleet.simulator.books import Book
from fleet.simulator.compositions import FEDAVG
from fleet.simulator.faults import Fault
from fleet.simulator.invariants import Invariant, Violation
from fleet.simulator.oracle import AGAIN, LATENESS_S, MISSES, Oracle
from fleet.simulator.sessions import Message
from fleet.simulator.world import World

TOPICS = Topics("waits")
DEADLINE_S = 40.0


class Deadlines:
    """An oracle, and rounds of a ledger that close when it is told so, with nobody's answer."""

    def __init__(self, folder: Path) -> None:
        self.now_s = 100.0
        self.oracle = Oracle(TOPICS, lambda: self.now_s, 2, DEADLINE_S)
        self.ledger, self.book = Ledger(folder / "ledger.db"), Book()
        self.retained: dict[str, Message] = {}
        self.oracle.waits.linked("aggregator", up=True)

    def says(self, device: str, *, online: bool = True, declined: Decline | None = None) -> None:
        """A status is at the broker."""
        status = Status(online=online, boot=bytes(16), connection=1, version="0", declined=declined)
        topic = TOPICS.status(device)
        self.retained[topic] = Message(topic, pack(status), True, float("inf"))
        self.oracle.retained.changed(self.retained, topic)

    def hears(self, device: str) -> None:
        """The aggregator hears what the broker holds of a device."""
        said = self.retained[TOPICS.status(device)]
        message = MessageArrived(said.topic, said.payload, True, None, 1, 1)
        self.oracle.waits.hears(self.book, message)

    def comes(self, *devices: str) -> None:
        """They are online, and the aggregator hears it at once."""
        for device in devices:
            self.says(device)
            self.hears(device)

    def begins(self, number: int) -> None:
        """A round is announced."""
        here = RoundId(1, number)
        with self.ledger.transaction():
            self.ledger.save_round(here, "train", 0, [Cohort(fraction=1.0, seed=0)], 0.0)
        self.oracle.waits.attempt_begins(self.book, Attempt(here, 0))
        self.book.over_s = self.now_s + DEADLINE_S

    def closes(self, after_s: float = DEADLINE_S) -> None:
        """It closes after so long."""
        self.now_s += after_s
        self.oracle.waits.closes(self.ledger, self.book, self.retained)

    def lasts(self, *numbers: int) -> None:
        """These rounds close at their deadlines."""
        for number in numbers:
            self.begins(number)
            self.closes()

    def waits(self, device: str) -> list[int]:
        """The rounds that are held against a device."""
        return [here.round for here in self.book.awaited.get(device, ())]


@contextmanager
def broken(invariant: Invariant, *facts: str, never: str | None = None) -> Iterator[None]:
    """An invariant breaks, and these facts are told with it."""
    with pytest.raises(Violation) as caught:
        yield
    assert caught.value.invariant is invariant
    assert all(fact in str(caught.value) for fact in facts)
    assert never is None or never not in str(caught.value)


@pytest.fixture
def rounds(tmp_path: Path) -> Deadlines:
    return Deadlines(tmp_path)


def test_a_third_deadline_for_the_same_devices_is_one_too_many(rounds: Deadlines) -> None:
    rounds.comes("a", "b")
    rounds.lasts(1, 2)
    assert rounds.waits("a") == rounds.waits("b") == [1, 2]
    with broken(Invariant.NO_WAIT_IN_VAIN, "round 1.3"):
        rounds.lasts(3)


def test_no_round_waits_for_who_is_set_aside(rounds: Deadlines) -> None:
    """It is held against a device from when it is let count again."""
    rounds.comes("a", "b")
    rounds.oracle.record.sets_aside("b", RoundId(1, 0))
    rounds.lasts(1, 2)
    assert (rounds.waits("a"), rounds.waits("b")) == ([1, 2], [])
    rounds.oracle.record.lifts("b")
    rounds.lasts(3, 4)
    assert rounds.waits("b") == [3, 4]
    with broken(Invariant.NO_WAIT_IN_VAIN):
        rounds.lasts(5)


def test_a_round_that_waits_though_only_a_device_that_is_set_aside_is_missing_is_not_blamed_on_it(
    rounds: Deadlines,
) -> None:
    """Another one is awaited still, for the third time."""
    rounds.comes("a", "b")
    rounds.oracle.record.sets_aside("b", RoundId(1, 0))
    rounds.lasts(1, 2)
    with broken(Invariant.NO_WAIT_IN_VAIN, "'a'", never="'b'"):
        rounds.lasts(3)


def test_who_counts_again_is_awaited_from_the_next_round_on(rounds: Deadlines) -> None:
    """World 1423: whatever it sent while it was set aside, the attempt turned it away for good."""
    rounds.comes("a")
    rounds.oracle.record.sets_aside("a", RoundId(1, 0))
    rounds.begins(1)
    rounds.now_s += 1.0
    rounds.oracle.record.lifts("a")
    rounds.closes(DEADLINE_S - 1.0)
    rounds.lasts(2, 3)
    assert rounds.waits("a") == [2, 3]
    with broken(Invariant.NO_WAIT_IN_VAIN):
        rounds.lasts(4)


@pytest.mark.parametrize("left_s", [DEADLINE_S / 2 + LATENESS_S - 1, DEADLINE_S / 2 + LATENESS_S + 1])
def test_who_comes_while_the_aggregator_hears_nothing_comes_when_it_hears_of_it(
    rounds: Deadlines, left_s: float
) -> None:
    """A late will and what corrects it may reach it together, long after the broker."""
    rounds.comes("a")
    rounds.begins(1)
    rounds.says("a", online=False)
    will = dict(rounds.retained)
    rounds.says("a")
    rounds.now_s += DEADLINE_S - left_s
    corrected, rounds.retained = rounds.retained, will
    rounds.hears("a")
    rounds.retained = corrected
    rounds.hears("a")
    rounds.closes(left_s)
    assert rounds.waits("a") == ([1] if left_s > DEADLINE_S / 2 + LATENESS_S else [])


def test_a_status_that_is_said_again_is_no_coming(rounds: Deadlines) -> None:
    rounds.comes("a")
    rounds.begins(1)
    rounds.now_s += DEADLINE_S - LATENESS_S - 1
    rounds.comes("a")
    rounds.closes(LATENESS_S + 1)
    assert rounds.waits("a") == [1]


def test_nobody_is_blamed_where_the_aggregator_has_not_heard_what_the_broker_holds(
    rounds: Deadlines,
) -> None:
    rounds.comes("a", "b")
    rounds.lasts(1, 2)
    rounds.begins(3)
    rounds.says("b", online=False)
    rounds.closes()
    assert rounds.waits("a") == [1, 2], "it may have waited for b"
    rounds.hears("b")
    with broken(Invariant.NO_WAIT_IN_VAIN, "round 1.4", "'a'", never="'b'"):
        rounds.lasts(4)


def test_a_round_that_waits_for_another_one_is_not_held_against_who_was_given_up(rounds: Deadlines) -> None:
    """Else the ten rounds would begin anew, and the one that waits for it again would be one too many."""
    rounds.comes("a")
    rounds.lasts(1, 2)
    rounds.comes("b")
    rounds.lasts(3)
    assert rounds.waits("a") == [1, 2]
    rounds.says("b", online=False)
    rounds.hears("b")
    rounds.lasts(MISSES + AGAIN)
    assert rounds.waits("a") == [1, 2, MISSES + AGAIN]


def test_who_is_set_aside_at_the_deadline_may_be_awaited_still(rounds: Deadlines) -> None:
    rounds.comes("a")
    rounds.lasts(1, 2)
    rounds.comes("b")
    rounds.begins(3)
    rounds.now_s += DEADLINE_S
    rounds.oracle.record.sets_aside("b", RoundId(1, 2))
    rounds.closes(0.0)
    with broken(Invariant.NO_WAIT_IN_VAIN):
        rounds.lasts(4)


def test_what_a_life_before_heard_an_aggregator_hears_anew() -> None:
    world = World(0, 4, 4, learns=FEDAVG)
    world.schedule = (Fault(10.0, "kill", -1, 1.0, 0),)
    assert world.run().violation is None
    heard = world.machines.aggregator.disk.book.heard
    assert heard.keys() >= {"d0", "d1", "d2", "d3"}
    assert min(since_s for _, since_s in heard.values()) >= world.machines.aggregator.serves_since_s > 10.0


@pytest.mark.parametrize("seed", [1_423, 5_603, 6_702, 6_707])
def test_worlds_in_which_this_was_found(seed: int) -> None:
    assert World(seed, 5, 5, learns=FEDAVG).run().violation is None


def test_another_attempt_begins_early_once_for_who_counts_again(rounds: Deadlines) -> None:
    """World 12612: it had been refused in the open attempt, and the round needed it."""
    rounds.oracle.record.sets_aside("a", RoundId(1, 0))
    rounds.begins(1)
    rounds.now_s += DEADLINE_S / 2
    rounds.oracle.record.lifts("a")
    rounds.oracle.waits.attempt_begins(rounds.book, Attempt(RoundId(1, 1), 1))
    rounds.now_s += DEADLINE_S / 2
    with broken(Invariant.DEADLINE_WITH_A_LINK, "attempt 2", "1.1", "20.0 s"):
        rounds.oracle.waits.attempt_begins(rounds.book, Attempt(RoundId(1, 1), 2))


def test_who_counted_again_in_an_earlier_round_begins_no_attempt(rounds: Deadlines) -> None:
    rounds.oracle.record.sets_aside("a", RoundId(1, 0))
    rounds.oracle.record.lifts("a")
    rounds.begins(1)
    rounds.now_s += DEADLINE_S / 2
    with broken(Invariant.DEADLINE_WITH_A_LINK, "attempt 1", "1.1", "20.0 s"):
        rounds.oracle.waits.attempt_begins(rounds.book, Attempt(RoundId(1, 1), 1))
