"""Check that each model is what the plain twins compute from the admitted updates."""

from collections.abc import Iterable, Mapping

import numpy as np

from aggregator.core.verdicts import Verdict
from aggregator.ledger.reading import LedgerReader
from fedge.wire.freshness import RoundId
from fedge.wire.messages.task import Task
from fedge.wire.messages.update import Update
from fedge.wire.reasons import Reason
from fleet.simulator import twins
from fleet.simulator.books import Book
from fleet.simulator.fastpaths import decode
from fleet.simulator.invariants import Invariant, Violation
from fleet.simulator.oracle.record import Record


class Models:
    """Computes the models of closed rounds again, and compares them."""

    def __init__(self, record: Record) -> None:
        self._record = record

    def trained(
        self, ledger: LedgerReader, book: Book, round_id: RoundId, counted: dict[str, Verdict], body: bytes
    ) -> None:
        """Check that the model of a training round is usable, and is the mean of its clipped updates."""
        base = twins.numbers(book.body)
        updates = self.updates(counted.values())
        late = self._late(book, round_id, updates)
        parts = twins.counted(updates, base, late, clips=self._record.clips)
        usual = book.usual.get(round_id.generation, 0.0)
        moved = book.moved.get(round_id.generation, ())
        recent = moved[-1 - (self._record.staleness or 0) :]
        furthest = twins.MAX_NORM * max(usual, *recent) if usual else 0.0
        norms = sorted(part.norm for part in parts)
        if 0 < furthest < norms[-1]:
            raise Violation(
                Invariant.DISTANCE,
                f"an update at distance {norms[-1]} from its base counts in round {round_id}",
            )
        expected = twins.mean(parts)
        if expected != twins.numbers(body):
            raise Violation(
                Invariant.MEAN, f"the model of round {round_id} is not the mean of what was admitted"
            )
        if not self._judge(ledger, round_id, base)(expected):
            raise Violation(Invariant.MODEL_USABLE, f"the model of round {round_id} is not usable")
        book.moved[round_id.generation] = (*moved, twins.length(base, expected))
        if len(norms) > 1:
            book.usual[round_id.generation] = max(norms[(len(norms) - 1) // 2], usual)

    def wished(self, book: Book, generation: int) -> bytes:
        """The model with which a generation without a survey must begin."""
        wish = book.wishes.get(generation)
        if wish is None:
            raise Violation(
                Invariant.BEGINNING,
                f"generation {generation} begins with an earlier model, but no operator asked for it",
            )
        newest = max(book.closed)
        if wish.round is None:
            return book.bodies[newest]
        source = newest._replace(round=wish.round)
        if not wish.without:
            return book.bodies[source]
        total: list[float] = []
        for number in range(source.round + 1, newest.round + 1):
            here = newest._replace(round=number)
            before = twins.numbers(book.bodies[here._replace(round=number - 1)])
            if here in book.measured:
                continue
            made = [
                self._record.made[digest] for digest, in_round in book.counted.items() if in_round == here
            ]
            left = [each.message for each in made if each.device not in wish.without]
            updates = [one for one in left if isinstance(one, Update)]
            late = self._late(book, here, updates)
            mean = twins.mean(twins.counted(updates, before, late, clips=self._record.clips))
            total = [t + m - w for t, m, w in zip(total, mean, before, strict=True)] if total else mean
        return np.array(total).astype("<f4").tobytes()

    def takes_back(
        self, ledger: LedgerReader, book: Book, round_id: RoundId, answers: Mapping[str, Verdict]
    ) -> None:
        """Check that exactly the admitted updates which make the mean unusable are set aside."""
        before = {
            d: a
            for d, a in answers.items()
            if book.answers.get((d, a.digest)) == "admitted"
            and not (a.reason is Reason.QUARANTINED and d in self._record.aside)  # the operator asked for it
        }
        gone = {device for device, answer in before.items() if answer.verdict != "admitted"}
        if not gone:
            return
        if any(before[device].reason is not Reason.SET_ASIDE for device in gone):
            raise Violation(
                Invariant.SETTING_ASIDE,
                f"the updates of {gone}, which counted in round {round_id}, count no longer",
            )
        base = twins.numbers(book.body)
        judge = self._judge(ledger, round_id, base)
        updates = self.updates(before.values())
        late = self._late(book, round_id, updates)
        caused = twins.causes(updates, base, judge, late, clips=self._record.clips)
        if gone != caused:
            raise Violation(
                Invariant.SETTING_ASIDE,
                f"in round {round_id} updates of {gone} are set aside, but the cause is {caused}",
            )
        book.set_aside |= {before[device].digest for device in gone}

    def set_aside(self, book: Book, round_id: RoundId) -> frozenset[str]:
        """The devices whose updates were set aside in a round."""
        made = [self._record.made[digest] for digest in book.set_aside]
        return frozenset(one.device for one in made if one.round == round_id)

    def _late(self, book: Book, round_id: RoundId, updates: Iterable[Update]) -> dict[str, twins.Late]:
        """The staleness and the base of each update that was made for an older round."""
        return {
            each.device: twins.Late(
                round_id.round - each.round,
                twins.numbers(book.bodies[round_id._replace(round=each.round - 1)]),
            )
            for each in updates
            if each.round < round_id.round
        }

    def updates(self, answers: Iterable[Verdict]) -> list[Update]:
        """The updates to which these verdicts belong."""
        made = [self._record.made[answer.digest].message for answer in answers]
        return [message for message in made if isinstance(message, Update)]

    def _judge(self, ledger: LedgerReader, round_id: RoundId, base: list[float]) -> twins.Usable:
        digest = ledger.newest("task", round_id.generation)
        assert digest is not None
        return twins.judge(decode(ledger.content(digest), Task), base)
