"""Where the frames of an update are, which an index finds by the beginning of its digest."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from aggregator.core.verdicts import Verdict
from aggregator.ledger.layout import MIGRATIONS
from aggregator.ledger.reading import LedgerReader, read_only
from aggregator.ledger.writing import Ledger
from fedge.storage.databases import open_database
from fedge.wire.freshness import RoundId
from fedge.wire.messages.frame import Frame

ALIKE = b"same" + bytes(28), b"same" + bytes(27) + b"\1", b"same" + b"\xff" * 28
"""Digests with one beginning."""


def frame(digest: bytes, i: int, text: bytes, n: int = 2) -> Frame:
    return Frame(id=digest, i=i, n=n, size=10_000, data=text)


def stored(ledger: LedgerReader, device: str, digest: bytes) -> list[bytes]:
    found = list(ledger.pieces(device, digest))
    (among_others,) = ledger.pieces_of([(device, digest)])
    assert list(among_others) == found
    return found


def test_updates_whose_digests_begin_alike_are_told_apart(ledger: Ledger) -> None:
    with ledger.transaction():
        for number, digest in enumerate(ALIKE):
            for device in ("pi-1", "pi-2"):
                for i in (1, 0):
                    ledger.spool(device, frame(digest, i, f"{device} {number} {i}".encode()))
    with ledger.transaction():
        ledger.drop_spool("pi-1", ALIKE[1])
    told = {
        (device, number): [text.decode() for text in stored(ledger, device, digest)]
        for device in ("pi-1", "pi-2")
        for number, digest in enumerate(ALIKE)
    }
    assert told == {
        key: [] if key == ("pi-1", 1) else [f"{key[0]} {key[1]} 0", f"{key[0]} {key[1]} 1"] for key in told
    }


@pytest.mark.parametrize("size", [9, 5_000], ids=["in the table", "in a segment"])
@pytest.mark.parametrize("at_once", [True, False], ids=["one transaction", "two"])
def test_a_frame_takes_the_place_of_the_one_of_its_number(ledger: Ledger, size: int, at_once: bool) -> None:
    def spool(text: bytes) -> None:
        ledger.spool("pi-1", frame(ALIKE[0], 0, text.ljust(size)))
        ledger.spool("pi-1", frame(ALIKE[1], 0, b"another one"))

    with ledger.transaction():
        ledger.spool("pi-1", frame(ALIKE[0], 1, b"the second"))
        spool(b"damaged")
        if at_once:
            spool(b"whole")
    if not at_once:
        with ledger.transaction():
            spool(b"whole")
    assert stored(ledger, "pi-1", ALIKE[0]) == [b"whole".ljust(size), b"the second"]
    assert stored(ledger, "pi-1", ALIKE[1]) == [b"another one"]
    assert ledger._one("SELECT count(*) FROM frames") == (3,)


def test_what_is_no_longer_kept_takes_no_update_with_it_that_begins_alike(ledger: Ledger) -> None:
    with ledger.transaction():
        for number, digest in enumerate(ALIKE):
            ledger.spool("pi-1", frame(digest, 0, bytes([number]), n=1))
            answer = Verdict(digest, "admitted", samples=1)
            ledger.save_answer(RoundId(1, number), "pi-1", answer)
        ledger.forget_rounds_before(RoundId(1, 2))
    assert [stored(ledger, "pi-1", digest) for digest in ALIKE] == [[], [], [b"\2"]]


def test_frames_of_an_older_layout_stay_where_they_are(path: Path) -> None:
    rows = [
        ("b", ALIKE[0], 1, 2, 9, b"later"),
        ("a", ALIKE[1], 0, 1, 9, b"other"),
        ("b", ALIKE[0], 0, 2, 9, b"x"),
    ]
    with closing(open_database(path, MIGRATIONS[:18])) as db:
        db.executemany("INSERT INTO frames VALUES (?, ?, ?, ?, ?, ?, NULL, NULL, NULL)", rows)
        db.execute(
            "INSERT INTO answers VALUES (1, 1, 0, 'b', ?, 'admitted', NULL, '', 1, '{}',"
            " NULL, NULL, NULL, NULL)",
            (ALIKE[0],),
        )

    def told(ledger: LedgerReader) -> object:
        asked = [("b", ALIKE[0]), ("a", ALIKE[1]), ("a", ALIKE[0])]
        size = ledger.update_bytes(RoundId(1, 1))
        return [stored(ledger, *each) for each in asked], size, ledger.bytes_of("b")

    with read_only(path) as reader:
        before = told(reader)
    with closing(Ledger(path)) as ledger:
        assert told(ledger) == before == ([[b"x", b"later"], [b"other"], []], 6, 6)
        with ledger.transaction():
            ledger.spool("b", frame(ALIKE[0], 0, b"y"))
        assert stored(ledger, "b", ALIKE[0]) == [b"y", b"later"]


@contextmanager
def plans(ledger: Ledger) -> Iterator[list[str]]:
    """How SQLite finds the frames in what runs inside."""
    found: list[str] = []
    statements: list[str] = []
    ledger._db.set_trace_callback(statements.append)
    try:
        yield found
    finally:
        ledger._db.set_trace_callback(None)
    for text in statements:
        if "frames" in text and not text.startswith("--"):
            told = ledger._db.execute(f"EXPLAIN QUERY PLAN {text}").fetchall()
            found += [detail for *_, detail in told if "frames" in detail]


def test_each_message_finds_its_frames_by_the_index_alone(ledger: Ledger) -> None:
    with ledger.transaction(), plans(ledger) as found:
        ledger.spool("pi-1", frame(ALIKE[0], 0, b"1"))
        ledger.spool("pi-1", frame(ALIKE[0], 1, b"2"))
        stored(ledger, "pi-1", ALIKE[0])
        ledger.update_bytes(RoundId(1, 1))
        ledger.drop_spool("pi-1", ALIKE[0])
        ledger.forget_rounds_before(RoundId(1, 1))
        ledger.drop_exchange()
    by_index = [each for each in found if "USING INDEX frames_by_update (device=? AND prefix=?" in each]
    by_row = [each for each in found if "USING INTEGER PRIMARY KEY (rowid=?)" in each]
    assert len(by_index) >= 6
    assert sorted([*by_index, *by_row]) == sorted(found)
