"""The device's program, the aggregator it meets, and their configuration."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fedge.algorithms.codecs import float32
from fedge.algorithms.plan import Plan
from fedge.nn.spec import Dense, NetworkSpec
from fedge.transport import MessageArrived, Publication
from fedge.wire.assembly import Assembler, Limits
from fedge.wire.frames import split
from fedge.wire.freshness import MANIFEST_EXPIRY_S
from fedge.wire.messages.envelope import seal
from fedge.wire.messages.frame import Blob, Frame
from fedge.wire.messages.manifest import Cohort, Manifest
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.model import Model
from fedge.wire.messages.receipt import Receipt
from fedge.wire.messages.status import Status
from fedge.wire.messages.task import Task
from fedge.wire.messages.update import Update
from fedge.wire.topics import Topics
from fleet.demo import broker as brokers
from tests.fedge.client import Client

ROOT = Path(__file__).parents[3]

PATIENCE_S = 90.0


def configure(folder: Path, url: str = "mqtt://127.0.0.1:1", **data: object) -> Path:
    """An `agent.toml` beside its data: 60 samples of two classes in two columns."""
    rng = np.random.default_rng(1)
    y = np.arange(60) % 2
    np.savez(folder / "data.npz", X=rng.normal(size=(60, 2)) + y[:, None], y=y)
    path = folder / "agent.toml"
    lines = ['source = "npz"', f'path = "{data.get("path", "data.npz")}"']
    state = data.get("state", "state")
    path.write_text(
        f'federation = "lab"\ndevice = "pi-1"\n[broker]\nurl = "{url}"\n[data]\n'
        + "\n".join(lines)
        + f'\n[state]\nfolder = "{state}"\n'
    )
    return path


def task(units: int | None = None) -> Task:
    """Two features, two classes; `units` of a hidden layer make it slow."""
    hidden = (Dense(units=units), Dense(units=units)) if units else ()
    network = NetworkSpec(inputs=2, layers=(*hidden, Dense(units=2)), loss="cross-entropy")
    return Task(network=network, features=("u", "v"), classes=("0", "1"))


def model(of: Task, round_: int = 0) -> Model:
    weights = np.random.default_rng(0).normal(size=of.network.schema.size).astype(np.float32) * 0.01
    return Model(generation=1, round=round_, body=float32.encode(weights))


class Aggregator:
    """Says what an aggregator says, and hears what it hears."""

    def __init__(self, url: str) -> None:
        self.topics = Topics("lab")
        self.client = Client(url, "aggregator")
        self.client.open()
        self.client.subscribe(self.topics.all_updates, self.topics.all_statuses)

    def announce(self, of: Task, **fields: object) -> Manifest:
        said = {}
        for kind, message in (("task", pack(of)), ("model", pack(model(of)))):
            frames = split(message)
            topic = getattr(self.topics, kind)
            self.client.send(*(Publication(topic(0, i), f, retain=True) for i, f in enumerate(frames)))
            said[kind] = Blob(digest=frames.id, slot=0, frames=len(frames), size=len(message))
        manifest = Manifest.model_validate(
            {
                "generation": 1,
                "round": 1,
                "kind": "train",
                "state": "open",
                "seed": 1,
                "plan": Plan(epochs=1),
                "cohort": Cohort(fraction=1.0, seed=1),
                "seconds_left": 600.0,
                **said,
                **fields,
            }
        )
        self.client.send(
            Publication(self.topics.round, seal(manifest), retain=True, expiry_s=MANIFEST_EXPIRY_S)
        )
        return manifest

    def hears(self) -> Status | Update:
        """The next status or whole update."""
        assembler = Assembler(Limits(2**30, 2**30))
        while True:
            message = self.client.wait_for(MessageArrived)
            if "/status/" in message.topic:
                return unpack(message.payload, Status)
            whole = assembler.offer("pi-1", unpack(message.payload, Frame))
            if isinstance(whole, bytes):
                self.digest = split(whole).id
                return unpack(whole, Update, max_bytes=len(whole))

    def hears_status(self, wanted: Callable[[Status], bool]) -> Status:
        while True:
            heard = self.hears()
            if isinstance(heard, Status) and wanted(heard):
                return heard

    def hears_update(self) -> Update:
        while not isinstance(heard := self.hears(), Update):
            pass
        return heard

    def answer(self, update: Update) -> None:
        verdict = Receipt(generation=1, round=update.round, update=self.digest, verdict="admitted")
        self.client.send(Publication(self.topics.receipt("pi-1"), pack(verdict)))


needs_mosquitto = pytest.mark.skipif(not brokers._find_mosquitto(), reason="mosquitto is not installed")
