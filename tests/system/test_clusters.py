"""Clusters in fleets of real processes: each kind of device finds its model; a kill changes no bit."""

import json
from pathlib import Path

import numpy as np
import pytest

from agent.shell import model_file
from aggregator.ledger.views import read_rounds
from fedge.algorithms.codecs import float32
from fedge.wire.messages.fields import MAX_SIZE
from fedge.wire.messages.message import unpack
from fedge.wire.messages.update import Update
from fleet.demo.broker import Broker
from tests.system.databases import query
from tests.system.federations import CLASSES, CLASSIFIER, motions
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.test_algorithms import all_replayed, model

pytestmark = pytest.mark.system

ROUNDS = 5
NAMES = tuple(f"device-{number}" for number in range(4))
OTHERWISE = dict(zip(CLASSES, (*CLASSES[1:], CLASSES[0]), strict=True))
"""What devices with an odd number call each class."""


def configure(fleet: FleetOfProcesses) -> None:
    fleet.configure(
        federation={"seed": 7},
        model=CLASSIFIER,
        personal={"name": "clusters", "models": 2},
        plan={"epochs": 3, "batch_size": 8, "learning_rate": 0.1},
        rounds={"quorum": 4, "target": 4, "deadline_s": 300.0},
        stopping={"rounds": ROUNDS},
    )
    for number, name in enumerate(NAMES):
        X, y = motions(number, n=90, leaning=0.4)
        fleet.device(name, X, np.array([OTHERWISE[each] for each in y]) if number % 2 else y)


def members(fleet: FleetOfProcesses, number: int) -> dict[str, int]:
    """Which model each device trained in a round, by its update as it is in the ledger."""
    found = {}
    for device, (_, _, digest) in fleet.answers(number).items():
        pieces = query(
            fleet.ledger, "SELECT data FROM frames WHERE (device, digest) = (?, ?) ORDER BY i", device, digest
        )
        update = unpack(b"".join(data for (data,) in pieces), Update, max_bytes=MAX_SIZE)
        found[device] = update.cluster or 0
    return found


def test_two_kinds_of_devices_find_their_models_and_a_kill_changes_no_bit(
    tmp_path: Path, broker: Broker
) -> None:
    ends = []
    for folder, cut in (("left alone", False), ("cut", True)):
        with FleetOfProcesses(tmp_path / folder, broker) as fleet:
            configure(fleet)
            held = fleet.devices[NAMES[3]]
            if cut:
                held.hold(3)  # the survey, round 1, and in round 2 it waits
            fleet.start_aggregator("--exit-when-done")
            fleet.start_devices()
            if cut:
                fleet.until(lambda: fleet.admitted(2) == set(NAMES[:3]), "round 2 waits")
                fleet.kill("aggregator")
                fleet.kill(NAMES[0])
                fleet.start_aggregator("--exit-when-done")
                fleet.start_devices(NAMES[0])
                held.release()
            assert fleet.ends() == 0, fleet.log()
            all_replayed(fleet, ROUNDS)
            of = members(fleet, ROUNDS)
            assert of[NAMES[0]] == of[NAMES[2]] != of[NAMES[1]] == of[NAMES[3]]
            last = read_rounds(fleet.ledger)[-1]
            assert last.kind == "evaluate"
            assert last.accuracy is not None
            assert last.accuracy > 0.8, "one model for both kinds is right on half of the rows at most"
            told_models = model(fleet, ROUNDS)
            assert told_models.vectors is not None
            assert told_models.vectors.keys() == {"cluster_1"}
            bodies = (told_models.body, told_models.vectors["cluster_1"])
            for name in NAMES:
                own = model_file.require(fleet.devices[name].folder / "state" / model_file.PERSONAL)
                size = len(own.decoded_model.body) // 4
                used = float32.decode(own.decoded_model.body, size)
                assert used.tobytes() == float32.decode(bodies[of[name]], size).tobytes()
            manifest = json.loads((fleet.folder / "export" / "manifest.json").read_text())
            assert [each["devices"] for each in manifest["clusters"]] == [2, 2]
            ends.append(bodies)
    assert ends[0] == ends[1]
