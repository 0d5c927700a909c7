"""An algorithm's state on disk: one transaction with the verdict."""

from pathlib import Path
from typing import Any

import pytest

from agent.core.device import Saved
from agent.shell.memory import Memory
from fedge.errors import StateError
from fedge.wire.freshness import RoundId
from tests.agent.algorithm_states import digest, opened, path, save, state_of

__all__ = ["path"]


def test_a_pending_state_is_none_until_its_update_was_admitted(path: Path) -> None:
    with opened(path) as memory:
        save(memory, 1, state_of(1))
        assert (memory.state(), memory.state_round()) == (None, None)
        assert memory.saved() == Saved(RoundId(1, 1), digest(1), pending=True)
    with opened(path) as memory:
        memory.save_verdict(digest(1), "admitted")
        assert (memory.state(), memory.state_round()) == (state_of(1), RoundId(1, 1))
    with opened(path) as memory:
        assert memory.state() == state_of(1)
        assert memory.saved() == Saved(RoundId(1, 1), digest(1), "admitted")
        save(memory, 2, state_of(2))
        assert memory.state() == state_of(1), "that of round 2 waits"
        memory.save_verdict(digest(2), "admitted")
        assert memory.state() == state_of(2)


def test_a_refused_one_is_void_and_the_one_before_stays(path: Path) -> None:
    with opened(path) as memory:
        save(memory, 1, state_of(1))
        memory.save_verdict(digest(1), "admitted")
        for number in (2, 3, 4):
            save(memory, number, state_of(number))
            memory.save_verdict(digest(number), "refused")
            assert memory.state() == state_of(1)
    with opened(path) as memory:
        save(memory, 5, state_of(5))
        assert memory.state() == state_of(1)
        memory.save_verdict(digest(5), "admitted")
        assert memory.state() == state_of(5)


def test_an_undecided_one_is_void_when_another_update_takes_its_place(path: Path) -> None:
    for first in (None, state_of(1)):
        path.unlink(missing_ok=True)
        with opened(path) as memory:
            save(memory, 1, first)
            memory.save_verdict(digest(1), "admitted")
            save(memory, 2, state_of(2))
            save(memory, 3, None)  # a survey, or an algorithm that remembers nothing
            memory.save_verdict(digest(3), "admitted")
            assert memory.state() == first
            memory.save_verdict(digest(2), "admitted")  # nobody can say that of it any more
            assert memory.state() == first


def test_updates_without_a_state_leave_the_current_one_alone(path: Path) -> None:
    with opened(path) as memory:
        save(memory, 1, state_of(1))
        memory.save_verdict(digest(1), "admitted")
        for number in range(2, 6):
            save(memory, number, None)
            memory.save_verdict(digest(number), "admitted")
            assert memory.state() == state_of(1)
            assert memory.saved() == Saved(RoundId(1, number), digest(number), "admitted")


def test_where_nobody_knows_what_counted_no_state_is_kept(path: Path) -> None:
    with opened(path) as memory:
        save(memory, 1, state_of(1))
        memory.save_verdict(digest(1), "admitted")
        save(memory, 2, state_of(2))
        memory.save_verdict(digest(2), "refused", resets=True)
    with opened(path) as memory:
        assert memory.state() is None
        assert memory.saved() == Saved(RoundId(1, 2), digest(2), "refused")


@pytest.mark.parametrize("forget", [Memory.reset_state, Memory.forget_rounds])
def test_a_reset_forgets_both(path: Path, forget: Any) -> None:
    with opened(path) as memory:
        save(memory, 1, state_of(1))
        memory.save_verdict(digest(1), "admitted")
        save(memory, 2, state_of(2))
        forget(memory)
    with opened(path) as memory:
        assert memory.state() is None
        memory.save_verdict(digest(2), "admitted")
        assert memory.state() is None


def test_a_verdict_that_cannot_be_written_changes_no_state(path: Path) -> None:
    with opened(path) as memory:
        save(memory, 1, state_of(1))
        memory._db.execute("PRAGMA query_only=ON")
        for verdict, resets in (("admitted", False), ("refused", True)):
            with pytest.raises(StateError):
                memory.save_verdict(digest(1), verdict, resets=resets)
        with pytest.raises(StateError):
            save(memory, 2, state_of(2))
        assert memory.saved() == Saved(RoundId(1, 1), digest(1), pending=True)
        assert memory.state() is None


def test_a_reset_that_fails_is_made_up_for_before_the_state_is_read(path: Path) -> None:
    with opened(path) as memory:
        save(memory, 1, state_of(1))
        memory.save_verdict(digest(1), "admitted")
        memory._db.execute("PRAGMA query_only=ON")
        for _ in range(2):
            with pytest.raises(StateError):
                memory.reset_state()
            with pytest.raises(StateError):
                memory.state()
        memory._db.execute("PRAGMA query_only=OFF")
        assert memory.state() is None
        save(memory, 2, state_of(2))
        memory.save_verdict(digest(2), "admitted")
        assert memory.state() == state_of(2)


def test_a_reset_that_fails_is_made_up_for_after_a_restart(path: Path) -> None:
    with opened(path) as memory:
        save(memory, 1, state_of(1))
        memory.save_verdict(digest(1), "admitted")
        memory._db.execute("PRAGMA query_only=ON")
        with pytest.raises(StateError):
            memory.reset_state()
    with opened(path) as memory:
        assert memory.state_round() is None
        memory._db.execute("PRAGMA query_only=ON")
        with pytest.raises(StateError):
            memory.state()
    with opened(path) as memory:
        assert memory.state() is None
        save(memory, 2, state_of(2))
        memory.save_verdict(digest(2), "admitted")
    with opened(path) as memory:
        assert memory.state() == state_of(2), "it was reset once"
        assert memory.state_round() == RoundId(1, 2)


def test_an_algorithm_that_remembers_nothing_costs_no_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table stays one empty page, and the log is as long as one of a memory that has no such table."""

    def written(file: Path, *, without: bool) -> bytes:
        with opened(file) as memory:
            memory._db.execute("PRAGMA wal_autocheckpoint=0")
            memory._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            for number in range(1, 9):
                if without:
                    monkeypatch.setattr(memory, "_keep_pending", lambda *_: None)
                else:
                    monkeypatch.setattr(memory, "_has_states", True)  # as if something was remembered once
                save(memory, number, None)
                memory.save_verdict(digest(number), "admitted")
            return file.with_name(f"{file.name}-wal").read_bytes()

    logs = [written(tmp_path / name, without=name == "b.db") for name in ("a.db", "b.db")]
    assert len(logs[0]) == len(logs[1])


def test_a_verdict_writes_no_byte_of_the_state_again(path: Path) -> None:
    with opened(path) as memory:
        save(memory, 1, state_of(1, 400_000))
        memory._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        memory.save_verdict(digest(1), "admitted")
        # One page of the table of verdicts, with SQLite's header of the log and of the page.
        assert path.with_name("agent.db-wal").stat().st_size <= 2 * (4_096 + 24) + 32


@pytest.mark.parametrize("reset", [False, True], ids=["crash before it", "crash after it"])
def test_a_mark_of_a_reset_costs_no_later_state(path: Path, reset: bool) -> None:
    """The mark is written before, and removed after, what it asks for: it may be found in both cases."""
    with opened(path) as memory:
        save(memory, 1, state_of(1))
        memory.save_verdict(digest(1), "admitted")
        if reset:
            memory.reset_state()
    path.with_suffix(".reset").touch()
    with opened(path) as memory:
        assert memory.state() is None
        save(memory, 2, state_of(2))
        memory.save_verdict(digest(2), "admitted")
        assert memory.state() == state_of(2)
    with opened(path) as memory:
        assert memory.state() == state_of(2)


def test_a_mark_of_a_reset_is_gone_with_what_it_was_about(path: Path) -> None:
    with opened(path) as memory:
        save(memory, 1, state_of(1))
    path.with_suffix(".reset").touch()
    with opened(path) as memory:
        memory.forget_rounds()
    assert not path.with_suffix(".reset").exists()
