"""All checks of one world, over one record.

The oracle sees what each host sends, what its disk has committed and what the broker retains. It does not
trust the programs' own state: it compares what they publish with what they have saved, and computes each
model again with its own arithmetic.
"""

from collections.abc import Callable

from aggregator.core.verdicts import Verdict
from aggregator.ledger.reading import LedgerReader
from fedge.transport import Publication
from fedge.wire.freshness import RoundId
from fedge.wire.messages.receipt import Receipt
from fedge.wire.reasons import Reason
from fedge.wire.topics import Topics
from fleet.simulator.books import Book, SpooledFrame
from fleet.simulator.compositions import FEDAVG, Composition
from fleet.simulator.fastpaths import decode
from fleet.simulator.invariants import Invariant, Violation
from fleet.simulator.oracle.announcements import Announcements
from fleet.simulator.oracle.devices import Devices
from fleet.simulator.oracle.distances import require_far
from fleet.simulator.oracle.endings import NEVER, Ending, Endings
from fleet.simulator.oracle.learning import Learning
from fleet.simulator.oracle.models import Models
from fleet.simulator.oracle.own_models import OwnModels
from fleet.simulator.oracle.quorums import Quorums
from fleet.simulator.oracle.receipts import Receipts
from fleet.simulator.oracle.record import Record, opened
from fleet.simulator.oracle.retained import Retained
from fleet.simulator.oracle.rounds import Rounds
from fleet.simulator.oracle.states import States
from fleet.simulator.oracle.summaries import Summaries
from fleet.simulator.oracle.takeovers import Takeovers
from fleet.simulator.oracle.waits import Waits


class Oracle:
    """Passes each event of one world to the checks that need it.

    Args:
        topics: the federation's.
        now_s: virtual seconds.
        quorum: the fewest updates with which any round may close; None: each attempt keeps the quorum that it
            began with.
        deadline_s: of each attempt.
        ending: when learning may end.
        clips: whether the rule clips updates that are far from their base.
        composition: what the federation learns with.
        staleness: how many versions back the base of an update may be; None: only the newest model counts.
    """

    def __init__(
        self,
        topics: Topics,
        now_s: Callable[[], float],
        quorum: int | None,
        deadline_s: float = 0.0,
        ending: Ending = NEVER,
        *,
        clips: bool = True,
        composition: Composition = FEDAVG,
        staleness: int | None = None,
    ) -> None:
        self.record = record = Record(
            topics, now_s, clips=clips, composition=composition, staleness=staleness
        )
        quorums, endings = Quorums(quorum), Endings(record, ending)
        self.devices = Devices(record)
        self.states = States(record)
        self.learning = Learning(record)
        self.own_models = OwnModels(record)
        self.retained = Retained(record)
        self.receipts = Receipts(record)
        self.takeovers = Takeovers(record)
        self.waits = Waits(record, deadline_s)
        self.models = Models(record)
        self._announcements = Announcements(record, quorums, endings)
        self._rounds = Rounds(record, quorums, endings, self.models, Summaries(record, endings))

    def ledger_committed(
        self,
        ledger: LedgerReader,
        book: Book,
        rounds: set[RoundId],
        frames: set[SpooledFrame],
        *,
        rounds_written: bool,
    ) -> None:
        """Check a committed transaction: verdicts of these rounds, these frames, and perhaps a closed round.

        `rounds_written`: the transaction changed the ledger's table of rounds.
        """
        if rounds:
            book.answer_s = self.record.now_s()
        life = ledger.meta() if rounds_written else None
        closed = ledger.last_closed(life.generation) if life is not None else None
        fresh: dict[RoundId, dict[str, Verdict]] = {}
        for round_id in rounds:
            answers = ledger.answers(round_id)
            self.models.takes_back(ledger, book, round_id, answers)
            fresh[round_id] = {d: a for d, a in answers.items() if (d, a.digest) not in book.answers}
            if closed is None or round_id <= closed:
                require_far(self.record, book, round_id, fresh.pop(round_id))
            for device, answer in answers.items():
                book.answers[device, answer.digest] = answer.verdict
                if answer.verdict == "admitted":
                    book.awaited.pop(device, None)
                    book.absent_s.pop(device, None)
                if answer.reason is Reason.QUARANTINED and device in self.record.aside:
                    book.promised.get(round_id, {}).pop(device, None)  # the operator asked for it
        if closed is not None and closed != max(book.closed, default=None):
            self._rounds.closed(ledger, book, closed)
            self._rounds.stay_what_they_are(ledger, closed.generation)
            stays = self.record.staleness is not None  # an update on its way counts in the next version
            for device, partial in () if stays else ledger.partials().items():
                held = {(device, partial.id, i) for i in range(partial.n) if partial.have >> i & 1}
                if held & book.spooled - frames:  # frames of this transaction arrived after the round closed
                    raise Violation(
                        Invariant.PARTIALS_DROPPED,
                        f"round {closed} is closed, but the partial update of {device} is still kept",
                    )
        for round_id, answers in fresh.items():  # of the round after the closed one, by its bounds
            require_far(self.record, book, round_id, answers)
        book.spooled |= frames

    def aggregator_says(self, ledger: LedgerReader, book: Book, piece: Publication) -> None:
        """Check a message that the aggregator publishes."""
        address = self.record.address(piece.topic)
        if address is None or not piece.payload:
            return
        if address.kind == "receipt" and address.device is not None:
            self.receipts.says(book, address.device, decode(piece.payload, Receipt))
        elif address.kind == "round":
            self.record.genuine.add(piece.payload)
            self._announcements.says(ledger, book, opened(piece.payload))
            self.states.announces(book, opened(piece.payload))
