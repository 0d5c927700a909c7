"""A state folder, and what an aggregator sees of the federation."""

from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from aggregator.aggregation.models import blob_of
from aggregator.aggregation.rollback import Rollback
from aggregator.config import FederationSettings
from aggregator.core.federation import Federation
from aggregator.core.presence import LeaderCheck
from aggregator.ledger.writing import Ledger
from aggregator.shell.startup import open_federation
from fedge.service.systemd import ServiceManager, Watchdog
from fedge.wire.freshness import RoundId
from fedge.wire.messages.frame import Blob
from fedge.wire.messages.message import pack
from fedge.wire.models import model_message
from fedge.wire.topics import Topics
from tests.aggregator.stories import (
    EVERYBODY,
    status,
)

INSTANCE = b"i" * 16

UNWATCHED = Watchdog(ServiceManager({}))

TOML = """\
[federation]
name = "{name}"
[broker]
url = "{url}"
[model]
features = {features}
classes = ["idle", "busy"]
[stopping]
rounds = {rounds}
"""

SURVEYED_SPREAD_S = 59.0
"""Tells the task that the survey ends with from the one it begins with."""


def model_data(state: Federation, round_id: RoundId) -> bytes:
    return model_message(round_id, np.full(state.weights, round_id.round, np.float32))


def model_of(state: Federation, round_id: RoundId) -> Blob:
    return blob_of(model_data(state, round_id), round_id.round % 2)


class Place:
    """A state folder, and the aggregators that begin in it."""

    def __init__(self, folder: Path, name: str = "greenhouse", url: str = "mqtt://127.0.0.1:1") -> None:
        self.folder = folder
        self.values: dict[str, object] = {"name": name, "url": url, "features": 2, "rounds": 2}
        self.inbox: SimpleQueue[Any] = SimpleQueue()
        self.topics = Topics(name)
        self.ledger = Ledger(folder / "ledger.db")

    def settings(self) -> FederationSettings:
        path = self.folder / "federation.toml"
        path.write_text(TOML.format(**self.values))
        return FederationSettings.load(path, {})

    def open(self, *, new_generation: bool = False, back: Rollback | None = None) -> Federation:
        state = open_federation(
            self.settings(),
            self.ledger,
            INSTANCE,
            self.inbox,
            UNWATCHED,
            new_generation=new_generation,
            back=back,
        )
        assert state is not None
        return state

    def close_round(self, state: Federation, devices: int = 3) -> None:
        """As the runtime does: the model, the closed round, all in one."""
        number = state.round.round
        with self.ledger.transaction():
            for i in range(devices):
                self.ledger.save_status(f"pi-{i}", status(), 0.0)
            self.ledger.save_round(state.round, state.kind, 0, (EVERYBODY,), 0.0)
            data, model = model_data(state, state.round), model_of(state, state.round)
            if number == 0:
                task = pack(state.task_message.model_copy(update={"reconnect_spread_s": SURVEYED_SPREAD_S}))
                surveyed = blob_of(task, 1 - state.task.slot)
                self.ledger.save_content("task", state.round, surveyed, task)
            self.ledger.save_content("model", state.round, model, data)
            summary = {} if number == 0 else {"weight_change": 0.5, "accuracy": number / 10}
            if number:
                summary |= {"median_norm": max(1.0, 3.0 - number), "moved": 0.5}
            self.ledger.close_round(state.round, model.digest, 2, 20, summary, 0.0, "mean/1")


def fleet(*numbers: int, generation: int = 1, online: bool = True) -> LeaderCheck:
    watch = LeaderCheck(0.0)
    for i, number in enumerate(numbers):
        watch = watch.status(f"pi-{i}", status(online, RoundId(generation, number)), 0.0)
    return watch


Seen = Callable[[LeaderCheck], None]
