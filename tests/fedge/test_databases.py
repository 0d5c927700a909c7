"""A database is migrated step by step, and says what is wrong."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from fedge.errors import DamagedState, StateError
from fedge.storage import databases
from fedge.storage.databases import open_database, transaction
from tests.fedge.disks import ADD_COLOUR, FIRST, SCHEMA, full_disk


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
    with pytest.raises(StateError, match=r"x\.db: .*nowhere"):
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
    with pytest.raises(StateError, match=r"x\.db: .*layout 2.* 1\b"):
        open_database(path, FIRST)


def test_what_ends_a_statement_does_not_end_it_within_a_text(tmp_path: Path) -> None:
    steps = (SCHEMA, "INSERT INTO things VALUES ('a; b'); -- why; so\nINSERT INTO things VALUES ('c');")
    database = open_database(tmp_path / "x.db", steps)
    assert database.execute("SELECT name FROM things").fetchall() == [("a; b",), ("c",)]
    database.close()
    with pytest.raises(StateError, match=r"x\.db: .*never closed"):
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


def test_a_layout_is_made_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with pytest.raises(StateError, match=r"x\.db: .*NONSENSE"):
        open_database(path, (f"{SCHEMA}; CREATE NONSENSE",))
    open_database(path, FIRST).close()
    with pytest.raises(StateError, match=r"x\.db: .*NONSENSE"):
        open_database(path, (*FIRST, "DROP TABLE things; CREATE NONSENSE"))
    database = open_database(path, FIRST)
    assert database.execute("SELECT count(*) FROM things").fetchone() == (0,)
    database.close()


def test_a_database_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"gone/x\.db: "):
        open_database(tmp_path / "gone" / "x.db", FIRST)
    with full_disk(0), pytest.raises(StateError, match=r"x\.db: ") as error:
        open_database(tmp_path / "x.db", FIRST)
    assert not isinstance(error.value, DamagedState), "a full disk is no damage"


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
