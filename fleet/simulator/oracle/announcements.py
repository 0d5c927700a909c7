"""Check that rounds are announced in order, and that an aggregator announces only what it has saved."""

from aggregator.ledger.reading import LedgerReader
from fedge.wire.freshness import round_of
from fedge.wire.messages.frame import Blob
from fedge.wire.messages.manifest import Manifest
from fleet.simulator.books import Book
from fleet.simulator.invariants import Invariant, Violation
from fleet.simulator.oracle.endings import Endings
from fleet.simulator.oracle.quorums import Quorums
from fleet.simulator.oracle.record import Announced, Record, attempt_name, short


class Announcements:
    """Checks the manifests that all aggregators publish."""

    def __init__(self, record: Record, quorums: Quorums, endings: Endings) -> None:
        self._record, self._quorums, self._endings = record, quorums, endings

    def says(self, ledger: LedgerReader, book: Book, manifest: Manifest) -> None:
        """Check a manifest that an aggregator publishes, for a new round or again."""
        here = round_of(manifest)
        if (before := book.last) is not None:
            if (*here, manifest.attempt) < (*round_of(before), before.attempt):
                raise Violation(
                    Invariant.ROUNDS_IN_ORDER,
                    f"attempt {here}.{manifest.attempt} is announced after {attempt_name(before)}",
                )
            if here == round_of(before) and manifest.state == before.state:
                for what in ("task", "model", "coded", "key", "kind"):
                    if _content(getattr(manifest, what)) != _content(getattr(before, what)):
                        raise Violation(
                            Invariant.ROUND_STAYS_AS_ANNOUNCED,
                            f"the {what} of round {here} differs from the one that was announced before",
                        )
        if manifest.model is not None:
            base = here if manifest.state == "done" else here._replace(round=here.round - 1)
            if book.closed.get(base) != manifest.model.digest:
                raise Violation(
                    Invariant.MODEL_WHEN_DURABLE,
                    f"round {here} announces the model {short(manifest.model.digest)} after round {base}, "
                    "but that model is not saved",
                )
        saved = ledger.round_as_saved(here)
        cohorts = saved.cohorts if saved is not None else ()
        if saved is not None and manifest.state == "open" and saved.attempt > manifest.attempt:
            # The next attempt may have been saved meanwhile; it is announced after this one. Attempts after
            # one of all devices have its cohort, which is saved once.
            cohorts = cohorts[: manifest.attempt + 1]
        if saved is None or cohorts[-1] != manifest.cohort:
            raise Violation(
                Invariant.COHORT_WHEN_DURABLE,
                f"round {attempt_name(manifest)} announces a cohort that is not saved",
            )
        if manifest.state == "open" and saved.attempt == manifest.attempt:
            quorum = book.quorums.setdefault((here, saved.attempt), self._quorums.of(saved))
            if quorum != self._quorums.of(saved):
                raise Violation(
                    Invariant.QUORUM,
                    f"attempt {saved.attempt} of round {here} had the quorum {quorum} when it began, and has "
                    f"{self._quorums.of(saved)} now",
                )
        if manifest.state == "done":
            self._endings.require(book, here)
        book.last = manifest
        book.over_s = self._record.now_s() + manifest.seconds_left
        self._record.announced.append(Announced(self._record.now_s(), manifest))
        lasts_s = self._record.now_s() + manifest.seconds_left
        self._record.lasts_s[attempt_name(manifest)] = max(
            lasts_s, self._record.lasts_s.get(attempt_name(manifest), 0.0)
        )


def _content(announced: Blob | str | None) -> bytes | str | None:
    """What is announced, wherever it lies: cut anew for another broker, it moves to its other slot."""
    return announced.digest if isinstance(announced, Blob) else announced
