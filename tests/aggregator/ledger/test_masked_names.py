"""A forgotten device is named in no masked round any more. Sums stay; an attempt with it is given up."""

import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from aggregator.ledger.records import GroupSum, MaskedSum
from aggregator.ledger.writing import Ledger
from fedge.masking.messages import Terms
from fedge.wire.freshness import RoundId
from fedge.wire.messages.message import pack
from tests.aggregator.ledger.ledgers import COHORTS, admit, model_of
from tests.fedge.message_examples import TERMS

ROUND, NEXT = RoundId(1, 1), RoundId(1, 2)
DEVICES = ("pi-1", "pi-2", "pi-3", "pi-4", "pi-5", "pi-6")
SUM = MaskedSum(
    6,
    8,
    0.5,
    DEVICES,
    np.arange(4),
    (GroupSum(3, DEVICES[::2], np.arange(4) - 9), GroupSum(3, DEVICES[1::2], np.full(4, 9))),
)


@pytest.fixture
def ledger(ledger: Ledger) -> Ledger:
    told = {"survivors": list(DEVICES), "groups": [list(each.devices) for each in SUM.groups], "moved": 0.5}
    with ledger.transaction():
        for device in DEVICES:
            admit(ledger, device, ROUND)
        ledger.save_round(ROUND, "masked", 0, COHORTS, 0.0)
        ledger.save_sum(ROUND, SUM)
        ledger.close_round(ROUND, model_of(ROUND).digest, 6, 6, told, 1.0, "masked-groups/1 median/1")
        ledger.save_round(NEXT, "masked", 0, COHORTS, 2.0)
    return ledger


def attempt(ledger: Ledger, *cohort: str) -> None:
    terms = Terms.model_validate({**TERMS.model_dump(), "generation": 1, "round": 2, "cohort": cohort})
    with ledger.transaction():
        ledger.begin_exchange(NEXT, pack(terms))
        ledger.keep_masking(NEXT, cohort[0], admit(ledger, cohort[0], NEXT))


def named(path: Path, device: str) -> list[str]:
    """The tables with a text or bytes in which the device's name stands."""
    found = []
    with sqlite3.connect(path) as db:
        for (table,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
            rows = db.execute(f"SELECT * FROM {table}").fetchall()
            cells = [cell for row in rows for cell in row if isinstance(cell, str | bytes)]
            if any(
                (cell if isinstance(cell, bytes) else cell.encode()).find(device.encode()) >= 0
                for cell in cells
            ):
                found.append(table)
    db.close()
    return found


@pytest.mark.parametrize("under_way", [False, True])
def test_nothing_names_it_and_the_sums_are_what_they_were(
    ledger: Ledger, path: Path, under_way: bool
) -> None:
    if under_way:
        attempt(ledger, *DEVICES[:3])
    assert {"masked_sums", "masked_groups", "rounds", "answers"} <= set(named(path, "pi-3"))
    with ledger.transaction():
        ledger.forget_device("pi-3")
    assert named(path, "pi-3") == []
    assert "masked_sums" in named(path, "pi-2")
    found = ledger.masked_sum(ROUND)
    assert found is not None
    assert found.devices == ("pi-1", "pi-2", "?", "pi-4", "pi-5", "pi-6")
    assert [each.devices for each in found.groups] == [("pi-1", "?", "pi-5"), DEVICES[1::2]]
    assert found.levels is not None
    assert (found.levels == np.arange(4)).all()
    with sqlite3.connect(path) as db:
        (text,) = db.execute("SELECT summary FROM rounds WHERE round = 1").fetchone()
    db.close()
    told = json.loads(text)
    assert told["survivors"] == list(found.devices)
    assert told["groups"] == [list(each.devices) for each in found.groups]
    assert told["moved"] == 0.5
    assert ledger.forgotten(ROUND) == 1


def test_an_attempt_with_it_is_given_up_and_one_without_it_goes_on(ledger: Ledger) -> None:
    attempt(ledger, *DEVICES[:3])
    with ledger.transaction():
        ledger.forget_device("pi-6")
    assert len(ledger.exchange(NEXT)) == 2
    assert ledger.masked_sum(NEXT) is None
    with ledger.transaction():
        ledger.forget_device("pi-3")
    assert ledger.exchange(NEXT) == []
    found = ledger.masked_sum(NEXT)
    assert found is not None
    assert found.levels is None, "the round closes with the model that it began with"
