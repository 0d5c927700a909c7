"""Changes that wait for others of the same statement: no query misses them, and they are one transaction."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from aggregator.core.verdicts import Verdict
from aggregator.ledger.layout import FILE
from aggregator.ledger.reading import read_only
from aggregator.ledger.writing import Ledger
from fedge.algorithms.rules.mean import order
from fedge.errors import StateError
from fedge.wire.freshness import RoundId
from fedge.wire.reasons import Reason
from tests.aggregator.ledger.ledgers import admit, count
from tests.aggregator.stories import digest_of, frames, update

ROUND = RoundId(1, 1)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / FILE)
    yield ledger
    ledger.close()


def test_a_query_sees_what_its_transaction_has_changed(ledger: Ledger) -> None:
    with ledger.transaction():
        digest = admit(ledger, "a", ROUND)
        assert ledger.verdict("a", digest) is not None
        assert ledger.verdict("b", digest) is None
        digest = admit(ledger, "b", ROUND)
        assert len(list(ledger.pieces("b", digest))) == 2
        admit(ledger, "c", ROUND)
        assert sorted(ledger.answers(ROUND)) == ["a", "b", "c"]


def test_the_first_verdict_stays_also_within_one_transaction(ledger: Ledger) -> None:
    digest = digest_of(update("a"))
    with ledger.transaction():
        ledger.save_answer(ROUND, "a", Verdict(digest, "admitted", samples=3))
        ledger.save_answer(ROUND, "a", Verdict(digest, "refused", Reason.TOO_FAR))
        found = ledger.verdict("a", digest)
    assert found is not None
    assert (found.answer.verdict, found.answer.samples) == ("admitted", 3)


def test_a_device_that_is_set_aside_in_the_same_transaction_does_not_count(ledger: Ledger) -> None:
    digest = digest_of(update("a"))
    with ledger.transaction():
        ledger.save_answer(ROUND, "a", Verdict(digest, "admitted", samples=3))
        ledger.save_answer(ROUND, "a", Verdict(b"o" * 32, "refused", Reason.QUARANTINED))
        assert ledger.answers(ROUND)["a"].verdict == "admitted", "that is another update"
        ledger.save_answer(ROUND, "b", Verdict(digest, "admitted", samples=3))
        ledger.save_answer(ROUND, "b", Verdict(digest, "refused", Reason.QUARANTINED))
        assert ledger.answers(ROUND)["b"].reason is Reason.QUARANTINED
    assert list(ledger.answers(ROUND)) == sorted("ab", key=order), "one row each"


def test_what_is_dropped_after_it_was_stored_is_gone(ledger: Ledger, tmp_path: Path) -> None:
    (piece,) = frames(update("a"))
    with ledger.transaction():
        ledger.spool("a", piece)
        ledger.drop_spool("a", piece.id)
    assert count(tmp_path / FILE, "frames") == 0


def test_changes_of_a_transaction_that_fails_are_not_made_later(ledger: Ledger, tmp_path: Path) -> None:
    digest = digest_of(update("a"))
    with pytest.raises(ZeroDivisionError), ledger.transaction():
        assert [admit(ledger, "a", ROUND), 1 / 0]
    with ledger.transaction():
        assert ledger.verdict("a", digest) is None
        admit(ledger, "b", ROUND)
    with read_only(tmp_path / FILE) as reader:
        assert list(reader.answers(ROUND)) == ["b"]
    assert count(tmp_path / FILE, "frames") == 2


def test_a_change_that_cannot_be_made_fails_the_transaction(ledger: Ledger, tmp_path: Path) -> None:
    ledger._db.execute("PRAGMA max_page_count=1")  # it cannot grow
    with pytest.raises(StateError, match="full"), ledger.transaction():
        _ = [admit(ledger, f"pi-{number}", ROUND) for number in range(500)]
    with sqlite3.connect(tmp_path / FILE) as db:
        assert db.execute("SELECT count(*) FROM answers").fetchone() == (0,)
    db.close()


def test_of_many_updates_that_were_looked_up_at_once_each_has_its_verdict(ledger: Ledger) -> None:
    with ledger.transaction():
        known = [(f"pi-{n}", admit(ledger, f"pi-{n}", ROUND)) for n in range(5)]
    new = [(f"pi-{n}", digest_of(update(f"pi-{n}"))) for n in range(5, 12)]
    for count_asked in (1, 3, 8, 12):
        asked = [*known, *new][-count_asked:]
        with ledger.transaction():
            ledger.look_up(set(asked))
            statements: list[str] = []
            ledger._db.set_trace_callback(statements.append)
            for device, digest in asked:
                assert (ledger.verdict(device, digest) is not None) == ((device, digest) in known)
            ledger._db.set_trace_callback(None)
            assert len(statements) == len(set(asked) & set(known)), "no query for one that has no verdict"
            if count_asked == 12:
                device, digest = new[0]
                admit(ledger, device, ROUND)
                assert ledger.verdict(device, digest) is not None, "it is judged after it was looked up"
    with ledger.transaction():
        assert ledger.verdict(*new[0]) is not None, "another transaction looks anew"
