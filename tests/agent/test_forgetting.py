"""`fedge-agent forget-rounds`: what it forgets, what it keeps, and when it does nothing."""

import os
import sqlite3
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from agent.cli.forget_rounds import forget_rounds
from agent.config import AgentSettings
from agent.shell.memory import Memory
from agent.shell.memory_layout import FILE
from fedge.errors import Conflict, StateError
from fedge.storage.locks import lock
from fedge.wire.freshness import Attempt, RoundId
from tests.wording import assert_tells, telling

ROOT = Path(__file__).parent.parent.parent
FORGED = Attempt(RoundId(1, 5_000), 2)
UPDATE = b"made for a task that nobody announced"
DIGEST = sha256(UPDATE).digest()
TOML = """\
federation = "lab"
device = "pi-1"
[data]
source = "csv"
path = "data.csv"
[state]
folder = "state"
"""


@pytest.fixture
def settings(tmp_path: Path) -> AgentSettings:
    (tmp_path / "agent.toml").write_text(TOML)
    (tmp_path / "state").mkdir()
    return AgentSettings.load(tmp_path / "agent.toml", {})


def remember(settings: AgentSettings, *, update: bool = True) -> None:
    memory = Memory(settings.state.folder / FILE)
    memory.save_signers((b"k" * 32,))
    memory.add_boot(b"b" * 16)
    memory.save_moved("2026-11-22", 12_345)
    memory.save_seen(FORGED)
    if update:
        memory.save_update(FORGED, DIGEST, UPDATE)
        memory.save_verdict(DIGEST, "refused")
    memory.close()


def test_it_forgets_rounds_and_the_update_and_nothing_else(settings: AgentSettings) -> None:
    remember(settings)
    said = forget_rounds(settings)
    assert_tells(said, "round 1.5000", "update", "round 1.5000")
    memory = Memory(settings.state.folder / FILE)
    assert (memory.seen(), memory.saved()) == (Attempt(RoundId(0, 0), 0), None)
    assert memory.payload(DIGEST) is None
    assert (memory.signers(), memory.moved()) == ((b"k" * 32,), ("2026-11-22", 12_345))
    assert memory.add_boot(b"c" * 16) == {b"b" * 16}
    memory.save_update(FORGED, DIGEST, UPDATE)
    saved = memory.saved()
    assert saved is not None
    assert saved.verdict is None, "of its bytes no verdict is left"
    memory.close()


def test_done_again_it_changes_nothing_and_says_so(settings: AgentSettings) -> None:
    remember(settings, update=False)
    first = forget_rounds(settings)
    assert "1.5000" in first
    assert "update" not in first
    for _ in range(2):
        assert "1.5000" not in forget_rounds(settings)


def test_a_device_that_never_ran_has_nothing_to_forget_and_gets_no_files(settings: AgentSettings) -> None:
    assert FILE in forget_rounds(settings)
    assert list(settings.state.folder.iterdir()) == []


def test_a_running_agent_is_not_disturbed(settings: AgentSettings) -> None:
    remember(settings)
    held = lock(settings.state.folder)
    try:
        with pytest.raises(Conflict, match=rf"process {os.getpid()} .*stop"):
            forget_rounds(settings)
    finally:
        os.close(held)
    memory = Memory(settings.state.folder / FILE)
    assert memory.seen() == FORGED
    memory.close()


def test_all_is_forgotten_or_nothing(settings: AgentSettings) -> None:
    remember(settings)
    with sqlite3.connect(settings.state.folder / FILE) as db:
        db.execute("CREATE TRIGGER t BEFORE DELETE ON verdict BEGIN SELECT RAISE(ABORT, 'disk'); END")
    with pytest.raises(StateError):
        forget_rounds(settings)
    memory = Memory(settings.state.folder / FILE)
    assert memory.seen() == FORGED
    memory.close()


def test_a_damaged_memory_is_left_to_the_agent(settings: AgentSettings) -> None:
    (settings.state.folder / FILE).write_bytes(b"no database")
    with pytest.raises(StateError, match=telling(FILE, "agent")):
        forget_rounds(settings)


def test_the_command_and_its_help(settings: AgentSettings, tmp_path: Path) -> None:
    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "agent", "forget-rounds", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
        )

    remember(settings)
    done = run("--config", "agent.toml")
    assert (done.returncode, done.stderr) == (0, "")
    assert_tells(done.stdout, "round 1.5000")
    assert "`fedgerotate-key`" in "".join(run("--help").stdout.split()), "wherever the lines break"
    held = lock(settings.state.folder)
    try:
        refused = run()
    finally:
        os.close(held)
    assert refused.returncode == os.EX_TEMPFAIL
    assert "stop the agent" in refused.stderr
