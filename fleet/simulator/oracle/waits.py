"""Check that attempts last until their deadline, and that rounds do not keep waiting for one device."""

from contextlib import suppress
from math import inf

from aggregator.ledger.reading import LedgerReader
from fedge.errors import ProtocolError
from fedge.transport import MessageArrived
from fedge.wire.freshness import Attempt, RoundId, round_of
from fedge.wire.messages.status import Status
from fedge.wire.selection import chosen
from fleet.simulator.books import Book
from fleet.simulator.fastpaths import decode
from fleet.simulator.invariants import Invariant, Violation
from fleet.simulator.oracle.overflows import cannot_train
from fleet.simulator.oracle.record import INSTANT_S, LATENESS_S, Record
from fleet.simulator.sessions import Message

MISSES = 2
"""The number of consecutive rounds with a quorum that may wait for one device until their deadline."""
AGAIN = 10
"""The number of rounds after which one more round may wait for it."""


class Waits:
    """Measures how long aggregators are connected, and for which devices their rounds wait.

    Args:
        record: the facts of the world.
        deadline_s: the deadline of each attempt.
    """

    def __init__(self, record: Record, deadline_s: float) -> None:
        self._record, self._deadline_s = record, deadline_s
        self._linked: set[str] = set()
        """The working aggregators that know that they are connected."""
        self._up_s = -inf
        """When an aggregator last became connected."""
        self._linked_s, self._counted_s = 0.0, 0.0
        """The seconds with at least one connected aggregator until the second of these times."""

    def linked(self, name: str, *, up: bool) -> None:
        """Note that a working aggregator is connected, or is not."""
        self._linked_s, self._counted_s = self._connected_s, self._record.now_s()
        (self._linked.add if up else self._linked.discard)(name)
        if up:
            self._up_s = self._record.now_s()

    @property
    def _connected_s(self) -> float:
        """The total time in which at least one aggregator was connected."""
        return self._linked_s + (self._record.now_s() - self._counted_s if self._linked else 0.0)

    def hears(self, book: Book, message: MessageArrived) -> None:
        """Note a message that a working aggregator receives; without a link it is late."""
        address = self._record.address(message.topic)
        if address is None or address.kind != "status" or address.device is None:
            return
        with suppress(ProtocolError):
            status = decode(message.payload, Status)
            says = (status.online, status.declined)
            if book.heard.get(address.device, (None,))[0] != says:
                book.heard[address.device] = (says, self._record.now_s())

    def attempt_begins(self, book: Book, attempt: Attempt) -> None:
        """Check a saved attempt: the previous one timed out or made no model, or a quarantine was lifted."""
        before = book.attempt
        passed_s = self._connected_s - book.linked_s
        follows = before is not None and before.round == attempt.round and before.number < attempt.number
        early = book.tried != before and book.lifts == self._record.lifted
        if follows and early and passed_s < self._deadline_s - INSTANT_S:
            raise Violation(
                Invariant.DEADLINE_WITH_A_LINK,
                f"attempt {attempt.number} of round {attempt.round} begins after {passed_s:.1f} s with a "
                f"connection; the deadline is {self._deadline_s:.0f} s",
            )
        book.attempt, book.linked_s, book.lifts = attempt, self._connected_s, self._record.lifted

    def closes(self, ledger: LedgerReader, book: Book, retained: dict[str, Message]) -> None:
        """Find the devices for which the closing round has waited until its deadline."""
        assert book.attempt is not None
        round_id, number = book.attempt
        saved, answers = ledger.round_as_saved(round_id), ledger.answers(round_id)
        if saved is None or book.tried == book.attempt:  # announced before a crash, but not saved
            return
        book.tried = book.attempt
        enough_s = MISSES * self._deadline_s / 2 - INSTANT_S
        book.given_up[round_id] = frozenset(d for d, seconds in book.absent_s.items() if seconds >= enough_s)
        late_s, passed_s = self._record.now_s() - book.over_s, self._connected_s - book.linked_s
        waited, unclear = list[str](), False
        for each in self._record.told_s:
            if self._record.topics.status(each) not in retained and each not in answers:
                unclear = True  # the broker lost its status, but the aggregator still uses it
                book.absent_s[each] = book.absent_s.get(each, 0.0) + passed_s
        for topic, message in retained.items():
            address = self._record.address(topic)
            if address is None or address.kind != "status" or address.device in (None, *answers):
                continue
            device = address.device
            assert device is not None
            if self._record.now_s() < self._record.told_s.get(device, -inf) + LATENESS_S:
                unclear = True  # the aggregator may not have received it yet
            try:
                status = decode(message.payload, Status)
            except ProtocolError:
                unclear = True  # the aggregator uses an earlier status, unknown here
                continue
            book.absent_s[device] = book.absent_s.get(device, 0.0) + passed_s
            no = status.declined
            declines = no is not None and (round_of(no), no.attempt) == (round_id, number)
            if no is not None and declines and cannot_train(self._record, book, no):
                book.given_up[round_id] |= {device}
            if self._record.now_s() < self._record.counts_s.get(device, -inf) + INSTANT_S or (
                book.heard.get(device, (None,))[0] != (status.online, status.declined)
            ):
                unclear = True  # the aggregator may still use the earlier status
            if device in self._record.aside:
                continue
            if status.online and not declines and chosen(saved.cohorts[-1], *round_id, number, device):
                waited.append(device)
        if late_s < -INSTANT_S or not waited or unclear:
            return
        if book.answer_s == self._record.now_s():  # the last awaited device answered just in time
            return
        before = {device: book.awaited.get(device, ()) for device in waited}
        if all(_is_enough(rounds, round_id) for rounds in before.values()):
            raise Violation(
                Invariant.NO_WAIT_IN_VAIN, f"round {round_id} waits until its deadline for {before} once more"
            )
        # Skip devices that connected in the second half of the deadline (all, if the link came up then) or
        # left quarantine in this attempt. The round did not wait for devices that it had given up.
        latest_s = self._record.now_s() - self._deadline_s / 2 - LATENESS_S
        begun_s = book.over_s - self._deadline_s
        for device, rounds in before.items():
            if self._record.counts_s.get(device, -inf) > begun_s:
                continue  # it may have been refused in this attempt, which then no longer waits for it
            came_s = max(self._up_s, book.heard[device][1], self._record.counts_s.get(device, -inf))
            if came_s <= latest_s and not _is_enough(rounds, round_id):
                book.awaited[device] = (*rounds, round_id)


def _is_enough(rounds: tuple[RoundId, ...], now: RoundId) -> bool:
    """Whether enough rounds waited for a device in vain, so that this one must not wait for it."""
    if len(rounds) < MISSES:
        return False
    return now.generation == rounds[-1].generation and now.round < rounds[-1].round + AGAIN
