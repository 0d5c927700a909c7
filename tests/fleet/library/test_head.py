"""FedPer in a whole federation: the last layers stay on the devices, and nothing else changes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.shell import model_file
from aggregator.aggregation.replay import replay
from aggregator.ledger.layout import FILE as LEDGER
from fedge import Algorithm, ConfigError, Task, load_model, simulate
from fedge.algorithms.contribution import Contribution, order
from fedge.algorithms.local.descent import train
from fedge.algorithms.local.shuffling import generator
from fedge.algorithms.personal.head import Head, HeadOptions
from fedge.algorithms.protocols import Adapted
from fedge.algorithms.registry import PERSONAL
from fedge.algorithms.rules.mean import finish, partial
from fedge.nn import Network, first_weights
from fedge.wire.freshness import RoundId
from fleet.simulator import broker
from tests.fleet.library.fleets import CLASSIFIER, PLAN, fleet
from tests.fleet.library.test_personal import kept
from tests.wording import assert_tells

Array = NDArray[Any]
ROUNDS, SEED = 3, 11
MASK = Head(HeadOptions()).shared(CLASSIFIER.network)
P, Q = len(MASK), int(MASK.sum())
"""Of 32 weights (2 · 6 + 6 and 6 · 2 + 2) the last 14 stay."""


@dataclass
class Trained:
    """What the heads of all devices were in each round, and all that the broker carried."""

    values: list[Array] = field(default_factory=list)
    bodies: list[Array] = field(default_factory=list)
    carried: list[bytes] = field(default_factory=list)


@pytest.fixture
def tapped(monkeypatch: pytest.MonkeyPatch) -> Trained:
    """Record what a device trains, and every publication that the broker takes."""
    found, adapt, publish = Trained(), Head.adapt, broker.Broker._publish

    def adapting(self: Head, job: Any, start: Any, trained: Array | None, cancelled: Any) -> Adapted:
        if trained is not None:
            announced = job.weights
            for vector in (trained, trained - start.weights, trained - announced, announced - trained):
                found.values.append(vector[~MASK])
                found.bodies.append(vector[MASK])
        return adapt(self, job, start, trained, cancelled)

    def publishing(self: Any, piece: Any) -> None:
        found.carried.append(piece.topic.encode() + piece.payload)
        publish(self, piece)

    monkeypatch.setattr(Head, "adapt", adapting)
    monkeypatch.setattr(broker.Broker, "_publish", publishing)
    return found


def learn(folder: Path | None = None, local: str = "sgd", **settings: Mapping[str, Any]) -> Any:
    algorithm = Algorithm(personal="head", local=local)
    return simulate(
        CLASSIFIER, fleet(), algorithm, plan=PLAN, rounds=ROUNDS, seed=SEED, settings=settings, folder=folder
    )


def by_hand(task: Task) -> tuple[Array, dict[str, Array]]:
    """FedPer as its paper has it: the announced model, and each device's own last layers."""
    network, weights = Network(task.network), first_weights(task.network, SEED, 1)
    own = dict.fromkeys(fleet(), weights[~MASK])
    for number in range(1, ROUNDS + 1):
        updates = []
        for device in sorted(fleet(), key=order):
            data = plain(device, task)
            start = weights.copy()
            start[~MASK] = own[device]
            X, y = network.prepare(data.X), network.prepare_targets(data.y)
            ended = train(network, start, X, y, PLAN, generator(SEED, 1, number, device)).vector
            own[device] = ended[~MASK]
            updates.append(Contribution(device, len(data.X), ended[MASK]))
        weights = weights.copy()
        weights[MASK] = finish(partial(updates))[0]
    return weights, own


def plain(device: str, task: Task) -> Any:
    """Its data without a part to choose by: there is nothing to choose."""
    from agent.data.dataset import fit
    from agent.settings.data import DataSettings
    from agent.sources.caller_sources import GivenArrays

    return fit(GivenArrays(device, *fleet()[device]).read(), task, DataSettings())


def test_the_model_is_to_the_bit_what_the_paper_says(tmp_path: Path) -> None:
    result = learn(tmp_path / "f", rounds={"clip_norm": 0.0})
    weights, own = by_hand(result.model.task)
    assert result.model.weights.tobytes() == weights.tobytes()
    first = first_weights(result.model.task.network, SEED, 1)
    assert weights[~MASK].tobytes() == first[~MASK].tobytes(), "nobody has trained the shared last layers"
    for device, head in own.items():
        used = weights.copy()
        used[~MASK] = head
        assert load_model(tmp_path / "f/devices" / device).weights.tobytes() == used.tobytes()
        shared = load_model(tmp_path / "f/devices" / device / model_file.FILE).weights
        assert shared.tobytes() == weights.tobytes()


def test_no_personal_entry_is_ever_carried(tmp_path: Path, tapped: Trained) -> None:
    learn(tmp_path / "f")
    carried = b"".join(tapped.carried)
    assert len(tapped.values) == 4 * len(fleet()) * ROUNDS

    def leaks(vectors: list[Array]) -> list[float]:
        forms = ("<f4", ">f4", "<f8", ">f8")
        entries = {float(value) for vector in vectors for value in vector if abs(value) > 1e-9}
        return [v for v in entries for form in forms if np.array(v, form).tobytes() in carried]

    assert not leaks(tapped.values)
    shared = leaks(tapped.bodies[::4])  # the search finds what is sent
    assert len(shared) >= Q * len(fleet()) * ROUNDS - 5


def test_an_update_is_smaller_by_what_stays(tmp_path: Path) -> None:
    def bodies(folder: Path) -> set[int]:
        from contextlib import closing

        from fedge.storage.databases import open_read_only
        from fedge.wire.messages.fields import MAX_SIZE
        from fedge.wire.messages.message import unpack_one_of
        from fedge.wire.messages.update import Update

        with closing(open_read_only(folder / "state" / LEDGER)) as db:
            rows = db.execute(
                "SELECT data FROM frames f JOIN answers a USING (digest) WHERE a.round BETWEEN 1 AND ?",
                (ROUNDS,),
            ).fetchall()
        return {len(unpack_one_of(row[0], (Update,), max_bytes=MAX_SIZE).body) for row in rows}

    learn(tmp_path / "head")
    simulate(CLASSIFIER, fleet(), plan=PLAN, rounds=ROUNDS, seed=SEED, folder=tmp_path / "whole")
    assert bodies(tmp_path / "head") == {4 * Q}
    assert bodies(tmp_path / "whole") == {4 * P}


@pytest.mark.parametrize(
    ("local", "settings"),
    [
        ("sgd", {}),
        ("prox", {"server": {"name": "adam"}}),
        ("sgd", {"server": {"name": "momentum"}, "rounds": {"clip_norm": 1.0}}),
    ],
    ids=["sgd", "prox, adam", "clipped, momentum"],
)
def test_each_round_can_be_replayed_and_the_last_layers_stay(
    tmp_path: Path, local: str, settings: dict[str, Any]
) -> None:
    result = learn(tmp_path / "f", local, **settings)
    ledger = tmp_path / "f/state" / LEDGER
    for number in range(1, ROUNDS + 1):
        assert replay(ledger, number, SEED).same, number
    first = first_weights(result.model.task.network, SEED, 1)
    assert result.model.weights[~MASK].tobytes() == first[~MASK].tobytes()
    assert not np.array_equal(result.model.weights[MASK], first[MASK])


def test_a_devices_head_is_of_the_round_that_it_took_part_in(tmp_path: Path) -> None:
    learn(tmp_path / "f")
    state, arrays = kept(tmp_path / "f", "pi-1")
    assert (state.name, state.round) == ("head", RoundId(1, ROUNDS + 1))
    assert arrays["part/places"].tolist() == np.flatnonzero(~MASK).tolist()
    assert arrays["model/weights"][~MASK].tobytes() == arrays["part/values"].tobytes()


@pytest.mark.parametrize(
    ("algorithm", "facts"),
    [
        (Algorithm(personal="head", local="scaffold"), ("[personal] name", "[plan] local", '"scaffold"')),
        (Algorithm(personal="head", options={"personal": {"layers": 2}}), ("[personal] layers", "2")),
        (Algorithm(personal="head", options={"personal": {"names": "5"}}), ("[personal] names", "5", "0, 1")),
    ],
)
def test_what_cannot_be_is_refused_at_the_start(algorithm: Algorithm, facts: tuple[str, ...]) -> None:
    if algorithm.local == "scaffold":
        algorithm = Algorithm(personal="head", local="scaffold", options={"rule": {"weights": "uniform"}})
    with pytest.raises(ConfigError) as caught:
        simulate(CLASSIFIER, fleet(), algorithm, plan=PLAN.model_copy(update={"momentum": 0.0}), rounds=1)
    assert_tells(str(caught.value), *facts)


def test_layers_can_be_named() -> None:
    first = PERSONAL.make("head", {"names": "0"}).shared(CLASSIFIER.network)
    assert first is not None
    assert np.flatnonzero(~first).tolist() == list(range(18))
    assert np.flatnonzero(~MASK).tolist() == list(range(18, 32))
