"""An algorithm's state on disk: one transaction with the verdict, and no byte of it is believed unproven."""

import hashlib
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.device import Saved
from agent.core.state import AlgorithmState
from agent.shell.memory import Memory
from agent.trainers import states
from fedge.algorithms.plan import Plan
from fedge.errors import DamagedState, StateError
from fedge.wire.freshness import Attempt, RoundId
from tests.agent.test_questions import manifest

LINEAGE = hashlib.sha256(b"lineage").digest()


def payload(number: int) -> bytes:
    return b"update of round %d" % number


def digest(number: int) -> bytes:
    return hashlib.sha256(payload(number)).digest()


def state_of(number: int, size: int = 100) -> AlgorithmState:
    return AlgorithmState(RoundId(1, number), LINEAGE, b"state %03d " % number * (size // 10))


def save(memory: Memory, number: int, state: AlgorithmState | None) -> None:
    memory.save_update(Attempt(RoundId(1, number), 0), digest(number), payload(number), None, state)


@contextmanager
def opened(path: Path) -> Iterator[Memory]:
    memory = Memory(path)
    try:
        yield memory
    finally:
        memory.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agent.db"


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


WRITER = """
import hashlib, sys
from pathlib import Path
from agent.core.state import AlgorithmState
from agent.shell.memory import Memory
from fedge.wire.freshness import Attempt, RoundId
memory = Memory(Path(sys.argv[1]))
for number in range(1, 1_000_000):
    before = memory.state()
    count = int.from_bytes(before.data[:4], "big") if before else 0
    here, payload = RoundId(1, number), number.to_bytes(4, "big") * 20_000
    digest = hashlib.sha256(payload).digest()
    state = AlgorithmState(here, bytes(32), (count + 1).to_bytes(4, "big") * 20_000)
    memory.save_update(Attempt(here, 0), digest, payload, None, state)
    memory.save_verdict(digest, "admitted")
    print(number, flush=True)
"""


@pytest.mark.parametrize("lines", [1, 4, 9])
def test_killed_at_any_moment_each_round_counts_once(path: Path, lines: int) -> None:
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for _ in range(lines):
            writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
    with opened(path) as memory:
        saved, state = memory.saved(), memory.state()
        assert saved is not None
        assert state is not None
        admitted = saved.round.round if saved.verdict == "admitted" else saved.round.round - 1
        assert state.data == admitted.to_bytes(4, "big") * 20_000
        assert state.round == RoundId(1, admitted)


def damaged(path: Path, at: int, bit: int) -> None:
    whole = bytearray(path.read_bytes())
    whole[at] ^= 1 << bit
    path.write_bytes(whole)


def test_a_flipped_bit_in_each_byte_of_the_table_is_seen_or_changes_nothing(path: Path) -> None:
    with opened(path) as memory:
        save(memory, 1, state_of(1))
        memory.save_verdict(digest(1), "admitted")
        save(memory, 2, state_of(2))
        memory._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        page = memory._db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'states'").fetchone()[0]
        size = memory._db.execute("PRAGMA page_size").fetchone()[0]
    whole = path.read_bytes()
    begins = (page - 1) * size
    here = whole[begins : begins + size]
    used = [at for at in range(size) if at < 16 or at >= here.index(b"state 002") - 200]
    seen = 0
    for at in used:
        path.write_bytes(whole)
        for more in path.parent.glob("agent.db-*"):
            more.unlink()
        damaged(path, begins + at, at % 8)
        try:
            with opened(path) as memory:
                assert (memory.state(), memory.saved()) == (
                    state_of(1),
                    Saved(RoundId(1, 2), digest(2), pending=True),
                ), at
                memory.save_verdict(digest(2), "admitted")
                assert memory.state() == state_of(2), at
        except DamagedState:
            seen += 1
    # Both rows, of which each has 100 bytes of data, a lineage, a digest and a proof.
    assert seen >= 2 * (100 + 32 + 32 + 8)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE states SET slot = 1",
        "UPDATE states SET round = 2",
        "UPDATE states SET generation = 3",
        "UPDATE states SET lineage = zeroblob(32)",
        "UPDATE states SET digest = zeroblob(32)",
        "UPDATE states SET data = CAST('another' AS BLOB)",
        "UPDATE states SET data = 'text'",
        "UPDATE states SET digest = 7",
        "UPDATE verdict SET verdict = 'bdmitted'",
    ],
)
def test_what_sqlite_cannot_notice_is_noticed(path: Path, damage: str) -> None:
    with opened(path) as memory:
        save(memory, 1, state_of(1))
        memory.save_verdict(digest(1), "admitted")
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(damage)
    with pytest.raises(DamagedState):
        Memory(path)


# ── arrays as bytes ────────────────────────────────────────────────────────────────────────────────

arrays = st.dictionaries(
    st.text(max_size=20),
    st.sampled_from(
        [
            np.arange(6, dtype=np.float32).reshape(2, 3),
            np.array(3.5),
            np.array([], np.float64),
            np.array([True, False]),
            np.arange(4, dtype=">i8"),
            np.array([np.nan, np.inf, -0.0], np.float32),
            np.ones((2, 2), np.complex64)[:, :1],
        ]
    ),
    max_size=5,
)


@given(arrays)
def test_a_state_comes_back_as_it_was(state: dict[str, Any]) -> None:
    found = states.unpack(states.pack(state))
    assert found.keys() == state.keys()
    for name, array in state.items():
        assert found[name].shape == array.shape
        assert found[name].dtype == array.dtype.newbyteorder("=")
        assert found[name].tobytes() == array.astype(found[name].dtype).tobytes()


def test_the_same_state_is_the_same_bytes_in_whatever_order() -> None:
    one, two = np.ones(2), np.zeros(3)
    assert states.pack({"a": one, "b": two}) == states.pack({"b": two, "a": one})


@pytest.mark.parametrize(
    "state",
    [
        {"a": np.array(["text"])},
        {"a": np.array([object()])},
        {"a" * (states.MAX_NAME + 1): np.zeros(1)},
        {str(n): np.zeros(1) for n in range(states.MAX_ARRAYS + 1)},
        {"a": np.lib.stride_tricks.as_strided(np.zeros(1), (states.MAX_BYTES // 8 + 1,), (0,))},
    ],
    ids=["text", "objects", "name", "arrays", "bytes"],
)
def test_what_cannot_be_kept_is_refused_before_it_is_written(state: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="state"):
        states.pack(state)


@given(st.binary(max_size=60))
def test_other_bytes_are_no_state(data: bytes) -> None:
    whole = states.pack({"a": np.arange(3.0)})
    for spoilt in (data, whole + data[:1], whole[:-1], data + whole):
        if spoilt != whole:
            with pytest.raises((ValueError, TypeError)):
                states.unpack(spoilt)


def test_a_state_of_another_lineage_is_not_gone_on_with() -> None:
    said = manifest(2)
    kept = replace(state_of(1), data=states.pack({"local/n": np.array(1)}))
    assert states.current(kept, LINEAGE, said) == {"local/n": np.array(1)}
    assert states.current(kept, bytes(32), said) is None
    assert states.current(None, LINEAGE, said) is None
    assert states.current(replace(kept, data=b"of a newer program"), LINEAGE, said) is None


def test_a_lineage_is_of_what_stays_from_round_to_round() -> None:
    plan = Plan()

    def lineage(round_: int = 1, *, plan: Plan = plan, trainer: str = "", **fields: Any) -> bytes:
        return states.lineage_of(manifest(round_, **fields), plan, trainer)

    assert lineage(1) == lineage(7, attempt=3, seed=99, seconds_left=1.0)
    assert lineage(plan=Plan(epochs=9, learning_rate=0.2)) == lineage(), "how far it goes, not what it is"
    others = [
        lineage(generation=2, task=manifest(1).task),
        lineage(task=manifest(1, generation=9).task),
        lineage(plan=Plan(local="other")),
        lineage(plan=Plan(local_options={"mu": 0.1})),
        lineage(plan=Plan(codec="other")),
        lineage(plan=Plan(codec_options={"k": 3})),
        lineage(trainer="mine:make"),
    ]
    assert len({lineage(), *others}) == 1 + len(others)


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
