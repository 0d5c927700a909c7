"""A device's own model: kept with the update, in a file that `predict` reads, written again if it lacks."""

import io
import json
import resource
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from agent.cli.predict import predict
from agent.config import AgentSettings
from agent.core.state import PERSONAL, SHARED, PersonalState
from agent.data.model_scores import score
from agent.shell import model_file
from agent.shell.memory import Memory
from agent.shell.memory_layout import FILE, MIGRATIONS
from agent.shell.served_models import keep_own
from agent.shell.startup import open_device
from agent.trainers import personal_states
from fedge.algorithms.codecs import float32
from fedge.algorithms.plan import Plan
from fedge.errors import DamagedState, StateError
from fedge.nn.spec import Dense, NetworkSpec
from fedge.storage.databases import open_database
from fedge.wire.freshness import Attempt, RoundId
from fedge.wire.messages.message import pack
from fedge.wire.messages.model import Model
from fedge.wire.messages.task import Task

SPEC = NetworkSpec(inputs=1, layers=(Dense(units=2),), loss="cross-entropy")
TASK = Task(network=SPEC, features=("u",), classes=("no", "yes"))
OTHER = Task(network=SPEC, features=("v",), classes=("no", "yes"))
BASE = bytes([7] * 32)
HERE = RoundId(1, 4)
AGENT = 'federation = "lab"\ndevice = "pi-1"\n[data]\nsource = "npz"\npath = "data.npz"\n'


def says(answer: str) -> np.ndarray:
    """Weights that always answer so: the biases are the last two."""
    return np.float32([0, 0, answer == "no", answer == "yes"])


def model(answer: str, round_: int = 3) -> bytes:
    return pack(Model(generation=1, round=round_, body=float32.encode(says(answer))))


def state(
    chose: int = PERSONAL, answer: str = "yes", task: Task = TASK, here: RoundId = HERE
) -> PersonalState:
    digest = sha256(pack(task)).digest()
    own = None if chose == SHARED else says(answer)
    data = personal_states.packed({"v": says(answer)}, None, own)
    lineage = personal_states.lineage_of(digest, Plan(personal="ditto"))
    return PersonalState(here, lineage, digest, BASE, "ditto", chose, data)


def settings_in(folder: Path, more: str = "") -> AgentSettings:
    (folder / "agent.toml").write_text(AGENT + more)
    (folder / "state").mkdir(exist_ok=True)
    return AgentSettings.load(folder / "agent.toml", {})


def save(memory: Memory, kept: PersonalState, payload: bytes = b"update") -> None:
    memory.save_update(Attempt(kept.round, 0), sha256(payload).digest(), payload, personal=kept)


def started(folder: Path, kept: PersonalState | None, task: Task = TASK) -> Path:
    """Start the agent with this in its memory, and the shared model "no"; its file of an own model."""
    settings = settings_in(folder)
    model_file.save(folder / "state" / model_file.FILE, pack(task), model("no"))
    memory = Memory(folder / "state" / FILE)
    try:
        if kept is not None:
            save(memory, kept)
        open_device(settings, memory, folder / "state" / model_file.FILE, bytes(16), 0.0)
    finally:
        memory.close()
    return folder / "state" / model_file.PERSONAL


def answered(folder: Path, more: str = "", *, shared: bool = False) -> tuple[str, str]:
    """The answer of `predict`, and which model it says gave it."""
    np.savez(folder / "new.npz", X=[[1.0]], features=["u"])
    out = io.StringIO()
    predict(settings_in(folder, more), folder / "new.npz", out, as_json=True, shared=shared)
    found = json.loads(out.getvalue())
    return found["predictions"][0]["class"], found["model"]


# The file


def test_it_is_written_again_at_the_start_and_predict_uses_it(tmp_path: Path) -> None:
    path = started(tmp_path, state())
    found = model_file.require(path)
    assert found.own == model_file.Own("personal", "ditto", "1.4", BASE)
    assert (found.decoded_model.generation, found.decoded_model.round) == (1, 3)
    assert answered(tmp_path) == ("yes", "personal")
    assert answered(tmp_path, shared=True) == ("no", "shared")
    path.write_bytes(b"\0" * 100)
    assert answered(tmp_path) == ("no", "shared")  # until the next start
    started(tmp_path, None)
    assert answered(tmp_path) == ("yes", "personal")


def test_a_model_alone_that_a_former_program_used_is_not_used_any_more(tmp_path: Path) -> None:
    """That program stored `chose` 2, and wrote a file that says so."""
    path = started(tmp_path, state())
    found = model_file.require(path)
    alone = model_file.Own("alone", "ditto", "1.4", BASE)
    model_file.save(path, found.task, found.model, own=alone)
    assert answered(tmp_path) == ("no", "shared")  # also before the agent has started
    started(tmp_path, state(2))
    assert not path.exists()
    assert answered(tmp_path) == ("no", "shared")


def test_a_file_of_an_earlier_round_is_replaced(tmp_path: Path) -> None:
    path = started(tmp_path, state())
    started(tmp_path, state(answer="no", here=RoundId(1, 5)))
    assert model_file.require(path).own == model_file.Own("personal", "ditto", "1.5", BASE)
    assert answered(tmp_path) == ("no", "personal")


def test_who_chose_the_shared_model_has_no_file(tmp_path: Path) -> None:
    path = started(tmp_path, state())
    started(tmp_path, state(SHARED))
    assert not path.exists()
    assert answered(tmp_path) == ("no", "shared")


def test_a_model_of_another_task_is_not_used_and_not_lost(tmp_path: Path) -> None:
    path = started(tmp_path, state())
    started(tmp_path, None, OTHER)
    np.savez(tmp_path / "new.npz", X=[[1.0]], features=["v"])
    out = io.StringIO()
    predict(settings_in(tmp_path), tmp_path / "new.npz", out, as_json=True)
    assert json.loads(out.getvalue())["model"] == "shared"
    assert path.exists()
    started(tmp_path, None)  # a generation with the former task again
    assert answered(tmp_path) == ("yes", "personal")


def test_who_chose_the_shared_model_has_no_file_whatever_the_newest_task(tmp_path: Path) -> None:
    """The operator has removed [personal] with a generation of another task; then the former task returns."""
    path = started(tmp_path, state())
    keep_own(path.with_name(model_file.FILE), state(SHARED), pack(OTHER))
    assert not path.exists()
    model_file.save(path.with_name(model_file.FILE), pack(TASK), model("no"))
    assert answered(tmp_path) == ("no", "shared")


def test_behind_a_gate_it_waits_until_its_shared_model_is_in_use(tmp_path: Path) -> None:
    gate = "[predict]\ntolerance = 0.1\n"
    started(tmp_path, state())  # made from the model of round 3
    used = tmp_path / "state" / model_file.USED
    model_file.save(used, pack(TASK), model("no", 2))  # the gate has refused round 3
    assert answered(tmp_path, gate) == ("no", "shared")
    model_file.save(used, pack(TASK), model("no", 3))
    assert answered(tmp_path, gate) == ("yes", "personal")


def test_scores_say_whose_model_it_is(tmp_path: Path) -> None:
    started(tmp_path, state())
    np.savez(tmp_path / "old.npz", X=[[1.0], [2.0]], y=["yes", "yes"], features=["u"])
    for shared, accuracy, kind in ((False, 1.0, "personal"), (True, 0.0, "shared")):
        out = io.StringIO()
        score(settings_in(tmp_path), tmp_path / "old.npz", out, as_json=True, shared=shared)
        found = json.loads(out.getvalue())
        assert (found["accuracy"], found["model"]) == (accuracy, kind)


# The memory


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / FILE


def test_it_survives_a_restart_a_verdict_and_forgotten_rounds(path: Path) -> None:
    kept = state()
    with closing(Memory(path)) as memory:
        assert memory.personal() is None
        save(memory, kept)
        memory.save_verdict(sha256(b"update").digest(), "refused", resets=True)
        memory.forget_rounds()
    with closing(Memory(path)) as memory:
        assert memory.personal() == kept
        save(memory, kept, b"another")
        memory.save_update(Attempt(RoundId(1, 5), 0), sha256(b"survey").digest(), b"survey")
        assert memory.personal() == kept  # a round without one leaves it as it is


def test_a_use_of_the_model_alone_is_read_as_one_of_the_shared_model(path: Path) -> None:
    """What a former program stored; the round continues from its arrays, and can be stored again."""
    former = state(2)
    with closing(Memory(path)) as memory:
        save(memory, former)
    with closing(Memory(path)) as memory:  # the proof is of what was stored
        found = memory.personal()
        assert found == replace(former, chose=SHARED)
        save(memory, found, b"another")
    with closing(Memory(path)) as memory:
        assert memory.personal() == found


def test_a_full_disk_keeps_update_and_model_together(path: Path) -> None:
    with closing(Memory(path)) as memory:
        save(memory, state())
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
        try:
            with pytest.raises(StateError):
                save(memory, replace(state(SHARED, here=RoundId(1, 5)), data=bytes(2_000_000)), b"later")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert memory.personal() == state()
        saved = memory.saved()
        assert saved is not None
        assert (saved.round, saved.digest) == (HERE, sha256(b"update").digest())


WRITER = """
import hashlib, sys
from pathlib import Path
from agent.core.state import PersonalState
from agent.shell.memory import Memory
from fedge.wire.freshness import Attempt, RoundId
memory = Memory(Path(sys.argv[1]))
for number in range(1, 1_000_000):
    here, payload = RoundId(1, number), number.to_bytes(4, "big") * 20_000
    own = PersonalState(here, bytes(32), bytes(32), bytes(32), "ditto", 1, payload)
    memory.save_update(Attempt(here, 0), hashlib.sha256(payload).digest(), payload, personal=own)
    print(number, flush=True)
"""


@pytest.mark.parametrize("lines", [1, 5])
def test_killed_at_any_moment_it_is_of_the_saved_update(path: Path, lines: int) -> None:
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for _ in range(lines):
            writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
    with closing(Memory(path)) as memory:
        own, saved = memory.personal(), memory.saved()
        assert own is not None
        assert saved is not None
        assert own.round == saved.round
        assert own.data == memory.payload(saved.digest)


@pytest.mark.parametrize(
    "change",
    [
        "chose = 2",
        "round = round + 1",
        "name = 'finetune'",
        "data = zeroblob(length(data))",
        "task = zeroblob(32)",
        "base = zeroblob(32)",
        "lineage = zeroblob(32)",
        "data = 'text'",
    ],
)
def test_nothing_is_believed_without_its_proof(path: Path, change: str) -> None:
    with closing(Memory(path)) as memory:
        save(memory, state())
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(f"UPDATE personal SET {change}")
    with pytest.raises(DamagedState):
        Memory(path)


def test_a_memory_of_an_earlier_program_gets_the_table(path: Path) -> None:
    open_database(path, MIGRATIONS[:6]).close()
    with closing(Memory(path)) as memory:
        assert memory.personal() is None
        save(memory, state())
        assert memory.personal() == state()
