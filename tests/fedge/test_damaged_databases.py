"""A database that is damaged is told from one that cannot be used, and put aside."""

import os
from pathlib import Path

import pytest

from fedge.errors import DamagedState, StateError
from fedge.storage.atomic_files import quarantine
from fedge.storage.databases import open_database
from tests.fedge.disks import FIRST, names


@pytest.mark.parametrize("content", [b"\0" * 8_192, b"not a database, but long enough to be one" * 100])
def test_fault_38_a_file_that_is_no_database(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(content)
    with pytest.raises(DamagedState, match=r"x\.db: .*not a database"):
        open_database(path, FIRST)


def test_fault_37_a_read_only_disk_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.db"
    open_database(path, FIRST).close()
    content = bytearray(path.read_bytes())
    content[18] = 0xFF  # the write version of a future format: SQLite only reads such a file
    path.write_bytes(content)
    with pytest.raises(DamagedState, match=r"x\.db: .*readonly"):
        open_database(path, FIRST)
    monkeypatch.setattr("os.access", lambda *_: False)  # as on a disk that is mounted read-only
    with pytest.raises(StateError, match=r"x\.db: .*readonly") as error:
        open_database(path, FIRST)
    assert not isinstance(error.value, DamagedState)


@pytest.fixture
def filled(tmp_path: Path) -> bytes:
    """A database of 28 pages: two thirds of its bytes hold rows."""
    path = tmp_path / "x.db"
    database = open_database(path, FIRST)
    for number in range(40):
        database.execute("INSERT INTO things VALUES (?)", (f"{number:02}" * 1_000,))
    database.close()
    return path.read_bytes()


HARMLESS = {*range(24, 28), *range(40, 47), *range(48, 52), *range(56, 60), *range(72, 100)}
"""Bytes of the header (https://www.sqlite.org/fileformat2.html, 1.3) whose flipped bit changes no answer:
change counters, caches of sizes, reserved space, the version of the library that wrote last."""


@pytest.mark.parametrize("bit", [0, 7])
def test_fault_38_each_bit_of_the_header_is_noticed_or_harmless(
    tmp_path: Path, filled: bytes, bit: int
) -> None:
    path = tmp_path / "x.db"
    for offset in range(100):
        path.write_bytes(filled[:offset] + bytes([filled[offset] ^ (1 << bit)]) + filled[offset + 1 :])
        try:
            database = open_database(path, FIRST)
        except DamagedState:
            continue
        assert offset in HARMLESS, offset
        rows = database.execute("SELECT name FROM things ORDER BY rowid").fetchall()
        assert rows == [(f"{number:02}" * 1_000,) for number in range(40)]
        database.execute("INSERT INTO things VALUES ('more')")
        database.close()


@pytest.mark.parametrize("part", [0.02, 0.3, 0.5, 0.9])
def test_fault_38_a_file_cut_short_or_full_of_nul(tmp_path: Path, filled: bytes, part: float) -> None:
    path = tmp_path / "x.db"
    cut = int(len(filled) * part)
    for content in (filled[:cut], bytes(cut), filled[:cut] + bytes(len(filled) - cut)):
        path.write_bytes(content)
        with pytest.raises(DamagedState, match=r"x\.db: "):
            open_database(path, FIRST)


def test_what_is_damaged_is_put_aside_with_its_wal(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    for number in (1, 2):
        for suffix in ("", "-wal", "-shm"):
            (tmp_path / f"x.db{suffix}").write_text(f"{number}{suffix}")
        assert quarantine(path) == tmp_path / f"x.db.quarantine-{number}"
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {
        f"x.db.quarantine-{number}{suffix}": f"{number}{suffix}"
        for number in (1, 2)
        for suffix in ("", "-wal", "-shm")
    }


def test_a_power_cut_while_putting_aside_never_leaves_a_wal_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a new database a WAL would be played into it; the next start sees the damage again."""
    path = tmp_path / "x.db"
    for suffix in ("", "-wal", "-shm"):
        (tmp_path / f"x.db{suffix}").write_text(suffix)
    rename = os.rename
    seen: list[set[str]] = []

    def watched(*moved: str, **folders: int) -> None:
        seen.append(names(tmp_path))
        rename(*moved, **folders)

    monkeypatch.setattr(os, "rename", watched)
    quarantine(path)
    assert len(seen) == 3
    assert all("x.db" in present for present in seen)


def test_a_disk_that_does_not_let_it_be_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(b"x")

    def read_only(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "rename", read_only)
    with pytest.raises(StateError, match=r"x\.db: .*Read-only file system"):
        quarantine(path)
