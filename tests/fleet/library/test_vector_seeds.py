"""Device, aggregator, replay and the engine `fast` derive the same seed for each encoded vector."""

import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest

from aggregator.aggregation.replay import replay
from aggregator.core.parts import PartError
from aggregator.ledger.layout import FILE as LEDGER
from fedge import Algorithm, Plan, simulate
from fedge.algorithms.codecs.float32 import Float32
from fedge.algorithms.codecs.seeds import vector_seed
from fedge.algorithms.local.sgd import Sgd
from fedge.algorithms.registry import CODECS, Entry, registered
from fedge.algorithms.trainer import Trained
from fedge.errors import ProtocolError
from tests.fleet.library.fleets import CLASSIFIER, PLAN, fleet
from tests.fleet.library.test_buffered import SPEEDS, buffered

SEED, ROUNDS = 5, 4
HEAD = 16
"""Bytes of a seed."""


class Plain(Float32):
    """The change, as it is."""

    encodes: ClassVar[Literal["weights", "change"]] = "change"


class Turning(Plain):
    """The change with its entries in an order, and with signs, that the seed draws; nothing is lost.

    The seed stands in front of them, and no other seed reads the bytes."""

    exact: ClassVar[bool] = False

    def encode(self, vector: Any, state: object = None, seed: Any = None) -> Any:
        order, signs = self._drawn(len(vector), seed)
        return seed.to_bytes(HEAD, "big") + super().encode((signs * vector)[order])[0], {}

    def decode(self, body: bytes, size: int, seed: Any = None) -> Any:
        if body[:HEAD] != seed.to_bytes(HEAD, "big"):
            raise ProtocolError("encoded with another seed")
        order, signs = self._drawn(size, seed)
        found = np.empty(size, np.float32)
        found[order] = super().decode(body[HEAD:], size)
        found *= signs
        found.flags.writeable = False
        return found

    def max_bytes(self, size: int) -> int:
        return HEAD + 4 * size

    def _drawn(self, size: int, seed: int) -> tuple[Any, Any]:
        rng = np.random.default_rng(seed)
        return rng.permutation(size), rng.choice(np.array([-1, 1], np.float32), size)


PLAIN, TURNING = Entry("codec", "plain", Plain), Entry("codec", "turning", Turning)


class Sending(Sgd):
    """Sends its change as a second vector too."""

    receives = sends = ("more",)

    def run(self, job: Any, cancelled: Any) -> Trained:
        found = super().run(job, cancelled)
        more = found.vector - job.weights + np.float32(0.5) * job.received["more"]
        return replace(found, vectors={**found.vectors, "more": more})


SENDING = Entry("local", "sending", Sending)
CASES = {
    "sgd": ({}, PLAN, {}),
    "two vectors": (
        {"local": SENDING},
        Plan(epochs=2, batch_size=8, learning_rate=0.05),
        {},
    ),
    "half of the fleet, a part of the entries": (
        {"personal": "head"},
        PLAN,
        {"rounds": {"fraction": 0.5, "quorum": 2, "target": None}},
    ),
    "two models": ({"personal": "clusters", "options": {"personal": {"models": 2}}}, PLAN, {}),
    "older rounds": ({}, PLAN, buffered(2, max_staleness=8)),
}
BUILT_IN: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in sorted(CODECS.built_in())),
    ("topk", {"share": 0.2, "values": "int4"}),
]
FAST = ("sgd", "two vectors", "half of the fleet, a part of the entries")


@pytest.mark.parametrize("case", CASES)
def test_a_turned_change_makes_the_model_of_the_plain_one(case: str, tmp_path: Path) -> None:
    """Permutation and signs lose nothing, so the model is the same to the bit if all use the same seed."""
    parts, plan, settings = CASES[case]
    seconds = SPEEDS if case == "older rounds" else None
    given: dict[str, Any] = {"plan": plan, "rounds": ROUNDS, "seed": SEED, "settings": settings}
    plain = simulate(CLASSIFIER, fleet(), Algorithm(codec=PLAIN, **parts), seconds=seconds, **given)
    turning = Algorithm(codec=TURNING, **parts)
    folder = tmp_path / "run"
    cores = simulate(CLASSIFIER, fleet(), turning, seconds=seconds, folder=folder, **given)
    assert cores.model.weights.tobytes() == plain.model.weights.tobytes()
    if case in FAST:
        fast = simulate(CLASSIFIER, fleet(), turning, engine="fast", workers=1, **given)
        assert fast.model.weights.tobytes() == plain.model.weights.tobytes()
    with registered(TURNING, SENDING):
        for number in range(1, ROUNDS + 1):
            assert replay(folder / "state" / LEDGER, number, SEED).same, number


def test_replay_takes_the_seed_of_the_round_and_not_that_of_the_settings(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    simulate(CLASSIFIER, fleet(), Algorithm(codec=TURNING), plan=PLAN, rounds=1, seed=SEED, folder=folder)
    ledger = folder / "state" / LEDGER
    with registered(TURNING):
        assert replay(ledger, 1, SEED + 1).same
        with sqlite3.connect(ledger) as there:
            (text,) = there.execute("SELECT parts FROM rounds WHERE round = 1").fetchone()
            assert json.loads(text)["seed"] == SEED
            other = json.dumps({**json.loads(text), "seed": SEED + 1})
            there.execute("UPDATE rounds SET parts = ? WHERE round = 1", (other,))
        there.close()
        with pytest.raises(PartError, match="another seed"):
            replay(ledger, 1, SEED)


@pytest.mark.parametrize(("codec", "options"), BUILT_IN)
def test_each_round_of_each_codec_is_computed_again(
    codec: str, options: dict[str, Any], tmp_path: Path
) -> None:
    for name, settings in (("rounds", {}), ("buffered", buffered(2, max_staleness=8))):
        folder = tmp_path / name
        algorithm = Algorithm(codec=codec, options={"codec": options})
        seconds = SPEEDS if name == "buffered" else None
        simulate(
            CLASSIFIER,
            fleet(),
            algorithm,
            plan=PLAN,
            rounds=ROUNDS,
            seed=SEED,
            settings=settings,
            seconds=seconds,
            folder=folder,
        )
        for number in range(1, ROUNDS + 1):
            assert replay(folder / "state" / LEDGER, number, SEED).same, (name, number)


def test_each_argument_gives_another_seed() -> None:
    """SHA-256 of `codec|7|1|3|weights|pi-1`, its first 16 bytes, big-endian."""
    usual = (7, 1, 3, "pi-1", "weights")
    others = [(8, 1, 3, "pi-1", "weights"), (7, 2, 3, "pi-1", "weights"), (7, 1, 4, "pi-1", "weights")]
    others += [(7, 1, 3, "pi-2", "weights"), (7, 1, 3, "pi-1", "control"), (7, 3, 1, "pi-1", "weights")]
    found = {vector_seed(*each) for each in (usual, *others)}
    assert len(found) == 7
    assert all(0 <= seed < 2**128 for seed in found)
    assert vector_seed(*usual) == 0xB24716F8F06A538CA785455EEB832B14
