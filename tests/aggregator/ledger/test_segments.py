"""Frames in segments: durable before their places are, and in every copy of the ledger."""

import errno
import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest

from aggregator.backup.forget import forget
from aggregator.backup.restore import restore
from aggregator.backup.snapshot import backup
from aggregator.ledger.layout import FILE
from aggregator.ledger.reading import read_only
from aggregator.ledger.writing import Ledger
from aggregator.shell.ledger_file import open_ledger
from fedge.errors import DamagedState, StateError
from fedge.storage import databases, segments
from fedge.storage.atomic_files import quarantine
from fedge.storage.segments import SUFFIX, FileSegments, Place
from fedge.wire.freshness import RoundId
from tests.aggregator.ledger.ledgers import LIFE, admit, close, piece_of, segments_of
from tests.aggregator.stories import frames, update
from tests.aggregator.test_backup import Server
from tests.wording import telling


@pytest.fixture(autouse=True)
def _all_in_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ledger, "in_the_table", 0)


def in_table(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        (size,) = db.execute("SELECT coalesce(sum(length(data)), 0) FROM frames").fetchone()
    return int(size)


def test_small_frames_are_in_the_table_and_large_ones_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ledger, "in_the_table", 30)
    ledger = Ledger(tmp_path / FILE)
    small, large = frames(update("a"), 9), frames(update("b"), 1)
    assert len(small[0].data) <= 30 < len(large[0].data)
    with ledger.transaction():
        for device, pieces in (("a", small), ("b", large)):
            for piece in pieces:
                ledger.spool(device, piece)
    assert b"".join(ledger.pieces("a", small[0].id)) == b"".join(piece.data for piece in small)
    assert list(ledger.pieces("b", large[0].id)) == [large[0].data]
    assert in_table(tmp_path / FILE) == sum(len(piece.data) for piece in small)
    assert ledger.bytes_of("b") == len(large[0].data)


def test_updates_that_are_looked_up_at_once_come_in_their_order(tmp_path: Path) -> None:
    ledger, updates = Ledger(tmp_path / FILE), {name: frames(update(name), 3) for name in "cab"}
    with ledger.transaction():
        for device, pieces in updates.items():
            for piece in pieces:
                ledger.spool(device, piece)
    asked = [("b", updates["b"][0].id), ("a", bytes(32)), *((name, updates[name][0].id) for name in "acb")]
    found = [list(pieces) for pieces in ledger.pieces_of(asked)]
    assert found == [list(ledger.pieces(*each)) for each in asked]
    assert [len(pieces) for pieces in found] == [3, 0, 3, 3, 3]


def test_bytes_are_durable_before_the_place_that_names_them(tmp_path: Path) -> None:
    done: list[str] = []

    class Recorded(FileSegments):
        def append(self, data: bytes) -> Place:
            done.append("append")
            return super().append(data)

        def sync(self) -> None:
            done.append("sync")
            super().sync()

    def connect(path: Path, migrations: object) -> sqlite3.Connection:
        connection = databases.open_database(path, migrations)  # type: ignore[arg-type]
        connection.set_trace_callback(lambda text: done.append(text[:6]) if text == "COMMIT" else None)
        return connection

    ledger = Ledger(tmp_path / FILE, connect, Recorded(tmp_path / FILE))
    done.clear()
    with ledger.transaction():
        ledger.spool("a", frames(update("a"))[0])
    assert done == ["append", "sync", "COMMIT"]


def test_a_transaction_that_fails_leaves_no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(tmp_path / FILE)
    (piece,) = frames(update("a"))

    def full(_self: object) -> None:
        raise StateError("disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(FileSegments, "sync", full)
        with pytest.raises(StateError, match="full"), ledger.transaction():
            ledger.spool("a", piece)
    assert list(ledger.pieces("a", piece.id)) == []
    with ledger.transaction():
        ledger.spool("a", piece)
    assert list(ledger.pieces("a", piece.id)) == [piece.data]
    assert ledger.partials()["a"].complete


def test_the_segment_of_a_round_goes_with_it(tmp_path: Path) -> None:
    path = tmp_path / FILE
    ledger = Ledger(path)
    with ledger.transaction():
        ledger.begin_generation(LIFE)
    for number in range(6):
        with ledger.transaction():
            admit(ledger, "pi-1", RoundId(1, number))
        with ledger.transaction():
            close(ledger, RoundId(1, number))
            ledger.retain(RoundId(1, number), 3, 2**30)
    assert segments_of(path) == {"1", "4", "5", "6"}, "the survey's, and those of the three newest rounds"
    ledger.close()
    (path.with_name(path.name + SUFFIX) / "9").write_bytes(b"left by a transaction that a power cut ended")
    again = Ledger(path)
    with again.transaction():
        pass
    assert segments_of(path) == {"1", "4", "5", "6"}


def test_fewer_rounds_stay_where_bytes_are_short_and_segments_count(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / FILE)
    before = ledger.bytes_held()
    piece = frames(update("a"))[0].model_copy(update={"data": b"x" * 100_000, "size": 100_000})
    with ledger.transaction():
        ledger.spool("a", piece)
    assert 100_000 <= ledger.bytes_held() - before < 110_000


def test_a_backup_holds_the_frames_and_its_restored_ledger_too(tmp_path: Path) -> None:
    server = Server(tmp_path / "server")
    server.learn(3)
    path = server.state / FILE
    assert in_table(path) == 0
    backup(server.settings, tmp_path / "copy")
    _, aside = restore(server.settings, tmp_path / "copy", force=True)
    assert aside is not None
    assert segments_of(aside) == {"1"}
    with read_only(aside) as old, read_only(path) as new:
        old.check_updates()
        new.check_updates()
        (digest,) = {answer.digest for answer in new.answers(RoundId(1, 1)).values()}
        assert list(old.pieces("pi-1", digest)) == list(new.pieces("pi-1", digest)) != []
    assert not path.with_name(path.name + SUFFIX).exists()


@pytest.mark.parametrize("used_again", [False, True])
def test_a_backup_is_made_again_if_a_segment_went_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, used_again: bool
) -> None:
    server = Server(tmp_path / "server")
    server.learn(3)
    segment = server.state / f"{FILE}{SUFFIX}" / "1"
    read, reads = FileSegments.read, []

    def meanwhile(self: FileSegments, place: Place) -> bytes:
        reads.append(place)
        if len(reads) == 1:
            ledger = Ledger(server.state / FILE)  # an aggregator that learns, and deletes the oldest rounds
            with ledger.transaction():
                for each in range(3, 8):
                    admit(ledger, "pi-1", RoundId(1, each))
                    close(ledger, RoundId(1, each))
                    ledger.retain(RoundId(1, each), 2, 2**30)
            ledger.close()
            assert not segment.exists()
            if used_again:
                segment.write_bytes(bytes(100_000))
        return read(self, place)

    with monkeypatch.context() as patch:
        patch.setattr(FileSegments, "read", meanwhile)
        assert backup(server.settings, tmp_path / "copy").round == 8
    restore(server.settings, tmp_path / "copy", force=True)
    with read_only(server.state / FILE) as restored:
        restored.check_updates()


def test_a_backup_is_made_again_if_a_device_was_forgotten_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(tmp_path / "server")
    server.learn(3)
    read, reads = FileSegments.read, []

    def meanwhile(self: FileSegments, place: Place) -> bytes:
        reads.append(place)
        if len(reads) == 1:
            assert forget(server.settings, "pi-1").size > 0
        return read(self, place)

    monkeypatch.setattr(FileSegments, "read", meanwhile)
    backup(server.settings, tmp_path / "copy")
    restore(server.settings, tmp_path / "copy", force=True)
    with read_only(server.state / FILE) as restored:
        assert restored.bytes_of("pi-1") == 0


def test_no_backup_is_made_of_a_ledger_without_one_of_its_segments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(tmp_path / "server")
    server.learn(3)
    (server.state / f"{FILE}{SUFFIX}" / "1").unlink()
    read, reads = FileSegments.read, []

    def counted(self: FileSegments, place: Place) -> bytes:
        reads.append(place)
        return read(self, place)

    monkeypatch.setattr(FileSegments, "read", counted)
    with pytest.raises(DamagedState, match=telling(f"{FILE}{SUFFIX}/1", "missing")):
        backup(server.settings, tmp_path / "copy")
    assert len(reads) == 1, "once, because nothing changed the ledger"


def test_a_damaged_segment_is_found_by_the_digest(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / FILE)
    with ledger.transaction():
        ledger.begin_generation(LIFE)
        admit(ledger, "pi-1", RoundId(1, 0))
        close(ledger, RoundId(1, 0))
    file = tmp_path / f"{FILE}{SUFFIX}" / "1"
    ledger.check_updates()
    file.write_bytes(bytes(file.stat().st_size))
    with pytest.raises(DamagedState, match=telling("pi-1", "1.0")):
        ledger.check_updates()


def test_what_is_committed_is_so_whatever_happens_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(tmp_path / FILE)
    (piece,) = frames(update("a"))
    everything = Ledger._all

    def failing(self: Ledger, statement: str, *values: object) -> list[object]:
        if statement.startswith("SELECT") and not ledger._db.in_transaction:
            raise StateError("disk I/O error")
        return everything(self, statement, *values)

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "_all", failing)
        with ledger.transaction():
            ledger.spool("a", piece)
    assert list(ledger.pieces("a", piece.id)) == [piece.data]


def test_segments_whose_database_was_moved_away_stay(tmp_path: Path) -> None:
    path, away = tmp_path / FILE, tmp_path / "away.db"
    ledger = Ledger(path)
    with ledger.transaction():
        ledger.begin_generation(LIFE)
        admit(ledger, "pi-1", RoundId(1, 0))
        close(ledger, RoundId(1, 0))
    ledger.close()
    path.rename(away)
    new = open_ledger(path)
    with new.transaction():
        new.begin_generation(LIFE)
    new.close()
    aside = tmp_path / f"{FILE}.quarantine-1{SUFFIX}"
    aside.rename(away.with_name(away.name + SUFFIX))
    with read_only(away) as found:
        found.check_updates()


def test_restoring_keeps_segments_whose_database_was_moved_away(tmp_path: Path) -> None:
    server = Server(tmp_path / "server")
    server.learn(3)
    backup(server.settings, tmp_path / "copy")
    for file in server.state.glob(f"{FILE}*"):
        if file.is_file():
            file.rename(tmp_path / file.name)
    _, aside = restore(server.settings, tmp_path / "copy", force=False)
    assert aside is not None
    assert segments_of(aside) == {"1"}


def test_putting_aside_replaces_nothing_that_a_power_cut_has_left(tmp_path: Path) -> None:
    path = tmp_path / FILE
    for suffix in (f".quarantine-1{SUFFIX}", SUFFIX):
        (tmp_path / (FILE + suffix)).mkdir()
        (tmp_path / (FILE + suffix) / "1").write_text(suffix)
    path.touch()
    aside = quarantine(path)
    assert aside.name == f"{FILE}.quarantine-2"
    assert aside.exists()
    assert (tmp_path / f"{FILE}.quarantine-1{SUFFIX}" / "1").read_text() == f".quarantine-1{SUFFIX}"
    assert (tmp_path / f"{FILE}.quarantine-2{SUFFIX}" / "1").read_text() == SUFFIX


def test_putting_aside_goes_on_after_a_power_cut(tmp_path: Path) -> None:
    path = tmp_path / FILE
    path.touch()
    (tmp_path / f"{FILE}.quarantine-1{SUFFIX}").mkdir()
    assert quarantine(path).name == f"{FILE}.quarantine-1"


def test_a_transaction_for_which_the_disk_is_too_small_leaves_its_room_to_smaller_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(tmp_path / FILE)
    (piece,) = frames(update("a"))
    write = os.pwritev

    def limited(descriptor: int, pieces: list[memoryview], at: int) -> int:
        if at:  # the second frame of the transaction
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, pieces, at)

    monkeypatch.setattr(segments, "AT_ONCE", 1)
    monkeypatch.setattr(os, "pwritev", limited)
    for _ in range(3):
        with pytest.raises(StateError, match="No space"), ledger.transaction():
            _ = [ledger.spool(device, piece) for device in ("a", "b")]
    sizes = [file.stat().st_size for file in (tmp_path / f"{FILE}{SUFFIX}").iterdir()]
    assert sum(sizes) == 0
    with ledger.transaction():
        ledger.spool("a", piece)
    assert list(ledger.pieces("a", piece.id)) == [piece.data]
    assert segments_of(tmp_path / FILE) == {"4"}


@pytest.mark.parametrize(
    ("column", "value"),
    [("segment", "x"), ("offset", None), ("offset", -5), ("offset", 2**39), ("length", 2**40)],
)  # fmt: skip
def test_a_damaged_place_is_told_as_damage(tmp_path: Path, column: str, value: object) -> None:
    server = Server(tmp_path / "server")
    server.learn(1)
    path = server.state / FILE
    ledger = Ledger(path)
    with ledger.transaction():
        ledger.spool("a", piece_of("a", 1))
    ledger._db.execute(f"UPDATE frames SET {column} = ?", (value,))
    if column == "length":
        with pytest.raises(DamagedState):
            ledger.partials()
    with pytest.raises(DamagedState):
        ledger.check_updates()
    with pytest.raises(DamagedState):
        backup(server.settings, tmp_path / "copy")
    size = (tmp_path / "server" / "state" / f"{FILE}{SUFFIX}" / "1").stat().st_size
    if column != "length":
        with suppress(DamagedState):
            ledger.wipe()
        assert (tmp_path / "server" / "state" / f"{FILE}{SUFFIX}" / "1").stat().st_size == size


def test_an_update_that_is_removed_is_gone_in_the_same_transaction_too(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / FILE)
    (piece,) = frames(update("a"))
    with ledger.transaction():
        ledger.spool("a", piece)
        assert list(ledger.pieces("a", piece.id)) == [piece.data]
        ledger.drop_spool("a", piece.id)
        assert list(ledger.pieces("a", piece.id)) == []


def test_what_is_read_is_what_is_stored(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / FILE)
    (piece,) = frames(update("a"))
    other = piece.model_copy(update={"data": bytes(len(piece.data))})
    with ledger.transaction():
        ledger.spool("a", piece)
        ledger.spool("a", other)  # it takes the place of the one of this number
        assert list(ledger.pieces("a", piece.id)) == [other.data]
    with read_only(tmp_path / FILE) as reader:
        assert list(reader.pieces("a", piece.id)) == [other.data]
