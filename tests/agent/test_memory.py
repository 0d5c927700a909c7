"""What a device remembers: after any cut all of the last thing it was told, or all of the one before."""

import hashlib
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.core.device import Saved
from agent.core.state import PersonalState
from agent.shell.memory import BOOTS_KEPT, Memory
from fedge.errors import DamagedState, StateError
from fedge.wire.freshness import Attempt, RoundId
from tests.wording import telling

ONE, TWO = Attempt(RoundId(1, 1), 0), Attempt(RoundId(1, 2), 3)


def digest(payload: bytes) -> bytes:
    return hashlib.sha256(payload).digest()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agent.db"


@contextmanager
def opened(path: Path) -> Iterator[Memory]:
    memory = Memory(path)
    try:
        yield memory
    finally:
        memory.close()


def test_a_new_device_remembers_nothing(path: Path) -> None:
    with opened(path) as memory:
        assert memory.seen() == Attempt(RoundId(0, 0), 0)
        assert memory.saved() is None
        assert memory.payload(digest(b"x")) is None
        memory.save_verdict(digest(b"x"), "admitted")
        assert memory.saved() is None


def test_an_update_and_its_verdict_are_remembered(path: Path) -> None:
    one, two = b"payload of one", b"two"
    with opened(path) as memory:
        memory.save_update(ONE, digest(one), one)
    with opened(path) as memory:
        assert (memory.seen(), memory.saved()) == (ONE, Saved(ONE.round, digest(one), None))
        assert memory.payload(digest(one)) == one
        memory.save_verdict(digest(two), "refused")  # of another update: none of this one's business
        memory.save_verdict(digest(one), "admitted")
    with opened(path) as memory:
        assert memory.saved() == Saved(ONE.round, digest(one), "admitted")
        memory.save_update(TWO, digest(two), two)
        assert memory.saved() == Saved(TWO.round, digest(two), None), "a new update is not answered yet"
        assert (memory.payload(digest(one)), memory.payload(digest(two))) == (None, two)
        memory.save_seen(Attempt(RoundId(2, 0), 1))
    with opened(path) as memory:
        assert (memory.seen(), memory.saved()) == (
            Attempt(RoundId(2, 0), 1),
            Saved(TWO.round, digest(two), None),
        )


def test_it_is_remembered_with_which_update_own_models_were_made(path: Path) -> None:
    own = PersonalState(ONE.round, bytes(32), bytes(32), bytes(32), "ditto", 1, b"models")
    with opened(path) as memory:
        memory.save_update(ONE, digest(b"one"), b"one", personal=own)
    with opened(path) as memory:
        assert memory.saved() == Saved(ONE.round, digest(b"one"), own_models=True)
        memory.save_update(TWO, digest(b"two"), b"two")
    with opened(path) as memory:
        assert memory.saved() == Saved(TWO.round, digest(b"two"), own_models=False)


def test_boots_are_remembered_for_a_while(path: Path) -> None:
    boots = [number.to_bytes(16, "big") for number in range(BOOTS_KEPT + 5)]
    for count, boot in enumerate(boots):
        with opened(path) as memory:
            assert memory.add_boot(boot) == set(boots[max(0, count - BOOTS_KEPT) : count])


def test_two_hundred_rounds_take_no_more_room_than_two(path: Path) -> None:
    size = 100_000
    with opened(path) as memory:
        for number in range(1, 201):
            payload = number.to_bytes(2, "big") * (size // 2)
            memory.save_update(Attempt(RoundId(1, number), 0), digest(payload), payload)
            memory.save_verdict(digest(payload), "admitted")
        pages = 1_000  # SQLite takes its WAL in at so many, each with a header of 24 bytes
        assert path.with_name("agent.db-wal").stat().st_size < pages * (4_096 + 24) + 2 * size
    # The old update lies there until the new one is, and the tables and the schema take a page each.
    assert path.stat().st_size < 2 * size + 13 * 4_096


WRITER = """
import hashlib, sys
from pathlib import Path
from agent.shell.memory import Memory
from fedge.wire.freshness import Attempt, RoundId
memory = Memory(Path(sys.argv[1]))
for number in range(1, 1_000_000):
    payload = number.to_bytes(4, "big") * 50_000
    digest = hashlib.sha256(payload).digest()
    memory.save_update(Attempt(RoundId(1, number), 0), digest, payload)
    print(number, "update", flush=True)
    memory.save_verdict(digest, "admitted")
    print(number, "verdict", flush=True)
"""


def test_fault_34_nothing_that_was_told_is_lost_by_a_sigkill(path: Path) -> None:
    for lines in (3, 8, 13):
        path.unlink(missing_ok=True)
        for more in path.parent.glob("agent.db-*"):
            more.unlink()
        command = [sys.executable, "-c", WRITER, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for _ in range(lines):
                writer.stdout.readline()
            writer.send_signal(signal.SIGKILL)  # somewhere in the middle of what follows
            told = writer.stdout.read().splitlines()
        last = int(told[-1].split()[0]) if told else (lines + 1) // 2
        with opened(path) as memory:
            saved = memory.saved()
            assert saved is not None
            assert saved.round.round in (last, last + 1)
            assert memory.seen().round == saved.round
            payload = memory.payload(saved.digest)
            assert payload is not None
            assert digest(payload) == saved.digest
            assert payload[:4] == saved.round.round.to_bytes(4, "big")
            if saved.round.round == last and told and told[-1].endswith("verdict"):
                assert saved.verdict == "admitted"


def test_fault_35_a_full_disk_changes_nothing(path: Path) -> None:
    with opened(path) as memory:
        memory.save_update(ONE, digest(b"one"), b"one")
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        big = bytes(2_000_000)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
        try:
            with pytest.raises(StateError, match=r"agent\.db: "):
                memory.save_update(TWO, digest(big), big)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert (memory.seen(), memory.saved()) == (ONE, Saved(ONE.round, digest(b"one"), None))
        assert memory.payload(digest(b"one")) == b"one"
        memory.save_update(TWO, digest(big), big)  # there is room again
        assert memory.saved() == Saved(TWO.round, digest(big), None)


def test_fault_38_a_damaged_file_is_said(path: Path) -> None:
    with opened(path) as memory:
        memory.save_update(ONE, digest(bytes(500_000)), bytes(500_000))
    whole = path.read_bytes()
    path.write_bytes(b"\xff" * 100 + whole[100:])
    with pytest.raises(DamagedState, match=telling("agent.db: ", "not a database")):
        Memory(path)
    path.write_bytes(whole[:6_000])  # cut short by a dying card
    with pytest.raises(DamagedState, match=telling("agent.db: ")):
        Memory(path)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE seen SET round = round | 1073741824",
        "UPDATE seen SET generation = 0",
        "UPDATE seen SET attempt = 1073741824",
        "UPDATE outbox SET round = 9",
        "UPDATE outbox SET digest = zeroblob(32)",
        "UPDATE outbox SET payload = CAST('the updatf' AS BLOB)",
    ],
)
def test_fault_38_a_flipped_bit_that_sqlite_cannot_notice(path: Path, damage: str) -> None:
    with opened(path) as memory:
        memory.save_update(ONE, digest(b"the update"), b"the update")
    with opened(path) as memory:
        memory._db.execute(damage)
    with pytest.raises(DamagedState, match=telling("agent.db: ")):
        Memory(path)


def test_fault_37_a_read_only_file_is_said(path: Path) -> None:
    with opened(path) as memory:
        memory.save_update(ONE, digest(b"x"), b"x")
        memory._db.execute("PRAGMA query_only=ON")  # root writes to read-only files as well
        for write in (
            lambda: memory.save_seen(TWO),
            lambda: memory.save_update(TWO, digest(b"y"), b"y"),
            lambda: memory.save_verdict(digest(b"x"), "admitted"),
            lambda: memory.add_boot(bytes(16)),
        ):
            with pytest.raises(StateError, match=r"agent\.db: .*readonly"):
                write()
        assert memory.saved() == Saved(ONE.round, digest(b"x"), None)
    with pytest.raises(StateError, match=telling("/proc/agent.db: ")):
        Memory(Path("/proc/agent.db"))
