"""Personal models in a whole federation of real cores: the shared one keeps its bits, devices keep theirs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.core.state import PERSONAL, SHARED
from agent.data.dataset import fit
from agent.settings.data import DataSettings
from agent.shell import model_file
from agent.shell.memory import Memory
from agent.shell.memory_layout import FILE
from agent.sources.caller_sources import GivenArrays
from agent.trainers import personal, states
from aggregator.ledger.layout import FILE as LEDGER
from aggregator.ledger.views import read_rounds
from fedge import Algorithm, simulate
from fedge.algorithms.local.descent import train
from fedge.algorithms.local.shuffling import generator
from fedge.nn import Network, first_weights
from tests.fleet.library.fleets import CLASSIFIER, PLAN, fleet

ROUNDS, SEED = 3, 11
COMPARE = {"personal": {"compare": True}}


def learn(folder: Path, personal: str = "none", *, compare: bool = True, **options: Any) -> Any:
    return simulate(
        CLASSIFIER,
        fleet(),
        Algorithm(personal=personal, options={"personal": options} if options else {}),
        plan=PLAN,
        rounds=ROUNDS,
        seed=SEED,
        settings=COMPARE if compare else None,
        folder=folder,
    )


def kept(folder: Path, device: str) -> Any:
    memory = Memory(folder / "devices" / device / FILE)
    try:
        found = memory.personal()
    finally:
        memory.close()
    assert found is not None
    return found, states.unpack(found.data)


def figures(folder: Path) -> list[dict[str, dict[str, float]]]:
    """By round, by device."""
    from contextlib import closing

    from fedge.storage.databases import open_read_only

    with closing(open_read_only(folder / "state" / LEDGER)) as db:
        import json

        rows = db.execute("SELECT round, device, metrics FROM answers ORDER BY round").fetchall()
    found: list[dict[str, dict[str, float]]] = [{} for _ in range(ROUNDS + 2)]
    for number, device, metrics in rows:
        found[number][device] = json.loads(metrics)
    return found


def dataset(device: str, task: Any, *, chooses: bool = True) -> Any:
    source = GivenArrays(device, *fleet()[device]).read()
    return fit(source, task, DataSettings(), chooses=chooses)


def all_rows(network: Network, data: Any) -> tuple[Any, Any]:
    """The rows to train on, and after them those to choose by, prepared."""
    X, y = (np.concatenate(both) for both in ((data.X, data.choose_X), (data.y, data.choose_y)))
    return network.prepare(X), network.prepare_targets(y)


def test_without_personal_models_nothing_is_kept_and_the_model_has_its_bits(tmp_path: Path) -> None:
    plain = learn(tmp_path / "plain", compare=False)
    memory = Memory(tmp_path / "plain/devices/pi-0" / FILE)
    assert memory.personal() is None
    memory.close()
    assert not (tmp_path / "plain/devices/pi-0" / model_file.PERSONAL).exists()
    assert all("chose" not in each for each in figures(tmp_path / "plain")[1].values())
    again = simulate(CLASSIFIER, fleet(), plan=PLAN, rounds=ROUNDS, seed=SEED)
    assert again.model.weights.tobytes() == plain.model.weights.tobytes()


def test_personal_models_leave_the_shared_one_its_bits(tmp_path: Path) -> None:
    """Fine-tuning and Ditto leave the same rows to train on, and change nothing of what is sent."""
    models = [learn(tmp_path / name, name).model.weights.tobytes() for name in ("finetune", "ditto")]
    assert models[0] == models[1]


@pytest.mark.parametrize("name", ["none", "finetune", "ditto", "head"])
def test_what_is_measured_does_not_change_because_it_is_measured(name: str, tmp_path: Path) -> None:
    """With and without `compare`: the shared model, and which model each device uses, to the bit."""
    looked, plain = (learn(tmp_path / str(compare), name, compare=compare) for compare in (True, False))
    assert looked.model.weights.tobytes() == plain.model.weights.tobytes()
    for device in fleet():
        if name == "none":
            assert kept(tmp_path / "True", device)[0].chose == SHARED
            assert not (tmp_path / "True/devices" / device / model_file.PERSONAL).exists()
            continue
        (state, arrays), (other, others) = (kept(tmp_path / each, device) for each in ("True", "False"))
        assert arrays.pop("alone/weights").shape == looked.model.weights.shape
        assert state.chose == other.chose
        assert {key: each.tobytes() for key, each in arrays.items()} == {
            key: each.tobytes() for key, each in others.items()
        }


@pytest.mark.parametrize("name", ["none", "finetune"])
def test_the_model_alone_is_trained_by_the_plan_from_the_first_weights(name: str, tmp_path: Path) -> None:
    """On the rows that the shared model is trained on: with a personal model not on those to choose by."""
    result = learn(tmp_path / "f", name)
    task = result.model.task
    network, data = Network(task.network), dataset("pi-1", task, chooses=name != "none")
    w = first_weights(task.network, SEED, 1)
    X, y = network.prepare(data.X), network.prepare_targets(data.y)
    for number in range(1, ROUNDS + 1):
        w = train(network, w, X, y, PLAN, generator(SEED, 1, number, "pi-1|alone")).vector
    state, arrays = kept(tmp_path / "f", "pi-1")
    assert arrays["alone/weights"].tobytes() == w.tobytes()
    assert (state.round.round, state.name) == (ROUNDS + 1, name)
    last = figures(tmp_path / "f")[ROUNDS + 1]["pi-1"]
    right = network.evaluate(w, data.held_X, data.held_y)
    assert last["accuracy_alone"] == right.accuracy
    assert last["held_loss_alone"] == pytest.approx(right.loss)


def test_the_last_round_makes_the_personal_model_of_the_last_shared_one(tmp_path: Path) -> None:
    result = learn(tmp_path / "f", "finetune", compare=False, epochs=2)
    task, shared = result.model.task, result.model.weights
    network = Network(task.network)
    for device in fleet():
        data = dataset(device, task)
        plan = PLAN.model_copy(update={"epochs": 2})
        X, y = network.prepare(data.X), network.prepare_targets(data.y)
        rng = generator(SEED, 1, ROUNDS + 1, f"{device}|personal")
        tuned = train(network, shared, X, y, plan, rng).vector
        state, arrays = kept(tmp_path / "f", device)
        path = tmp_path / "f/devices" / device / model_file.PERSONAL
        held = model_file.require(path.with_name(model_file.FILE))
        assert state.base == held.model_digest
        told = figures(tmp_path / "f")[ROUNDS + 1][device]
        assert result.figures[device] == told
        assert told["chose"] == state.chose
        losses = [network.evaluate(w, data.choose_X, data.choose_y).loss for w in (shared, tuned)]
        assert state.chose == (PERSONAL if losses[1] < losses[0] else SHARED)
        rng = generator(SEED, 1, ROUNDS + 1, f"{device}|personal|all")
        again = train(network, shared, *all_rows(network, data), plan, rng).vector
        used = again if state.chose == PERSONAL else shared
        assert told["accuracy_personal"] == network.evaluate(used, data.held_X, data.held_y).accuracy
        assert told["accuracy_before"] == network.evaluate(shared, data.held_X, data.held_y).accuracy
        assert "accuracy_alone" not in told
        if state.chose == PERSONAL:
            assert arrays["model/weights"].tobytes() == again.tobytes()
            own = model_file.require(path)
            assert own.own is not None
            assert (own.own.chosen, own.own.name, own.own.base) == ("personal", "finetune", held.model_digest)
            assert own.decoded_model.round == ROUNDS
        else:
            assert state.chose == SHARED
            assert not path.exists()


@pytest.mark.parametrize("chose", [SHARED, PERSONAL])
def test_the_chosen_model_is_trained_with_the_rows_that_it_was_chosen_by(
    chose: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the model in use: what the next round begins from has not seen them."""
    monkeypatch.setattr(personal, "choose", lambda network, models, X, y: models[chose])
    result = learn(tmp_path / "f", "ditto")
    task, shared = result.model.task, result.model.weights
    network = Network(task.network)
    for device in fleet():
        state, arrays = kept(tmp_path / "f", device)
        assert state.chose == chose
        if chose == SHARED:
            assert "model/weights" not in arrays
            continue
        X, y = all_rows(network, dataset(device, task))
        rng = generator(SEED, 1, ROUNDS + 1, f"{device}|personal|all")
        again = train(network, arrays["part/v"], X, y, PLAN, rng, pull=0.1, anchor=shared).vector
        assert arrays["model/weights"].tobytes() == again.tobytes()


def test_dittos_model_is_trained_in_each_round(tmp_path: Path) -> None:
    learn(tmp_path / "f", "ditto")
    for device in fleet():
        state, arrays = kept(tmp_path / "f", device)
        assert int(arrays["part/rounds"]) == ROUNDS + 1  # and once more of the last shared model
        assert state.chose in (SHARED, PERSONAL)


def test_a_device_with_too_few_rows_uses_the_shared_model(tmp_path: Path) -> None:
    X, y = fleet()["pi-0"]
    devices = {**fleet(), "pi-few": (X[:26], y[:26])}  # 21 to train on; with 4 to choose by, 17
    simulate(
        CLASSIFIER,
        devices,
        Algorithm(personal="ditto"),
        plan=PLAN,
        rounds=2,
        seed=SEED,
        settings=COMPARE,
        folder=tmp_path / "f",
    )
    state, arrays = kept(tmp_path / "f", "pi-few")
    assert state.chose == SHARED
    assert {"part/v", "alone/weights"} <= arrays.keys()
    rows = read_rounds(tmp_path / "f/state" / LEDGER)
    assert rows[1].devices == len(devices)
