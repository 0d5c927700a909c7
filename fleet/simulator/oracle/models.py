"""A model is what the plain twins make of the admitted updates."""

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
    """The vectors of closed rounds, computed again."""

    def __init__(self, record: Record) -> None:
        self._record = record

    def trained(
        self, ledger: LedgerReader, book: Book, round_id: RoundId, counted: dict[str, Verdict], body: bytes
    ) -> None:
        """The model of a training round is the mean within its bounds, and usable."""
        base = twins.numbers(book.body)
        parts = twins.counted(self.updates(counted.values()), base, clips=self._record.clips)
        usual = book.usual.get(round_id.generation, 0.0)
        furthest = twins.MAX_NORM * max(usual, book.moved) if usual else 0.0
        norms = sorted(part.norm for part in parts)
        if 0 < furthest < norms[-1]:
            raise Violation(
                Invariant.DISTANCE, f"an update counts in round {round_id} that is {norms[-1]} from its base"
            )
        expected = twins.mean(parts)
        if expected != twins.numbers(body):
            raise Violation(
                Invariant.MEAN, f"the model of round {round_id} is not the mean of what was admitted"
            )
        if not self._judge(ledger, round_id, base)(expected):
            raise Violation(Invariant.MODEL_USABLE, f"the model of round {round_id} is not usable")
        book.moved = twins.length(base, expected)
        if len(norms) > 1:
            book.usual[round_id.generation] = max(norms[(len(norms) - 1) // 2], usual)

    def wished(self, book: Book, generation: int) -> bytes:
        """The vector that a generation without a survey is to begin with."""
        wish = book.wishes.get(generation)
        if wish is None:
            raise Violation(
                Invariant.BEGINNING, f"generation {generation} goes back to a model, and nobody wanted that"
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
            mean = twins.mean(twins.counted(updates, before, clips=self._record.clips))
            total = [t + m - w for t, m, w in zip(total, mean, before, strict=True)] if total else mean
        return np.array(total).astype("<f4").tobytes()

    def takes_back(
        self, ledger: LedgerReader, book: Book, round_id: RoundId, answers: Mapping[str, Verdict]
    ) -> None:
        """Only what makes the mean unusable is taken back, and all of it."""
        before = {
            d: a
            for d, a in answers.items()
            if book.answers.get((d, a.digest)) == "admitted"
            and not (a.reason is Reason.QUARANTINED and d in self._record.aside)  # as the operator wants it
        }
        gone = {device for device, answer in before.items() if answer.verdict != "admitted"}
        if not gone:
            return
        if any(before[device].reason is not Reason.SET_ASIDE for device in gone):
            raise Violation(
                Invariant.SETTING_ASIDE, f"in round {round_id} it is taken back that updates of {gone} count"
            )
        base = twins.numbers(book.body)
        judge = self._judge(ledger, round_id, base)
        caused = twins.causes(self.updates(before.values()), base, judge, clips=self._record.clips)
        if gone != caused:
            raise Violation(
                Invariant.SETTING_ASIDE,
                f"in round {round_id} updates of {gone} are set aside, because of {caused}",
            )
        book.set_aside |= {before[device].digest for device in gone}

    def set_aside(self, book: Book, round_id: RoundId) -> frozenset[str]:
        """Whose updates were set aside in a round."""
        made = [self._record.made[digest] for digest in book.set_aside]
        return frozenset(one.device for one in made if one.round == round_id)

    def updates(self, answers: Iterable[Verdict]) -> list[Update]:
        """The updates that these answers are of."""
        made = [self._record.made[answer.digest].message for answer in answers]
        return [message for message in made if isinstance(message, Update)]

    def _judge(self, ledger: LedgerReader, round_id: RoundId, base: list[float]) -> twins.Usable:
        digest = ledger.newest("task", round_id.generation)
        assert digest is not None
        return twins.judge(decode(ledger.content(digest), Task), base)
