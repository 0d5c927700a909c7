"""The trainer's signs of life: none is owed while it waits, and one that reads for ever is found out."""

import threading
import time
from pathlib import Path

import numpy as np

from agent.config import AgentSettings
from agent.core.events import Done, Failed
from agent.sources import Samples
from agent.trainers.assignment import Assignment
from agent.trainers.worker import Worker
from fedge.errors import DataError
from fedge.nn.spec import Dense, NetworkSpec
from fedge.wire.messages.frame import Blob
from fedge.wire.messages.manifest import Cohort, Manifest
from fedge.wire.messages.task import Task

PATIENCE_S = 90.0


class Hanging:
    """A source that is asked and does not answer."""

    def __init__(self) -> None:
        self.answer = threading.Event()

    def fingerprint(self) -> object:
        return None

    def read(self) -> Samples:
        self.answer.wait()
        raise DataError("the sensor is gone")


def job() -> Assignment:
    task = Task(
        network=NetworkSpec(inputs=2, layers=(Dense(units=2),), loss="cross-entropy"),
        features=("a", "b"),
        classes=("x", "y"),
    )
    blob = Blob(digest=bytes(32), slot=0, frames=1, size=1)
    manifest = Manifest(
        generation=1,
        round=0,
        kind="survey",
        state="open",
        seconds_left=60.0,
        seed=0,
        task=blob,
        cohort=Cohort(fraction=1.0, seed=0),
    )
    return Assignment(manifest, task, None, {})


def settings(folder: Path, patience_s: float) -> AgentSettings:
    np.savez(folder / "data.npz", X=np.zeros((1, 2)))
    (folder / "agent.toml").write_text(
        'federation = "lab"\ndevice = "pi-1"\n[data]\nsource = "npz"\npath = "data.npz"\n'
        f"[trainer]\npatience_s = {patience_s}\n"
    )
    return AgentSettings.load(folder / "agent.toml", {})


def until(condition: "object") -> None:
    due_s = time.monotonic() + PATIENCE_S
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < due_s
        time.sleep(0.01)


def test_a_source_that_never_answers_is_found_out(tmp_path: Path) -> None:
    source, outcomes = Hanging(), list[Done | Failed]()
    trainer = Worker(settings(tmp_path, 0.2), {"data": source}, outcomes.append)
    assert trainer.pulse.overdue_s() == 0.0
    trainer.start(job())
    until(lambda: trainer.pulse.overdue_s() > 0.1)
    trainer.cancel()
    trainer.start(job())
    assert trainer.pulse.overdue_s() > 0.1, "a new round is no sign of life"
    source.answer.set()
    until(lambda: len(outcomes) == 1 and trainer.pulse.overdue_s() == 0.0)
