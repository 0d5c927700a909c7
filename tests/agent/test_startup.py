"""How a device begins: with what its disk has, and what its owner says."""

from math import inf
from pathlib import Path

import numpy as np

from agent.config import AgentSettings
from agent.settings.conditions import ConditionsSettings
from agent.settings.limits import LimitsSettings
from agent.shell import model_file
from agent.shell.memory import Memory
from agent.shell.memory_layout import FILE
from agent.shell.startup import open_device
from fedge.algorithms.codecs import float32
from fedge.nn.spec import Dense, NetworkSpec
from fedge.wire.messages.message import pack
from fedge.wire.messages.model import Model
from fedge.wire.messages.task import Task

AGENT = """\
federation = "lab"
device = "pi-1"
[data]
source = "npz"
path = "data.npz"
[sources.heart]
source = "npz"
path = "heart.npz"
[limits]
epochs = 3
[conditions]
load = 0.5
"""


def test_it_knows_its_owners_wishes_and_the_source_of_the_task_at_hand(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text(AGENT)
    settings = AgentSettings.load(tmp_path / "agent.toml", {})
    network = NetworkSpec(inputs=1, layers=(Dense(units=2),), loss="cross-entropy")
    task = Task(network=network, features=("u",), classes=("a", "b"), source="heart")
    body = float32.encode(np.zeros(network.schema.size, np.float32))
    memory = Memory(tmp_path / FILE)
    try:
        fresh = open_device(settings, memory, tmp_path / model_file.FILE, bytes(16), 5.0).state
        model_file.save(tmp_path / model_file.FILE, pack(task), pack(Model(generation=1, round=1, body=body)))
        state = open_device(settings, memory, tmp_path / model_file.FILE, bytes(16), 5.0).state
        lacks = frozenset({"local:nova"})
        own = open_device(settings, memory, tmp_path / model_file.FILE, bytes(16), 5.0, lacks).state
    finally:
        memory.close()
    assert (fresh.source, state.source) == (None, "heart")
    assert (fresh.followed_s, state.followed_s) == (-inf, 5.0), "who never did is late at once"
    assert state.can - own.can == lacks, "what its trainer does not do is not in its status"
    assert state.offered == {"data", "heart"}
    assert state.limits == LimitsSettings(epochs=3)
    assert state.conditions == ConditionsSettings(load=0.5)
