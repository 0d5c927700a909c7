"""Personal models in a fleet of real processes, with a wiretap on the broker."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from agent.core.state import SHARED, USES, PersonalState
from agent.shell import model_file
from agent.shell.memory import Memory
from agent.trainers import states
from aggregator.__main__ import main as aggregator
from fedge import load_model
from fedge.algorithms.codecs import float32
from fedge.algorithms.kept_parameters import UNTRAINED
from fedge.nn import first_weights
from fedge.wire.messages.fields import MAX_SIZE
from fedge.wire.messages.message import unpack
from fedge.wire.messages.update import Update
from fleet.demo.broker import Broker
from tests.system.databases import query
from tests.system.federations import CLASSIFIER, FEATURES, motions
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.test_algorithms import all_replayed, vector
from tests.system.wiretap import Wiretap
from tests.wording import lines_telling

pytestmark = pytest.mark.system

SEED, ROUNDS = 7, 3
P, HEAD = 5 * 12 + 12 + 12 * 3 + 3, 12 * 3 + 3


def learn(fleet: FleetOfProcesses, **personal: Any) -> None:
    fleet.configure(
        federation={"seed": SEED},
        model=CLASSIFIER,
        plan={"epochs": 3, "batch_size": 8, "learning_rate": 0.05},
        personal=personal,
        rounds={"quorum": 3, "target": 3, "deadline_s": 300.0},
        stopping={"rounds": ROUNDS},
    )
    for number in range(3):
        fleet.device(f"device-{number}", *motions(number))


def state_of(fleet: FleetOfProcesses, device: str) -> Path:
    return fleet.devices[device].config.parent / "state"


def own(fleet: FleetOfProcesses, device: str) -> tuple[PersonalState, dict[str, np.ndarray]]:
    memory = Memory(state_of(fleet, device) / "agent.db")
    try:
        found = memory.personal()
    finally:
        memory.close()
    assert found is not None
    return found, states.unpack(found.data)


def test_the_broker_carries_no_personal_entry(tmp_path: Path, broker: Broker) -> None:
    with FleetOfProcesses(tmp_path, broker) as fleet:
        learn(fleet, name="head")
        with Wiretap(fleet) as tap:
            fleet.start_aggregator("--exit-when-done")
            fleet.start_devices()
            assert fleet.ends() == 0
            carried = b"".join(topic.encode() + payload for topic, payload in tap.heard)
        for name in fleet.devices:
            fleet.terminate(name)
        weights = vector(fleet, ROUNDS, "weights")
        task = load_model(state_of(fleet, "device-0")).task
        first = first_weights(task.network, SEED, 1)
        assert weights[-HEAD:].tobytes() == first[-HEAD:].tobytes()
        for device in fleet.devices:
            state, arrays = own(fleet, device)
            head = arrays["part/values"]
            assert (state.name, head.shape) == ("head", (HEAD,))
            for entries in (head, head - first[-HEAD:], first[-HEAD:] - head):
                told = [v for v in entries if v and np.float32(v).tobytes() in carried]
                told += [v for v in entries if v and np.float32(v).astype(">f4").tobytes() in carried]
                assert not told
            used = load_model(state_of(fleet, device)).weights
            assert used.tobytes() == np.concatenate([weights[:-HEAD], head]).tobytes()
        # The search finds what is sent: the shared entries of each update, and none of the others.
        for device, (_, _, digest) in fleet.answers(ROUNDS).items():
            pieces = query(
                fleet.ledger,
                "SELECT data FROM frames WHERE (device, digest) = (?, ?) ORDER BY i",
                device,
                digest,
            )
            update = unpack(b"".join(data for (data,) in pieces), Update, max_bytes=MAX_SIZE)
            assert len(float32.decode(update.body, P - HEAD)) == P - HEAD
            assert update.body in carried
        all_replayed(fleet)
        folder = tmp_path / "export"
        manifest = json.loads((folder / "manifest.json").read_text())
        assert "1.weight, 1.bias" in manifest[UNTRAINED]
        told = {each.key: each.value for each in onnx.load(folder / "model.onnx").metadata_props}
        assert told[UNTRAINED] == manifest[UNTRAINED]
        assert lines_telling(fleet.log(), "1.weight", "1.bias")


@pytest.mark.slow
def test_predict_uses_the_devices_own_model_after_a_restart_and_in_a_new_generation(
    tmp_path: Path, broker: Broker
) -> None:
    with FleetOfProcesses(tmp_path, broker) as fleet:
        learn(fleet, name="ditto", compare=True)
        fleet.start_aggregator("--exit-when-done")
        fleet.start_devices()
        assert fleet.ends() == 0
        device = fleet.devices["device-1"]
        state, arrays = own(fleet, "device-1")
        X, _ = motions(1)
        np.savez(tmp_path / "new.npz", X=X, features=FEATURES)
        before = fleet.predict(device, tmp_path / "new.npz")
        assert before["model"] == USES[state.chose]
        for name in fleet.devices:
            fleet.kill(name)
        assert state.chose != SHARED, "this device has a use for a model of its own"
        file = state_of(fleet, "device-1") / model_file.PERSONAL
        file.unlink()  # as if the power had failed before it was written
        fleet.start_devices()
        fleet.until(file.exists, "the file is written again")
        assert fleet.predict(device, tmp_path / "new.npz") == before
        assert int(arrays["part/rounds"]) == ROUNDS + 1

        fleet.start_aggregator("--exit-when-done", "--new-generation")
        assert fleet.ends() == 0
        after, arrays = own(fleet, "device-1")
        assert (after.round.generation, after.task) == (2, state.task), "the data are the same"
        assert int(arrays["part/rounds"]) == 2 * (ROUNDS + 1), "the personal model goes on"


def test_check_says_what_stays_on_devices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "federation.toml").write_text(
        '[federation]\nname = "lab"\n[model]\nfeatures = ["u", "v"]\nclasses = ["a", "b"]\n'
        'layers = [{ type = "dense", units = 4 }, { type = "relu" }]\n[personal]\nname = "head"\n'
    )
    command = ["--config", str(tmp_path / "federation.toml"), "--check", "--json"]
    assert aggregator(command) == 0
    assert "1.weight, 1.bias" in json.loads(capsys.readouterr().out)["stays"]
