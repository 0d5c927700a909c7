"""Files beside a database: written once, and deleted when nothing refers to them."""

import os
from pathlib import Path

import pytest

from fedge.errors import DamagedState, StateError
from fedge.storage import segments
from fedge.storage.folders import Folder
from fedge.storage.segments import SUFFIX, FileSegments, Place
from tests.wording import telling


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "some.db"


def names(database: Path) -> set[str]:
    folder = database.with_name(database.name + SUFFIX)
    return {file.name for file in folder.iterdir()}


def open_files() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


def test_values_are_read_as_they_were_written(database: Path) -> None:
    held = FileSegments(database)
    places = [held.append(data) for data in (b"abc", b"", b"d" * 5_000)]
    assert places == [Place(1, 0, 3), Place(1, 3, 0), Place(1, 3, 5_000)]
    assert [held.read(place) for place in places] == [b"abc", b"", b"d" * 5_000]
    held.sync()
    held.close()
    assert FileSegments(database).read(places[0]) == b"abc"
    assert (database.with_name(database.name + SUFFIX)).stat().st_mode & 0o777 == 0o700
    assert (database.with_name(database.name + SUFFIX) / "1").stat().st_mode & 0o777 == 0o600


def test_a_program_that_starts_again_writes_into_a_new_segment(database: Path) -> None:
    held = FileSegments(database)
    held.append(b"abc")
    held.close()
    again = FileSegments(database)
    assert again.append(b"de") == Place(2, 0, 2)
    assert again.read(Place(1, 0, 3)) == b"abc"


def test_a_segment_ends_with_its_round_and_at_its_largest(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "LARGEST", 10)
    held = FileSegments(database)
    assert [held.append(b"x" * 6).segment for _ in range(4)] == [1, 1, 2, 2]
    held.roll()
    held.roll()
    assert held.append(b"y").segment == 3


def test_what_nothing_refers_to_is_deleted_but_not_what_is_being_written(database: Path) -> None:
    held = FileSegments(database)
    held.keep({1, 2})  # nothing was written yet
    for data in (b"a", b"b", b"c"):
        held.roll()
        place = held.append(data)
    (database.with_name(database.name + SUFFIX) / "notes.txt").touch()
    held.read(Place(1, 0, 1))
    held.keep({2})
    assert names(database) == {"2", "3", "notes.txt"}
    assert held.read(place) == b"c"
    with pytest.raises(DamagedState, match=telling("1", "missing")):
        held.read(Place(1, 0, 1))


def test_many_segments_are_read_with_few_files_open(database: Path) -> None:
    held = FileSegments(database)
    places = []
    for number in range(3 * segments.OPEN_AT_ONCE):
        places.append(held.append(b"%d" % number))
        held.roll()
    before = open_files()
    assert [held.read(place) for place in places] == [b"%d" % n for n in range(3 * segments.OPEN_AT_ONCE)]
    assert open_files() == before + segments.OPEN_AT_ONCE
    held.close()
    assert open_files() == before


def test_a_segment_that_is_too_short_is_damaged(database: Path) -> None:
    held = FileSegments(database)
    place = held.append(b"x" * 100)
    held.sync()
    os.truncate(database.with_name(database.name + SUFFIX) / "1", 99)
    with pytest.raises(DamagedState, match=telling("100")):
        held.read(place)


def test_erased_bytes_are_zeros_and_the_rest_stays(database: Path) -> None:
    held = FileSegments(database)
    places = [held.append(bytes([number]) * 1_000) for number in range(1, 6)]
    held.roll()
    held.append(b"gone")
    kept = [places[1], places[3]]
    held.erase(kept)
    assert [held.read(place) for place in kept] == [b"\2" * 1_000, b"\4" * 1_000]
    whole = (database.with_name(database.name + SUFFIX) / "1").read_bytes()
    assert whole == bytes(1_000) + b"\2" * 1_000 + bytes(1_000) + b"\4" * 1_000 + bytes(1_000)
    assert names(database) == {"1"}


def test_a_full_disk_is_told_and_no_place_is_used_twice(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = FileSegments(database)
    first = held.append(b"abc")
    held.sync()
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", _full)
        held.append(b"defg")
        with pytest.raises(StateError, match=telling("some.db", "No space left")):
            held.sync()
    assert held.append(b"hi") == Place(1, 7, 2)
    assert held.read(first) == b"abc"


def _full(*_: object) -> int:
    raise OSError(28, os.strerror(28))


def test_nothing_is_written_into_a_segment_whose_name_is_not_durable(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = FileSegments(database)
    held.append(b"abc")
    held.roll()
    with monkeypatch.context() as patch:
        patch.setattr(Folder, "sync", _full)
        with pytest.raises(StateError, match=telling("No space left")):
            held.append(b"de")
    assert held.append(b"fg") == Place(3, 0, 2), "segment 2 may be gone after a power cut"


def test_what_is_undone_takes_no_room_and_no_place_is_used_twice(database: Path) -> None:
    held = FileSegments(database)
    first = held.append(b"abc")
    held.sync()
    held.append(b"x" * 10_000)
    held.undo()
    file = database.with_name(database.name + SUFFIX) / "1"
    assert file.stat().st_size == 3
    assert held.append(b"de") == Place(2, 0, 2)
    held.sync()
    held.undo()
    assert held.append(b"fg") == Place(2, 2, 2)
    assert held.read(first) == b"abc"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_the_folder_that_root_makes_belongs_to_the_service(tmp_path: Path) -> None:
    os.chown(tmp_path, 12_345, 12_346)
    held = FileSegments(tmp_path / "some.db")
    held.append(b"abc")
    for path in (tmp_path / f"some.db{SUFFIX}", tmp_path / f"some.db{SUFFIX}" / "1"):
        assert (path.stat().st_uid, path.stat().st_gid) == (12_345, 12_346)
