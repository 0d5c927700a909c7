"""An algorithm's state after a kill and after flipped bits: no byte of it is believed unproven."""

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from agent.core.device import Saved
from agent.shell.memory import Memory
from fedge.errors import DamagedState
from fedge.wire.freshness import RoundId
from tests.agent.algorithm_states import digest, opened, path, save, state_of

__all__ = ["path"]


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
