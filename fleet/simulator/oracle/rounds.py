"""Check that rounds close in order, with their quorum, and with exactly the devices that were told so."""

from collections.abc import Mapping
from dataclasses import replace
from math import ceil

from aggregator.core.verdicts import Verdict
from aggregator.ledger.layout import KEPT
from aggregator.ledger.reading import LedgerReader
from fedge.wire.frames import join
from fedge.wire.freshness import RoundId, round_of
from fedge.wire.messages.fields import MAX_SIZE
from fedge.wire.messages.model import Model
from fedge.wire.messages.update import Update
from fedge.wire.reasons import Rejection
from fleet.simulator.books import Book
from fleet.simulator.fastpaths import decode
from fleet.simulator.invariants import Invariant, Violation
from fleet.simulator.oracle.endings import Endings
from fleet.simulator.oracle.models import Models, vectors_of
from fleet.simulator.oracle.quorums import Quorums
from fleet.simulator.oracle.record import Made, Record
from fleet.simulator.oracle.summaries import Summaries


class Rounds:
    """Checks the closed rounds of all ledgers."""

    def __init__(
        self, record: Record, quorums: Quorums, endings: Endings, models: Models, summaries: Summaries
    ) -> None:
        self._record, self._quorums, self._endings = record, quorums, endings
        self._models, self._summaries = models, summaries

    def closed(self, ledger: LedgerReader, book: Book, round_id: RoundId) -> None:
        """Check a round that a ledger has saved as closed."""
        if book.closed and round_id <= max(book.closed):
            raise Violation(
                Invariant.ROUNDS_IN_ORDER, f"round {round_id} is closed after round {max(book.closed)}"
            )
        counted = {
            d: answer for d, answer in ledger.answers(round_id).items() if answer.verdict == "admitted"
        }
        self._promises_are_kept(book, round_id, counted)
        saved = ledger.round_as_saved(round_id)
        kept = saved is not None and saved.kind == KEPT
        only_measured = saved is not None and saved.kind == "evaluate"
        quorum = self._quorums.of(saved)
        if saved is not None and saved.kind == "train":
            quorum = max(quorum, self._record.composition.fewest)
        if len(counted) < quorum and not (kept or only_measured):
            raise Violation(
                Invariant.QUORUM,
                f"round {round_id} is closed with {len(counted)} updates; its quorum is {quorum}",
            )
        for device, answer in counted.items():
            self._counts(book, round_id, device, answer)
        digest, model = _newest_model(ledger, book.made if only_measured else round_id)
        body = model.body
        if only_measured:
            self._measured(book, round_id, digest, counted)
        elif round_id.round:
            self._models.trained(ledger, book, round_id, counted, model)
        if not kept:
            made_by = book.part[book.made] if only_measured else ()
            told = [_of_this_model(self._record.made[a.digest], round_id) for a in counted.values()]
            self._summaries.require(ledger, round_id, told, max(min(2, len(made_by)), ceil(len(made_by) / 2)))
        if kept and self._models.wished(book, round_id.generation) != self._models.shared(model):
            raise Violation(
                Invariant.BEGINNING,
                f"generation {round_id.generation} begins with another model than requested",
            )
        if round_id.round == 0:
            self._models.begins(round_id, model)
        book.closed[round_id], book.bodies[round_id] = digest, body
        if not only_measured:
            book.made = round_id
        self._record.models.setdefault(digest, round_id)
        self._record.vectors[digest] = vectors_of(model)
        self._best_is_kept(ledger, book, round_id)
        book.part[round_id] = frozenset(counted)
        self._record.closed_s = self._record.now_s()

    def _promises_are_kept(self, book: Book, round_id: RoundId, counted: Mapping[str, Verdict]) -> None:
        """Check that every device which was told so counts, and none that is in quarantine."""
        for device, since in self._record.aside.items():
            if device in counted and round_id > since:
                raise Violation(
                    Invariant.NONE_THAT_IS_SET_ASIDE,
                    f"{device} counts in round {round_id}, but is in quarantine since round {since}",
                )
        for device, digest in book.promised.get(round_id, {}).items():
            if digest in book.set_aside:
                continue
            if device not in counted or counted[device].digest != digest:
                raise Violation(
                    Invariant.PROMISE_KEPT,
                    f"{device} was told that it counts in round {round_id}, but it does not",
                )

    def _counts(self, book: Book, round_id: RoundId, device: str, answer: Verdict) -> None:
        """Check that a counted update is its device's, for this round, with its samples, and counts once."""
        made = self._record.made.get(answer.digest)
        same = made is not None and made.device == device
        if made is None or not same or (made.round != round_id and self._record.staleness is None):
            raise Violation(
                Invariant.UPDATE_OF_THIS_ROUND,
                f"an update of {made} counts as {device}'s in round {round_id}",
            )
        if answer.digest in book.set_aside:
            raise Violation(
                Invariant.NONE_THAT_IS_SET_ASIDE,
                f"{device}'s update of round {round_id} counts, but was set aside",  # noqa: S608 # no SQL
            )
        if answer.digest in book.counted:
            raise Violation(
                Invariant.ONE_UPDATE_COUNTS, f"{device}'s update of round {round_id} counts twice"
            )
        if not self._record.may_count(made.round, round_id):
            raise Violation(
                Invariant.STALENESS, f"{device}'s update of round {made.round} counts in round {round_id}"
            )
        if book.versions.setdefault((device, made.round), round_id) != round_id:
            raise Violation(
                Invariant.ONE_UPDATE_COUNTS, f"two updates of {device} for round {made.round} count"
            )
        began = round_id.round if answer.began is None else answer.began
        before = made.round._replace(round=made.round.round - 1)
        if began != made.round.round or (
            made.round.round > 0 and made.message.base != book.closed.get(before)
        ):
            raise Violation(
                Invariant.TRUE_BASE,
                f"{device}'s update for round {made.round} counts in round {round_id} as from the "
                f"model before round {began}",
            )
        if answer.samples != made.message.samples:
            raise Violation(
                Invariant.SAMPLES,
                f"{device} has {made.message.samples} samples, but {answer.samples} are counted",
            )
        book.counted[answer.digest] = round_id

    def _measured(self, book: Book, round_id: RoundId, digest: bytes, counted: Mapping[str, Verdict]) -> None:
        """Check a round that only measures: it follows the end of learning and leaves the model as it is."""
        before = round_id._replace(round=round_id.round - 1)
        if before != book.made or book.closed.get(before) != digest:
            raise Violation(
                Invariant.MEASURING_CHANGES_NOTHING,
                f"round {round_id} only measures, but changes the model of round {before}",
            )
        self._endings.require(book, before)
        book.measured.add(round_id)
        for update in self._models.updates(counted.values()):
            if update.body or update.kind != "figures":
                raise Violation(
                    Invariant.MEASURING_CHANGES_NOTHING,
                    f"{update.device} trained in round {round_id}, which only measures",
                )

    def _best_is_kept(self, ledger: LedgerReader, book: Book, round_id: RoundId) -> None:
        """Check that the ledger keeps the model with the lowest reported held-out loss, for the export."""
        loss, of = ledger.summary(round_id).get("held_loss"), round_id._replace(round=round_id.round - 1)
        best = book.best.get(round_id.generation)
        if loss is not None and round_id.round and (best is None or loss < best[1]):
            best = book.best[round_id.generation] = (of, loss)
        if best is not None and best[0].round not in ledger.kept_models(round_id.generation):
            raise Violation(
                Invariant.BEST_MODEL_KEPT,
                f"the best model is that of round {best[0]}, but the ledger does not keep it",
            )

    def stay_what_they_are(self, ledger: LedgerReader, generation: int) -> None:
        """Check that the updates of each kept round are still those that were admitted."""
        for number in ledger.kept_rounds(generation):
            for device, answer in ledger.answers(RoundId(generation, number)).items():
                if answer.verdict == "admitted" and isinstance(
                    join(answer.digest, ledger.pieces(device, answer.digest)), Rejection
                ):
                    raise Violation(
                        Invariant.KEPT_ROUNDS_REPLAY,
                        f"{device}'s update of round {generation}.{number} is no longer the admitted one",
                    )


def _of_this_model(made: Made, round_id: RoundId) -> Made:
    """The update; without its figures if these are of an older model than the round's."""
    if made.round == round_id or not isinstance(made.message, Update):
        return made
    return replace(made, message=made.message.model_copy(update={"metrics": {}}))


def _newest_model(ledger: LedgerReader, round_id: RoundId) -> tuple[bytes, Model]:
    digest = ledger.newest("model", round_id.generation)
    assert digest is not None
    model = decode(ledger.content(digest), Model, max_bytes=MAX_SIZE)
    if round_of(model) != round_id:
        raise Violation(
            Invariant.MODEL_WHEN_DURABLE,
            f"round {round_id} is closed, but the newest model is of round {round_of(model)}",
        )
    return digest, model
