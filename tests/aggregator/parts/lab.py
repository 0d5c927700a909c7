"""A federation whose parts come from outside."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from aggregator.aggregation.job import ClosingJob
from aggregator.aggregation.rollback import Rollback, beginning_of, require_wishable
from aggregator.config import FederationSettings
from aggregator.core import events as on
from aggregator.core.presence import LeaderCheck
from aggregator.core.takeover import TakeUp
from aggregator.ledger.layout import FILE
from aggregator.ledger.reading import read_only
from aggregator.shell.closer import close
from aggregator.shell.ledger_file import open_ledger
from aggregator.shell.runtime import Runtime
from aggregator.shell.startup import take_up
from fedge.algorithms.codecs import float32
from fedge.algorithms.registry import CODECS
from fedge.data.moments import Moments
from fedge.transport import MessageArrived
from fedge.transport.mqtt import MqttTransport
from fedge.wire.capabilities import can
from fedge.wire.freshness import RoundId
from fedge.wire.messages.fields import MAX_SIZE
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.model import Model
from fedge.wire.messages.receipt import Receipt
from fedge.wire.topics import Topics
from tests.aggregator.stories import OURS, frames, status, survey, update
from tests.aggregator.toys import Halves

DEVICES = ("pi-0", "pi-1", "pi-2")

SEED = 5

P = 6

BETA = 0.5

ALL: Mapping[str, Any] = {
    "rule": {"name": "toy-median", "shift": 0.25},
    "server": {"name": "toy-heavy", "beta": BETA},
    "plan": {"codec": "toy-halves", "local": "toy-controlled"},
}


def told(number: int, device: str, what: str = "change") -> np.ndarray:
    """What a device sends in a round: exact in two bytes."""
    seed = [number, DEVICES.index(device), len(what)]
    return np.random.default_rng(seed).integers(-64, 64, P).astype(np.float32) / 64


class Lab:
    """An aggregator at work, whose closer is called by hand."""

    watch: ClassVar[LeaderCheck] = LeaderCheck(0.0)
    """What it has seen of the federation when it starts."""

    def __init__(
        self,
        folder: Path,
        tables: Mapping[str, Any] = ALL,
        devices: Sequence[str] = DEVICES,
        **rounds: Any,
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.devices = devices
        self.folder, self.path, self.rounds = folder, folder / FILE, rounds
        self.ledger = open_ledger(self.path)
        self.jobs: list[ClosingJob] = []
        self.receipts: list[Receipt] = []
        self.start(tables)

    def settings_of(self, tables: Mapping[str, Any]) -> FederationSettings:
        return FederationSettings.model_validate(
            {
                "federation": {"name": "lab", "seed": SEED},
                "model": {"features": 2, "classes": ["a", "b"]},
                "rounds": {"quorum": len(DEVICES), **self.rounds},
                **tables,
            }
        )

    def start(self, tables: Mapping[str, Any], back: Rollback | None = None, generation: int = 0) -> None:
        self.settings = self.settings_of(tables)
        if back is not None:
            life = self.ledger.meta()
            assert life is not None
            require_wishable(self.settings, self.ledger, beginning_of(self.ledger, life, back), back)
        seen = TakeUp(self.watch, generation=generation or None)
        state = take_up(self.settings, self.ledger, OURS, seen, back=back)
        link = MqttTransport(self.settings.broker, "aggregator", lambda _: None)
        link.reply = lambda said: self.receipts.append(unpack(said.payload, Receipt))  # type: ignore[method-assign]
        self.runtime = Runtime(
            self.settings, state, self.ledger, link, self.jobs.append, lambda _: None, now_s=lambda: 0.0
        )
        self.runtime.begin()
        self.runtime.turn([on.LinkUp(0.0), on.BlobsPublished(0.0, state.round, None)])
        able = status().model_copy(update={"can": tuple(sorted(can()))})
        for device in self.devices:
            self.runtime.turn([on.StatusSeen(0.0, device, able)])

    @property
    def state(self) -> Any:
        return self.runtime.now().state

    def send(self, device: str, message: Any) -> Receipt:
        (frame,) = frames(message)
        topic = Topics("lab").update(device)
        self.runtime.turn([MessageArrived(topic, pack(frame), False, None, 1, 1)])
        return self.receipts[-1]

    def finish(self) -> None:
        """The job that was given is done, and the next round is announced."""
        with read_only(self.path):
            self.runtime.turn([close(lambda: read_only(self.path), self.jobs[-1])])
        self.runtime.turn([on.BlobsPublished(0.0, self.state.round, None)])

    def survey(self) -> None:
        columns = Moments(np.full(2, 100.0), np.zeros(2), np.ones(2)).to_bytes()
        for device in self.devices:
            said = survey(device, self.state.round, base=self.state.task.digest, features=columns)
            assert self.send(device, said).verdict == "admitted"
        self.finish()

    def update(self, device: str, **changes: Any) -> Any:
        here = self.state.round
        usual = {
            "base": self.state.model.digest,
            "codec": "toy-halves",
            "kind": "delta",
            "samples": 20,
            "body": Halves().encode(told(here.round, device))[0],
            "vectors": {"control": Halves().encode(told(here.round, device, "control"))[0]},
        }
        return update(device, here, **{**usual, **changes})

    def sparse(self, device: str, *further: str) -> Any:
        """An update in the codec `topk`, with further vectors."""
        codec = CODECS.make("topk")
        body, _ = codec.encode(told(self.state.round.round, device), codec.init(P), 0)
        return self.update(device, codec="topk", body=body, vectors=dict.fromkeys(further, body) or None)

    def train(self, rounds: int = 1) -> None:
        for _ in range(rounds):
            for device in DEVICES:
                receipt = self.send(device, self.update(device))
                assert (receipt.verdict, receipt.detail) == ("admitted", "")
            self.finish()

    def model(self, here: RoundId) -> Model:
        digest = self.ledger.model_of(here)
        assert digest is not None
        return unpack(self.ledger.content(digest), Model, max_bytes=MAX_SIZE)

    def weights(self, here: RoundId) -> np.ndarray:
        return float32.decode(self.model(here).body, P)

    def control(self, here: RoundId) -> np.ndarray:
        vectors = self.model(here).vectors
        assert vectors is not None
        assert vectors.keys() == {"control"}
        return float32.decode(vectors["control"], P)


def by_hand(
    first: np.ndarray,
    rounds: Sequence[int],
    devices: Sequence[str] = DEVICES,
    v: np.ndarray | None = None,
    beta: float = BETA,
) -> tuple[np.ndarray, np.ndarray]:
    """The weights after rounds that begin with `first`, and what the optimizer remembers then."""
    w, v = first, np.zeros(P) if v is None else v
    for number in rounds:
        sent = [w.astype(np.float64) + told(number, device) for device in devices]
        v = beta * v + (np.median(sent, axis=0) + 0.25).astype(np.float32).astype(np.float64) - w
        w = (w + v).astype(np.float32)
    return w, v


def half(*entries: float) -> bytes:
    return np.array(entries, "<f2").tobytes()
