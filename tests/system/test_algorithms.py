"""SCAFFOLD, and FedAdam on the server, in fleets of real processes: kills and copies change no bit."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregator.aggregation.server_state import unpack as unpack_state
from aggregator.core.parts import Parts
from fedge.algorithms.codecs import float32
from fedge.wire.messages.fields import MAX_SIZE
from fedge.wire.messages.message import unpack
from fedge.wire.messages.model import Model
from fedge.wire.messages.update import Update
from fleet.cli import replay
from fleet.demo.broker import Broker
from tests.system.databases import query
from tests.system.federations import CLASSIFIER, motions
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.operations_page import Shell

pytestmark = pytest.mark.system

ROUNDS = 3
LISTED = ("device-0", "device-1", "device-2", "never-there")
"""The fleet: three of four take part in each round."""
SHARE = 3 / 4


def configure(fleet: FleetOfProcesses, plan: dict[str, Any], **tables: Any) -> None:
    fleet.configure(
        federation={"seed": 7, "devices": LISTED},
        model=CLASSIFIER,
        plan={"epochs": 3, "batch_size": 8, "learning_rate": 0.05, **plan},
        rounds={"quorum": 3, "target": 3, "deadline_s": 300.0},
        stopping={"rounds": ROUNDS},
        **tables,
    )
    for number in range(3):
        fleet.device(f"device-{number}", *motions(number))


def model(fleet: FleetOfProcesses, number: int) -> Model:
    ((data,),) = query(
        fleet.ledger,
        "SELECT data FROM contents c JOIN rounds r ON c.digest = r.model"
        " WHERE (r.generation, r.round) = (1, ?)",
        number,
    )
    return unpack(data, Model, max_bytes=MAX_SIZE)


def vector(fleet: FleetOfProcesses, number: int, name: str) -> np.ndarray:
    told = model(fleet, number)
    body = told.body if name == "weights" else (told.vectors or {})[name]
    return float32.decode(body, len(told.body) // 4)


def sent(fleet: FleetOfProcesses, number: int, name: str) -> list[np.ndarray]:
    """What the devices sent in a round, put together from their frames."""
    found = []
    for device, (_, _, digest) in fleet.answers(number).items():
        pieces = query(
            fleet.ledger, "SELECT data FROM frames WHERE (device, digest) = (?, ?) ORDER BY i", device, digest
        )
        update = unpack(b"".join(data for (data,) in pieces), Update, max_bytes=MAX_SIZE)
        body = update.body if name == "weights" else (update.vectors or {})[name]
        found.append(float32.decode(body, len(update.body) // 4))
    return found


def all_replayed(fleet: FleetOfProcesses, rounds: int = ROUNDS) -> None:
    """As `fedge replay` does it; the command itself is in `tests.system.test_parts_from_outside`."""
    for number in range(rounds + 1):
        assert replay.run(fleet.folder / "federation.toml", number).same, number


def figures(fleet: FleetOfProcesses) -> list[float]:
    """The loss on the training parts before each round of training."""
    rows = query(fleet.ledger, "SELECT summary FROM rounds WHERE kind = 'train' ORDER BY round")
    return [json.loads(summary)["loss_before"] for (summary,) in rows]


def test_scaffold_learns_and_a_power_cut_changes_no_bit(tmp_path: Path, broker: Broker) -> None:
    ends = []
    for folder, cut in (("left alone", False), ("cut", True)):
        with FleetOfProcesses(tmp_path / folder, broker) as fleet:
            configure(fleet, {"local": "scaffold"}, rule={"weights": "uniform"})
            held = fleet.devices["device-2"]
            if cut:
                held.hold(3)  # the survey, round 1, and in round 2 it waits
            fleet.start_aggregator("--exit-when-done")
            fleet.start_devices()
            if cut:
                fleet.until(lambda: fleet.admitted(2) == {"device-0", "device-1"}, "round 2 waits")
                fleet.kill("aggregator")
                fleet.start_aggregator("--exit-when-done")
                held.release()
            assert fleet.ends() == 0, fleet.log()
            all_replayed(fleet)
            ends.append(tuple(vector(fleet, ROUNDS, name).tobytes() for name in ("weights", "control")))
            losses = figures(fleet)
            assert len(losses) == ROUNDS
            assert losses == sorted(losses, reverse=True), "it learns"
            control = np.zeros_like(vector(fleet, 0, "control"))
            assert not vector(fleet, 0, "control").any()
            for number in range(1, ROUNDS + 1):
                rows = query(fleet.ledger, "SELECT parts FROM rounds WHERE round = ?", number)
                assert Parts.read(rows[0][0]).fleet == len(LISTED)
                step = np.mean(sent(fleet, number, "control"), axis=0, dtype=np.float64)
                control = control + SHARE * step
                assert np.allclose(vector(fleet, number, "control"), control, rtol=1e-5, atol=1e-6)
            assert control.any()
    assert ends[0] == ends[1]


@pytest.mark.slow
def test_adams_state_is_in_a_backup_and_a_restored_ledger_goes_on_with_it(
    tmp_path: Path, broker: Broker
) -> None:
    models = []
    for folder, lost in (("left alone", False), ("lost", True)):
        with FleetOfProcesses(tmp_path / folder, broker) as fleet:
            configure(fleet, {}, server={"name": "adam"})
            held = fleet.devices["device-2"]
            if lost:
                held.hold(3)
            fleet.start_aggregator("--exit-when-done")
            fleet.start_devices()
            if lost:
                fleet.until(lambda: fleet.admitted(2) == {"device-0", "device-1"}, "round 2 waits")
                shell = Shell(fleet)
                shell.tell("Backing up")
                fleet.kill("aggregator")
                shutil.rmtree(fleet.state)
                shell.tell("Restoring")
                fleet.start_aggregator("--exit-when-done")
                held.release()
            assert fleet.ends() == 0, fleet.log()
            all_replayed(fleet)
            rows = query(fleet.ledger, "SELECT round, part, data FROM states ORDER BY round")
            assert [(number, part) for number, part, _ in rows] == [(n, "adam") for n in (1, 2, 3)]
            models.append(
                (fleet.final_model(), {k: v.tobytes() for k, v in unpack_state(rows[-1][2]).items()})
            )
    assert models[0] == models[1]
