"""What durable means: whole files or none, one process in a folder, a database that says what is wrong."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fedge.errors import GaveWay, StateError
from fedge.store import atomic_write, lock, make_folder, open_database, remove

SCHEMA = "CREATE TABLE things (name TEXT NOT NULL)"


@contextmanager
def full_disk(room: int = 1_000) -> Iterator[None]:
    """No file may grow beyond `room` bytes: as a full disk, for this process alone."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# ── files ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "model"
    atomic_write(path, b"old")
    with path.open("rb") as reader:
        atomic_write(path, memoryview(b"new"), mode=0o600)
        assert reader.read() == b"old", "who reads it meanwhile reads one of the two"
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert names(tmp_path) == {"model"}


def test_fault_35_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "model"
    atomic_write(path, b"old")
    with full_disk(), pytest.raises(StateError, match=r"model: cannot be written: File too large"):
        atomic_write(path, bytes(2_000))
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == {"model"}, "nothing is left behind"


def test_data_is_on_the_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model"
    atomic_write(path, b"old")
    happened: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(descriptor: int) -> None:
        target = Path(f"/proc/self/fd/{descriptor}").readlink()
        happened.append("fsync folder" if target == tmp_path.resolve() else "fsync file")
        fsync(descriptor)

    def noted_replace(self: Path, target: Path) -> Path:
        happened.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    atomic_write(path, b"new")
    assert happened == ["fsync file", "rename", "fsync folder"]


def test_fault_36_a_failing_fsync_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model"
    atomic_write(path, b"old")

    def fail(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StateError, match="cannot be written: Input/output error"):
        atomic_write(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == {"model"}


def test_a_file_left_by_a_power_cut_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / ".model.new").write_bytes(bytes(100))
    atomic_write(tmp_path / "model", b"new")
    assert names(tmp_path) == {"model"}


def test_a_file_in_a_folder_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="No such file or directory"):
        atomic_write(tmp_path / "gone" / "model", b"x")


def test_removing_is_idempotent(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"x")
    remove(path)
    remove(path)
    assert not path.exists()
    (tmp_path / "folder").mkdir()
    with pytest.raises(StateError, match="folder: cannot be removed"):
        remove(tmp_path / "folder")


# ── folders ────────────────────────────────────────────────────────────────────────────────────────


def test_a_state_folder_is_its_owners_alone(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "a" / "b")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert make_folder(folder) == folder


@pytest.mark.parametrize("where", ["file/state", "file"])
def test_a_folder_that_cannot_be_is_said(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StateError, match="folder cannot be used: "):
        make_folder(tmp_path / where)


def test_fault_37_a_folder_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)  # for root every folder is writable
    with pytest.raises(StateError, match="cannot be used: not writable by this user"):
        make_folder(tmp_path)


def test_one_process_works_in_a_folder(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from fedge.store import GaveWay, lock\n"
        "try: lock(Path(sys.argv[1]))\n"
        "except GaveWay as error: print(error)\n"
        "else: print('locked')"
    )

    def other() -> str:
        command = [sys.executable, "-c", script, str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    held = lock(tmp_path)
    assert other() == f"{tmp_path}: process {os.getpid()} already works with this state folder"
    with pytest.raises(GaveWay, match=f"process {os.getpid()} "):
        lock(tmp_path)
    os.close(held)
    assert other() == "locked", "a lock ends with its process"
    os.close(lock(tmp_path))


def test_a_lock_that_cannot_be_is_a_fault_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lock").mkdir()
    with pytest.raises(StateError, match="lock: cannot be opened: Is a directory"):
        lock(tmp_path)

    def no_locks(_descriptor: int, _how: int) -> None:
        raise OSError(37, "No locks available")

    (tmp_path / "lock").rmdir()
    monkeypatch.setattr("fcntl.flock", no_locks)
    with pytest.raises(StateError, match="lock: cannot be locked: No locks available"):
        lock(tmp_path)


def test_a_full_disk_still_locks(tmp_path: Path) -> None:
    with full_disk(0):
        held = lock(tmp_path)
    with pytest.raises(GaveWay, match="process unknown already works"):
        lock(tmp_path)
    os.close(held)


# ── databases ──────────────────────────────────────────────────────────────────────────────────────


def test_a_database_is_made_once_and_durable(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    for count in (1, 2):
        database = open_database(path, SCHEMA, 3)
        settings = [
            database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
        ]
        assert settings == ["wal", 2]  # FULL
        database.execute("INSERT INTO things VALUES ('a')")
        assert database.execute("SELECT count(*) FROM things").fetchone() == (count,)
        database.close()


def test_a_database_of_another_layout_is_refused(tmp_path: Path) -> None:
    open_database(tmp_path / "x.db", SCHEMA, 1).close()
    with pytest.raises(StateError, match=r"x\.db: has layout 1, this program knows 2: upgrade the program"):
        open_database(tmp_path / "x.db", SCHEMA, 2)


@pytest.mark.parametrize("content", [b"\0" * 8_192, b"not a database, but long enough to be one" * 100])
def test_fault_38_a_file_that_is_no_database(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(content)
    with pytest.raises(StateError, match=r"x\.db: file is not a database; move the file away to start anew"):
        open_database(path, SCHEMA, 1)


def test_a_schema_is_made_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with pytest.raises(StateError, match="syntax error"):
        open_database(path, f"{SCHEMA}; CREATE NONSENSE", 1)
    open_database(path, SCHEMA, 1).close()


def test_a_database_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="unable to open database file"):
        open_database(tmp_path / "gone" / "x.db", SCHEMA, 1)
    with full_disk(0), pytest.raises(StateError, match=r"x\.db: "):
        open_database(tmp_path / "x.db", SCHEMA, 1)
