"""A device that is surveyed several times, by a process of its own each time."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.config import AgentSettings
from agent.core.events import Done
from agent.shell.memory import Memory
from agent.shell.memory_layout import FILE
from agent.sources import open_sources
from agent.trainers.worker import Worker
from fedge.nn.spec import Dense, NetworkSpec
from fedge.wire.freshness import Attempt, RoundId
from fedge.wire.messages.frame import Blob
from fedge.wire.messages.message import unpack
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.task import Task
from tests.agent.test_trainer_limits import job

TOML = 'federation = "lab"\ndevice = "pi-1"\n[data]\nsource = "csv"\npath = "data.csv"\n'
ROWS = np.random.default_rng(3).normal(20, 5, size=(400, 3)).round(3)
"""Columns a, b, c of the file."""


def task(features: tuple[str, ...] = ("a", "b"), targets: tuple[str, ...] = ("c",), **more: Any) -> Task:
    network = NetworkSpec(inputs=len(features), layers=(Dense(units=len(targets)),), loss="mse")
    return Task(network=network, features=features, targets=targets, **more)


class Device:
    """A device's data and memory; each survey is that of a process of its own."""

    def __init__(self, folder: Path, data: str = "") -> None:
        self.folder = folder
        self.write(ROWS[:100])
        self.configure(data)
        (folder / "state").mkdir()

    def configure(self, data: str) -> None:
        (self.folder / "agent.toml").write_text(TOML + data)
        self.settings = AgentSettings.load(self.folder / "agent.toml", {})

    def write(self, rows: Any, name: str = "data.csv") -> None:
        lines = (",".join("" if np.isnan(value) else str(value) for value in row) for row in rows)
        (self.folder / name).write_text("\n".join(("a,b,c", *lines)) + "\n")

    def survey(self, asked: Task | None = None, generation: int = 1) -> Survey:
        memory = Memory(self.folder / "state" / FILE)
        posted: list[Any] = []
        trainer = Worker(self.settings, open_sources(self.settings), posted.append, memory.snapshots())
        work = job(asked or task(), None)
        manifest = work.manifest.model_copy(update={"generation": generation, "task": blob(generation)})
        done = trainer.work(type(work)(manifest, work.task, None, {}))
        assert isinstance(done, Done), done
        memory.save_update(Attempt(RoundId(generation, 0), 0), done.digest, done.payload, done.snapshot)
        memory.close()
        return unpack(done.payload, Survey, max_bytes=len(done.payload))


def blob(number: int) -> Blob:
    return Blob(digest=bytes([number]) * 32, slot=0, frames=1, size=100)


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


def told(survey: Survey) -> tuple[int, bytes, bytes]:
    return survey.samples, survey.features, survey.targets
