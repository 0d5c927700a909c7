"""What the ledger shows of rounds and devices."""

from contextlib import closing
from pathlib import Path

import pytest

from aggregator.core.verdicts import Missed, Verdict
from aggregator.ledger.layout import MIGRATIONS
from aggregator.ledger.records import LedgerMeta
from aggregator.ledger.views import read_devices, read_rounds
from aggregator.ledger.writing import Ledger
from fedge.errors import StateError
from fedge.storage.databases import open_database
from fedge.wire.freshness import Attempt, RoundId
from fedge.wire.reasons import Reason
from tests.aggregator.ledger.ledgers import COHORTS, LIFE, admit, close
from tests.aggregator.stories import decline, status
from tests.wording import telling

# ── what people are shown ──────────────────────────────────────────────────────────────────────────


def test_rounds_are_read_while_the_aggregator_writes(ledger: Ledger, path: Path) -> None:
    with ledger.transaction():
        close(ledger, RoundId(1, 0))
    with ledger.transaction():
        close(ledger, RoundId(1, 1), accuracy=0.5, bytes_up=7)
        ledger.save_round(RoundId(1, 2), "train", 1, COHORTS, 0.0)
        assert len(read_rounds(path)) == 1  # not committed yet
    first, second, third = read_rounds(path)
    assert (second.round, second.closed, second.devices, second.samples) == (1, True, 2, 20)
    assert (second.accuracy, second.bytes_up, second.attempt) == (0.5, 7, 1)
    assert (third.closed, third.accuracy, third.seconds) == (False, None, None)
    assert first.closed


def test_only_the_newest_generation_is_shown(ledger: Ledger, path: Path) -> None:
    with ledger.transaction():
        close(ledger, RoundId(1, 1))
        ledger.begin_generation(LedgerMeta(LIFE.ledger, 2, "{}"))
        close(ledger, RoundId(2, 0))
    assert [(row.generation, row.round) for row in read_rounds(path)] == [(2, 0)]


def test_a_device_is_shown_with_what_it_said_and_what_became_of_it(ledger: Ledger, path: Path) -> None:
    with ledger.transaction():
        ledger.count_refusals("stranger", 1, Reason.MALFORMED)
        ledger.save_status("a", status(seen=RoundId(1, 3), declined=decline()), 100.0)
        ledger.count_refusals("a", 1, Reason.NOT_FINITE)
        ledger.count_refusals("a", 1, Reason.OVERSIZE)
        ledger.save_status("a", status(online=False, seen=RoundId(1, 4)), 200.0)
        ledger.save_status("a", status(online=False, seen=RoundId(1, 4)), 300.0)
        for number in (1, 2):
            admit(ledger, "a", RoundId(1, number))
        ledger.save_answer(RoundId(1, 3), "a", Verdict(b"x" * 32, "refused", Reason.NOT_FINITE))
    a, stranger = read_devices(path)
    assert (a.device, a.online, a.round, a.admitted) == ("a", False, (1, 4), 2)
    assert (a.refused, a.last_refusal) == (2, "oversize")
    assert a.seen_at == 200.0, "what is only retained says nothing new"
    assert (stranger.version, stranger.refused, stranger.admitted) == (None, 1, 0)
    assert stranger.seen_at is None


def test_who_let_rounds_wait_is_remembered_until_it_answers(ledger: Ledger, path: Path) -> None:
    missed = Missed(2, Attempt(RoundId(1, 7), 3))
    with ledger.transaction():
        for device in ("a", "b"):
            ledger.save_status(device, status(), 100.0)
            ledger.save_missed(device, missed)
        ledger.save_missed("b", None)
        ledger.save_missed("stranger", missed)
        ledger.save_status("a", status(online=False), 200.0)
    assert ledger.missed() == {"a": missed, "stranger": missed}
    assert [(row.device, row.missed) for row in read_devices(path)] == [("a", 2), ("b", 0), ("stranger", 2)]
    assert ledger.devices() == {"a", "b"}


def test_which_device_keeps_an_older_model_in_use_is_shown_until_it_does_no_more(
    ledger: Ledger, path: Path
) -> None:
    older = status().model_copy(update={"uses": b"o" * 32})
    with ledger.transaction():
        ledger.save_status("a", older, 100.0)
        ledger.save_status("b", status(), 100.0)
    assert [row.uses for row in read_devices(path)] == [b"o" * 32, None]
    with ledger.transaction():
        ledger.save_status("a", status(), 200.0)
    assert [row.uses for row in read_devices(path)] == [None, None]


def test_a_ledger_of_an_older_program_is_shown_before_it_is_migrated(path: Path) -> None:
    with closing(open_database(path, MIGRATIONS[:5])) as db:
        db.execute("INSERT INTO devices (device, online) VALUES ('a', 1)")
    assert [(row.device, row.online, row.missed) for row in read_devices(path)] == [("a", True, 0)]


def test_a_ledger_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=telling("nowhere.db: ")):
        read_rounds(tmp_path / "nowhere.db")


def test_a_folder_may_be_called_anything(tmp_path: Path) -> None:
    path = tmp_path / "50% of #1?" / "ledger.db"
    path.parent.mkdir()
    ledger = Ledger(path)
    with ledger.transaction():
        ledger.begin_generation(LIFE)
        close(ledger, RoundId(1, 1))
    ledger.close()
    assert len(read_rounds(path)) == 1
