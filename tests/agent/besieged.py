"""A device whose broker lets anybody write anywhere: it hears whatever an attacker says.

The device is the real runtime with its real memory and model file, the broker a table of retained messages.
"""

import itertools
import re
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from agent.config import AgentSettings
from agent.shell import model_file
from agent.shell.memory import Memory
from agent.shell.runtime import Runtime
from agent.shell.startup import open_device
from aggregator.shell.signing import key_file, read_signer
from fedge.algorithms.codecs import float32
from fedge.algorithms.plan import Plan
from fedge.identity import ed25519
from fedge.identity.trust import Signer, lengthened, succession
from fedge.nn.spec import Dense, NetworkSpec
from fedge.transport import LinkEvent, LinkUp, MessageArrived, Publication
from fedge.wire.encoding import MAX_PAYLOAD
from fedge.wire.frames import split
from fedge.wire.freshness import Attempt, RoundId
from fedge.wire.messages.frame import Blob
from fedge.wire.messages.manifest import Cohort, Manifest
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.model import Model
from fedge.wire.messages.status import Status
from fedge.wire.messages.task import Task
from fedge.wire.topics import Topics

LAB = Topics("lab")
TASK = Task(
    network=NetworkSpec(inputs=2, layers=(Dense(units=2),), loss="cross-entropy"),
    features=("u", "v"),
    classes=("0", "1"),
)
FRAME_BYTES = 32
"""So small that a model takes several."""


class Federation:
    """An aggregator with a key: makes what it would announce."""

    def __init__(self, folder: Path, topics: Topics = LAB) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path, self.topics = folder / "signing.key", topics
        self.path.write_bytes(ed25519.generate().to_pem())
        self.pin = folder / "signing.pub"
        self.pin.write_bytes(ed25519.public_pem(self.signer.public))

    @property
    def signer(self) -> Signer:
        return read_signer(self.path, self.topics)

    def rotate(self) -> Signer:
        """Change the key; returns the signer of before, as somebody would have it who stole its key."""
        before, key = self.signer, ed25519.generate()
        link = succession(self.topics, before.public, before.sign, key.public)
        self.path.write_bytes(key_file(key.to_pem(), lengthened(before.chain, link)))
        return before

    def announcement(self, round_: int, generation: int = 1) -> bytes:
        """The manifest of the end of learning: every device fetches its model."""
        return self.signer.seal(manifest(round_, generation), "round")

    def says(self, round_: int, generation: int = 1) -> dict[str, bytes]:
        """All retained messages of a round."""
        return {**frames(round_, generation), self.topics.round: self.announcement(round_, generation)}


def model(round_: int, generation: int = 1) -> bytes:
    """What is learnt in a round; another one in each."""
    weights = np.random.default_rng([generation, round_]).normal(size=TASK.network.schema.size)
    body = float32.encode(weights.astype(np.float32))
    return pack(Model(generation=generation, round=round_, body=body))


def blob(message: bytes, slot: int) -> Blob:
    pieces = split(message, FRAME_BYTES)
    return Blob(digest=pieces.id, slot=slot, frames=len(pieces), size=len(message))


def manifest(round_: int, generation: int = 1, **other: Any) -> Manifest:
    fields = {
        "generation": generation,
        "round": round_,
        "attempt": 1,
        "kind": "train",
        "state": "done",
        "seed": 1,
        "task": blob(pack(TASK), 0),
        "model": blob(model(round_, generation), round_ % 2),
        "plan": Plan(),
        "cohort": Cohort(fraction=1.0, seed=1),
        "seconds_left": 60.0,
    }
    return Manifest(**cast(Any, fields | other))


def frames(round_: int, generation: int = 1) -> dict[str, bytes]:
    """The retained frames of a round's task and model."""
    task, weights = split(pack(TASK), FRAME_BYTES), split(model(round_, generation), FRAME_BYTES)
    return {
        **{LAB.task(0, i): task[i] for i in range(len(task))},
        **{LAB.model(round_ % 2, i): weights[i] for i in range(len(weights))},
    }


class Broker:
    """Stands in for the device's link: keeps what is retained, and hands it to who subscribes."""

    spread_s = 1.0
    up = True
    traffic = SimpleNamespace(sent=0, received=0)

    def __init__(self) -> None:
        self.retained: dict[str, bytes] = {}
        self.inbox: list[MessageArrived | LinkUp] = []
        self.said: list[Publication] = []
        self.subscribed: list[re.Pattern[str]] = []
        self.asked: list[str] = []
        """Every filter that was ever subscribed to."""

    def write(self, messages: dict[str, bytes]) -> None:
        """Publish retained messages, as anybody may; an empty one clears its topic."""
        for topic, payload in messages.items():
            self.retained[topic] = payload
            if any(wanted.fullmatch(topic) for wanted in self.subscribed):
                self.inbox.append(arrived(topic, payload, retained=False))

    def subscribe(self, *filters: str) -> None:
        self.asked += filters
        for wanted in (re.compile(text.replace("+", "[^/]+")) for text in filters):
            self.subscribed.append(wanted)
            self.inbox += [
                arrived(topic, payload)
                for topic, payload in self.retained.items()
                if payload and wanted.fullmatch(topic)
            ]

    def unsubscribe(self, *filters: str) -> None:
        gone = {text.replace("+", "[^/]+") for text in filters}
        self.subscribed = [wanted for wanted in self.subscribed if wanted.pattern not in gone]

    def send(self, publications: Iterable[Publication], token: object = None, *, bulk: bool = False) -> None:
        self.said += publications

    def room(self, topic: str) -> int:
        return MAX_PAYLOAD

    def handle(self, event: LinkEvent) -> None: ...

    def close(self, offline_status: Publication | None = None) -> None:
        self.send([offline_status] if offline_status is not None else [])
        self.subscribed.clear()

    def open(self) -> None:
        self.inbox.append(LinkUp(connection=2, session_present=False, max_packet=2**20))


_packet = itertools.count(1)


def arrived(topic: str, payload: bytes, *, retained: bool = True) -> MessageArrived:
    return MessageArrived(
        connection=1,
        mid=next(_packet),
        topic=topic,
        payload=payload,
        retained=retained,
        expiry_left_s=None,
    )


class Device:
    """The program on the device, switched on."""

    def __init__(self, folder: Path, pin: Path | None, **tables: Any) -> None:
        folder.mkdir(exist_ok=True)
        trust = {"key": str(pin)} if pin is not None else {}
        self.settings = AgentSettings.model_validate(
            {
                "federation": "lab",
                "device": "pi-1",
                "data": {"source": "npz", "path": str(folder / "data.npz")},
                "state": {"folder": str(folder)},
                "trust": trust,
                **tables,
            }
        )
        self.folder = folder
        self.broker = Broker()
        self.now_s = 1_000.0
        self.boots = 0
        self.worked: list[RoundId] = []
        self.memory: Memory | None = None
        self.restart()

    def restart(self) -> None:
        """Off and on again: only the disk is left."""
        if self.memory is not None:
            self.memory.close()
        self.boots += 1
        self.memory = Memory(self.folder / "agent.db")
        boot = self.boots.to_bytes(16, "big")
        opened = open_device(self.settings, self.memory, self.folder / model_file.FILE, boot, self.now_s)
        kept, self.broker = self.broker.retained, Broker()
        self.broker.retained = kept
        self.runtime = Runtime(
            self.settings,
            opened,
            self.memory,
            self.folder / model_file.FILE,
            cast(Any, self.broker),
            self.trainer(),
            now_s=lambda: self.now_s,
        )
        self.runtime.turn(LinkUp(connection=1, session_present=False, max_packet=2**20))
        self.settle()

    def trainer(self) -> Any:
        """It only notes what it is given."""
        return SimpleNamespace(start=lambda job: self.worked.append(job.manifest), cancel=lambda: None)

    def hears(self, *messages: dict[str, bytes]) -> None:
        """Retained messages are published while it listens."""
        for message in messages:
            self.broker.write(message)
            self.settle()

    def waits(self, seconds: float) -> None:
        """Time passes; it asks again for what it lacks."""
        self.now_s += seconds
        self.runtime.turn(None)
        self.settle()

    def settle(self) -> None:
        while self.broker.inbox:
            self.runtime.turn(self.broker.inbox.pop(0))

    @property
    def holds(self) -> bytes | None:
        """The model in its file."""
        kept = model_file.read(self.folder / model_file.FILE)
        return kept.model if kept is not None else None

    @property
    def seen(self) -> Attempt:
        assert self.memory is not None
        return self.memory.seen()

    @property
    def status(self) -> Status:
        """What it said of itself last."""
        return unpack(self.broker.said[-1].payload, Status)
