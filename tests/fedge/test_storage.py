"""What durable means: whole files or none, one process in a folder, a database that says what is wrong."""

import os
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from fedge.errors import Conflict, DamagedState, StateError
from fedge.storage import databases
from fedge.storage.atomic_files import atomic_write, make_folder, quarantine, remove
from fedge.storage.databases import open_database, transaction
from fedge.storage.locks import lock

SCHEMA = "CREATE TABLE things (name TEXT NOT NULL)"
FIRST = (SCHEMA,)
ADD_COLOUR = "ALTER TABLE things ADD COLUMN colour TEXT"


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
    fsync, rename = os.fsync, os.rename

    def noted_fsync(descriptor: int) -> None:
        target = Path(f"/proc/self/fd/{descriptor}").readlink()
        happened.append("fsync folder" if target == tmp_path.resolve() else "fsync file")
        fsync(descriptor)

    def noted_rename(*names: str, **folders: int) -> None:
        happened.append("rename")
        rename(*names, **folders)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "rename", noted_rename)
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


@pytest.mark.parametrize("kind", ["symbolic", "hard"])
def test_a_link_put_in_the_way_is_not_written_through(tmp_path: Path, kind: str) -> None:
    other = tmp_path / "somebody else's"
    other.write_bytes(b"theirs")
    if kind == "symbolic":
        (tmp_path / ".model.new").symlink_to(other)
    else:
        (tmp_path / ".model.new").hardlink_to(other)
    atomic_write(tmp_path / "model", b"new")
    assert other.read_bytes() == b"theirs"
    assert (tmp_path / "model").read_bytes() == b"new"
    assert not (tmp_path / "model").is_symlink()
    assert names(tmp_path) == {"model", other.name}


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
        "import sys; from pathlib import Path; from fedge.storage.locks import Conflict, lock\n"
        "try: lock(Path(sys.argv[1]))\n"
        "except Conflict as error: print(error)\n"
        "else: print('locked')"
    )

    def other() -> str:
        command = [sys.executable, "-c", script, str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    held = lock(tmp_path)
    assert other() == f"{tmp_path}: process {os.getpid()} already works with this state folder"
    with pytest.raises(Conflict, match=f"process {os.getpid()} "):
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


def test_a_file_is_written_where_there_are_no_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a home on a network's disk: only what sweeps up after a power cut needs them."""

    def no_locks(_descriptor: int, _how: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    for content in (b"first", b"second"):
        atomic_write(tmp_path / "model", content)
    assert (tmp_path / "model").read_bytes() == b"second"
    assert names(tmp_path) == {"model"}


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("somebody else's")
    (tmp_path / "lock").symlink_to(tmp_path / "other")
    with pytest.raises(StateError, match="lock: cannot be opened"):
        lock(tmp_path)
    assert (tmp_path / "other").read_text() == "somebody else's"


def test_a_full_disk_still_locks(tmp_path: Path) -> None:
    with full_disk(0):
        held = lock(tmp_path)
    with pytest.raises(Conflict, match="process unknown already works"):
        lock(tmp_path)
    os.close(held)


# ── databases ──────────────────────────────────────────────────────────────────────────────────────


def test_a_database_is_made_once_and_durable(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    for count in (1, 2):
        database = open_database(path, FIRST)
        settings = [
            database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
        ]
        assert settings == ["wal", 2]  # FULL
        database.execute("INSERT INTO things VALUES ('a')")
        assert database.execute("SELECT count(*) FROM things").fetchone() == (count,)
        database.close()


def test_an_older_layout_is_migrated_step_by_step(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    database = open_database(path, FIRST)
    database.execute("INSERT INTO things VALUES ('pump')")
    database.close()
    third = "UPDATE things SET colour = 'grey' WHERE colour IS NULL; CREATE TABLE places (name TEXT)"
    for migrations in ((*FIRST, ADD_COLOUR), (*FIRST, ADD_COLOUR, third)):
        for _ in range(2):  # the second start finds nothing to do
            database = open_database(path, migrations)
            (found,) = database.execute("PRAGMA user_version").fetchone()
            assert found == len(migrations)
            database.close()
    database = open_database(path, (*FIRST, ADD_COLOUR, third))
    assert database.execute("SELECT * FROM things").fetchall() == [("pump", "grey")]
    database.close()


MIGRATE = """
import os, signal, sqlite3, sys
from pathlib import Path
from fedge.storage.databases import open_database

def kill_at(statement):
    if "KILL" in statement:
        os.kill(os.getpid(), signal.SIGKILL)

connect = sqlite3.connect
def traced(*args, **more):
    connection = connect(*args, **more)
    connection.set_trace_callback(kill_at)
    return connection
sqlite3.connect = traced
open_database(Path(sys.argv[1]), sys.argv[2:])
"""


def test_fault_34_a_kill_in_mid_migration_leaves_the_whole_layout_before(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    database = open_database(path, FIRST)
    database.execute("INSERT INTO things VALUES ('pump')")
    database.close()
    wrecked = [*FIRST, ADD_COLOUR, "DELETE FROM things; SELECT 1 AS 'KILL'"]
    ended = subprocess.run([sys.executable, "-c", MIGRATE, str(path), *wrecked], check=False)
    assert ended.returncode == -9
    database = open_database(path, (*FIRST, ADD_COLOUR))
    assert database.execute("SELECT * FROM things").fetchall() == [("pump", None)]
    database.close()


def test_a_kill_between_two_steps_leaves_what_the_older_program_can_still_open(tmp_path: Path) -> None:
    """All steps are one transaction: an upgrade that fails half way can be taken back."""
    path = tmp_path / "x.db"
    database = open_database(path, FIRST)
    database.execute("INSERT INTO things VALUES ('pump')")
    database.close()
    steps = [
        *FIRST,
        f"{ADD_COLOUR}; DELETE FROM things",
        "CREATE TABLE places (name TEXT); SELECT 1 AS 'KILL'",
    ]
    ended = subprocess.run([sys.executable, "-c", MIGRATE, str(path), *steps], check=False)
    assert ended.returncode == -9
    with pytest.raises(StateError, match="no such table: nowhere"):
        open_database(path, (*steps[:2], "CREATE TABLE places (name TEXT); DROP TABLE nowhere"))
    database = open_database(path, FIRST)
    assert database.execute("SELECT * FROM things").fetchall() == [("pump",)]
    database.close()


def test_two_programs_that_start_at_once_migrate_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second has looked at the layout before the first changed it."""
    path = tmp_path / "x.db"
    open_database(path, FIRST).close()
    examine = databases._examine

    def slowly(connection: sqlite3.Connection, path: Path) -> int:
        found = examine(connection, path)
        monkeypatch.undo()
        open_database(path, (*FIRST, ADD_COLOUR)).close()
        return found

    monkeypatch.setattr(databases, "_examine", slowly)
    database = open_database(path, (*FIRST, ADD_COLOUR))
    assert database.execute("PRAGMA user_version").fetchone() == (2,)
    database.close()
    monkeypatch.setattr(databases, "_examine", slowly)
    with pytest.raises(StateError, match="has layout 2, this program knows up to 1"):
        open_database(path, FIRST)


def test_what_ends_a_statement_does_not_end_it_within_a_text(tmp_path: Path) -> None:
    steps = (SCHEMA, "INSERT INTO things VALUES ('a; b'); -- why; so\nINSERT INTO things VALUES ('c');")
    database = open_database(tmp_path / "x.db", steps)
    assert database.execute("SELECT name FROM things").fetchall() == [("a; b",), ("c",)]
    database.close()
    with pytest.raises(StateError, match="unrecognized token"):
        open_database(tmp_path / "x.db", (*steps, "INSERT INTO things VALUES ('never closed)"))


def test_a_database_of_a_newer_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    open_database(path, (*FIRST, ADD_COLOUR)).close()
    before = path.read_bytes()
    with pytest.raises(
        StateError,
        match=r"x\.db: .*layout 2.* 1\b",
    ) as error:
        open_database(path, FIRST)
    assert not isinstance(error.value, DamagedState), "it is not put aside"
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"\0" * 8_192, b"not a database, but long enough to be one" * 100])
def test_fault_38_a_file_that_is_no_database(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(content)
    with pytest.raises(DamagedState, match=r"x\.db: is damaged \(file is not a database\)"):
        open_database(path, FIRST)


def test_a_layout_is_made_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with pytest.raises(StateError, match="syntax error"):
        open_database(path, (f"{SCHEMA}; CREATE NONSENSE",))
    open_database(path, FIRST).close()
    with pytest.raises(StateError, match="syntax error"):
        open_database(path, (*FIRST, "DROP TABLE things; CREATE NONSENSE"))
    database = open_database(path, FIRST)
    assert database.execute("SELECT count(*) FROM things").fetchone() == (0,)
    database.close()


def test_a_database_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(
        StateError, match=r"gone/x\.db: (unable to open database file|cannot be opened: No such file)"
    ):
        open_database(tmp_path / "gone" / "x.db", FIRST)
    with full_disk(0), pytest.raises(StateError, match=r"x\.db: ") as error:
        open_database(tmp_path / "x.db", FIRST)
    assert not isinstance(error.value, DamagedState), "a full disk is no damage"


def test_fault_37_a_read_only_disk_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.db"
    open_database(path, FIRST).close()
    content = bytearray(path.read_bytes())
    content[18] = 0xFF  # the write version of a future format: SQLite only reads such a file
    path.write_bytes(content)
    with pytest.raises(DamagedState, match=r"x\.db: is damaged \(attempt to write a readonly database\)"):
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
        with pytest.raises(DamagedState, match=r"x\.db: is damaged \("):
            open_database(path, FIRST)


@pytest.mark.parametrize("begin", ["BEGIN", "BEGIN IMMEDIATE"])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, sqlite3.IntegrityError])
def test_a_transaction_is_whole_or_nothing(tmp_path: Path, begin: str, error: type[BaseException]) -> None:
    """Whatever ends it; what SQLite says becomes an error that names the file."""
    path = tmp_path / "state.db"
    told = StateError if error is sqlite3.IntegrityError else error
    with closing(open_database(path, ["CREATE TABLE t (v INTEGER UNIQUE)"])) as db:
        with transaction(db, path, begin=begin):
            db.execute("INSERT INTO t VALUES (1)")

        def fails() -> None:
            with transaction(db, path, begin=begin):
                db.execute("INSERT INTO t VALUES (2)")
                if error is sqlite3.IntegrityError:
                    db.execute("INSERT INTO t VALUES (1)")
                raise error

        with pytest.raises(told) as caught:
            fails()
        assert not db.in_transaction
        assert db.execute("SELECT v FROM t").fetchall() == [(1,)]
    assert told is not StateError or str(path) in str(caught.value)


def test_a_transaction_that_reads_waits_for_no_writer(tmp_path: Path) -> None:
    path, layout = tmp_path / "state.db", ["CREATE TABLE t (v)"]
    with (
        closing(open_database(path, layout)) as one,
        closing(open_database(path, layout, patience_s=0.1)) as two,
    ):
        with transaction(one, path):
            one.execute("INSERT INTO t VALUES (1)")
            with transaction(two, path, begin="BEGIN"):
                assert two.execute("SELECT * FROM t").fetchall() == []
            with pytest.raises(StateError), transaction(two, path):
                pass
        assert two.execute("SELECT * FROM t").fetchall() == [(1,)]


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
    with pytest.raises(StateError, match=r"x\.db: cannot be set aside: Read-only file system"):
        quarantine(path)
