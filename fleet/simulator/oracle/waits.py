"""Attempts last their deadline while they can be heard, and nobody is waited for in vain again and again."""

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
from fleet.simulator.oracle.record import INSTANT_S, LATENESS_S, Record
from fleet.simulator.sessions import Message

MISSES = 2
"""So many deadlines of rounds that had their quorum may pass in a row for one device's sake."""
AGAIN = 10
"""So many rounds after the last of them there may be another one."""


class Waits:
    """How long aggregators have been connected, and for whom their rounds have waited.

    Args:
        record: of the world.
        deadline_s: of each attempt.
    """

    def __init__(self, record: Record, deadline_s: float) -> None:
        self._record, self._deadline_s = record, deadline_s
        self._linked: set[str] = set()
        """Aggregators at work that know that they are connected."""
        self._up_s = -inf
        """When one last became connected."""
        self._linked_s, self._counted_s = 0.0, 0.0
        """How long there had been any, and when that was counted."""

    def linked(self, name: str, *, up: bool) -> None:
        """An aggregator at work knows that it is connected, or that it is not."""
        self._linked_s, self._counted_s = self._connected_s, self._record.now_s()
        (self._linked.add if up else self._linked.discard)(name)
        if up:
            self._up_s = self._record.now_s()

    @property
    def _connected_s(self) -> float:
        """How long there has been an aggregator that knew that it was connected, all in all."""
        return self._linked_s + (self._record.now_s() - self._counted_s if self._linked else 0.0)

    def hears(self, book: Book, message: MessageArrived) -> None:
        """A message is before an aggregator at work: in the dark it comes long after the broker had it."""
        address = self._record.address(message.topic)
        if address is None or address.kind != "status" or address.device is None:
            return
        with suppress(ProtocolError):
            status = decode(message.payload, Status)
            says = (status.online, status.declined)
            if book.heard.get(address.device, (None,))[0] != says:
                book.heard[address.device] = (says, self._record.now_s())

    def attempt_begins(self, book: Book, attempt: Attempt) -> None:
        """It is durable: the time of the one before has passed, no model came, or somebody counts again."""
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
        """It begins to close the open round; whom has it waited for until the deadline?"""
        assert book.attempt is not None
        round_id, number = book.attempt
        saved, answers = ledger.round_as_saved(round_id), ledger.answers(round_id)
        if saved is None or book.tried == book.attempt:  # said, and not begun, before a crash
            return
        book.tried = book.attempt
        enough_s = MISSES * self._deadline_s / 2 - INSTANT_S
        book.given_up[round_id] = frozenset(d for d, seconds in book.absent_s.items() if seconds >= enough_s)
        late_s, passed_s = self._record.now_s() - book.over_s, self._connected_s - book.linked_s
        waited, unclear = list[str](), False
        for each in self._record.told_s:
            if self._record.topics.status(each) not in retained and each not in answers:
                unclear = True  # the broker has lost what it said, and the aggregator goes by what it heard
                book.absent_s[each] = book.absent_s.get(each, 0.0) + passed_s
        for topic, message in retained.items():
            address = self._record.address(topic)
            if address is None or address.kind != "status" or address.device in (None, *answers):
                continue
            device = address.device
            assert device is not None
            if self._record.now_s() < self._record.told_s.get(device, -inf) + LATENESS_S:
                unclear = True  # the aggregator may not have heard it yet
            try:
                status = decode(message.payload, Status)
            except ProtocolError:
                unclear = True  # what was heard of that device before counts, and this is not known here
                continue
            book.absent_s[device] = book.absent_s.get(device, 0.0) + passed_s
            if self._record.now_s() < self._record.counts_s.get(device, -inf) + INSTANT_S or (
                book.heard.get(device, (None,))[0] != (status.online, status.declined)
            ):
                unclear = True  # the aggregator may go by what it knew before
            if device in self._record.aside:
                continue
            no = status.declined
            declines = no is not None and (round_of(no), no.attempt) == (round_id, number)
            if status.online and not declines and chosen(saved.cohorts[-1], *round_id, number, device):
                waited.append(device)
        if late_s < -INSTANT_S or not waited or unclear:
            return
        if (
            book.answer_s == self._record.now_s()
        ):  # the last one whom it waited for has answered, just in time
            return
        before = {device: book.awaited.get(device, ()) for device in waited}
        if all(_is_enough(rounds, round_id) for rounds in before.values()):
            raise Violation(
                Invariant.NO_WAIT_IN_VAIN, f"round {round_id} waits until its deadline for {before}, again"
            )
        # Who came, or the connection, in the second half of the deadline, and who was let count again in
        # this attempt: that is held against nobody. Whoever was given up was not waited for.
        latest_s = self._record.now_s() - self._deadline_s / 2 - LATENESS_S
        begun_s = book.over_s - self._deadline_s
        for device, rounds in before.items():
            if self._record.counts_s.get(device, -inf) > begun_s:
                continue  # it may have been turned away in this attempt, which then waits for it no more
            came_s = max(self._up_s, book.heard[device][1], self._record.counts_s.get(device, -inf))
            if came_s <= latest_s and not _is_enough(rounds, round_id):
                book.awaited[device] = (*rounds, round_id)


def _is_enough(rounds: tuple[RoundId, ...], now: RoundId) -> bool:
    """Whether a round may not wait for a device for which these have waited in vain."""
    if len(rounds) < MISSES:
        return False
    return now.generation == rounds[-1].generation and now.round < rounds[-1].round + AGAIN
