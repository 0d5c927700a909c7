"""Segments that are mostly unused are emptied, whoever reads them meanwhile."""

import os
from pathlib import Path

import pytest

from aggregator.ledger.layout import FILE
from aggregator.ledger.reading import read_only
from aggregator.ledger.writing import Ledger
from fedge.errors import DamagedState
from fedge.storage import segments
from fedge.storage.segments import SUFFIX, FileSegments, Place
from tests.aggregator.ledger.ledgers import piece_of, segments_of
from tests.aggregator.stories import frames, update


@pytest.fixture(autouse=True)
def _all_in_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ledger, "in_the_table", 0)


def test_devices_that_never_complete_an_update_do_not_fill_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "LARGEST", 10_000)
    path = tmp_path / FILE
    ledger, kept = Ledger(path), []
    for number in range(300):
        with ledger.transaction():
            if number:
                ledger.drop_spool("rogue", piece_of("rogue", number - 1).id)
            ledger.spool("rogue", piece_of("rogue", number))
            if number % 20 == 0:
                kept.append(piece_of("a", number))
                ledger.spool("a", kept[-1])
        used = 1_000 * (len(kept) + 1)
        on_disk = sum(file.stat().st_size for file in (tmp_path / f"{FILE}{SUFFIX}").iterdir())
        assert on_disk <= 2 * used + 10_000 + 2 * 1_000, number
    for piece in kept:
        assert list(ledger.pieces("a", piece.id)) == [piece.data]
    ledger.close()
    again = Ledger(path)
    with again.transaction():
        again.drop_spool("rogue", piece_of("rogue", 299).id)
    for piece in kept:
        assert list(again.pieces("a", piece.id)) == [piece.data]


def moved_by(ledger: Ledger, segment: int) -> None:
    ledger._segments.roll()
    ledger._move_out_of(segment)
    ledger._delete_unused()


@pytest.mark.parametrize("among", [False, True], ids=["alone", "among others"])
def test_an_update_is_read_while_its_frames_are_moved(tmp_path: Path, among: bool) -> None:
    ledger = Ledger(tmp_path / FILE)
    pieces = frames(update("a"), 9)
    with ledger.transaction():
        for piece in pieces:
            ledger.spool("a", piece)
    with read_only(tmp_path / FILE) as reader:
        once, failed = FileSegments.read, []

        def read(self: FileSegments, place: Place) -> bytes:
            if self is reader._segments and len(failed) < 3:  # its row was read, and then it was moved
                failed.append(place)
                moved_by(ledger, place.segment)
            return once(self, place)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(FileSegments, "read", read)
            if among:
                found, _ = reader.pieces_of([("a", pieces[0].id), ("b", bytes(32))])
            else:
                found = reader.pieces("a", pieces[0].id)
            assert list(found) == [piece.data for piece in pieces]
    assert len({place.segment for place in failed}) > 1, "it is moved again, after it was found once"
    assert "1" not in segments_of(tmp_path / FILE)


def test_a_damaged_segment_is_not_moved_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / FILE
    ledger = Ledger(path)
    with ledger.transaction():
        for number in range(3):
            ledger.spool("a", piece_of("a", number))
        ledger.spool("b", piece_of("b", 0))
    os.truncate(tmp_path / f"{FILE}{SUFFIX}" / "1", 3_500)
    ledger._segments.roll()
    tried, move = [], Ledger._move_out_of
    monkeypatch.setattr(
        Ledger, "_move_out_of", lambda self, number: tried.append(number) or move(self, number)
    )
    for number in range(5):
        with ledger.transaction():
            ledger.drop_spool("a", piece_of("a", number).id)
            ledger._freed = True
    assert tried == [1]
    assert segments_of(path) == {"1"}
    with pytest.raises(DamagedState):
        list(ledger.pieces("b", piece_of("b", 0).id))
