"""Twenty agents of which four attack: the robust rule learns what the sixteen honest ones learn alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregator.ledger.views import read_verdicts
from fleet.demo.broker import Broker
from tests.system.federations import CLASSES, CLASSIFIER, motions
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.test_attackers import attacks
from tests.system.test_learning import run_onnx

pytestmark = [pytest.mark.system, pytest.mark.slow]

HONEST, ATTACKERS, ROUNDS = 16, 4, 8
POINTS = 0.03
"""How far the accuracy may be below that of the honest alone."""
FLIP = json.dumps({"name": "sign-flip", "strength": 4.0})


def accuracy(fleet: FleetOfProcesses) -> float:
    """Of the exported model, on the rows of the honest devices."""
    rows = [motions(number) for number in range(HONEST)]
    X, y = np.concatenate([X for X, _ in rows]), np.concatenate([y for _, y in rows])
    answers = run_onnx(fleet.export / "model.onnx", X)
    return float((np.array(CLASSES)[answers.argmax(axis=1)] == y).mean())


def learns(folder: Path, broker: Broker, attackers: int, rule: dict[str, Any], seed: int) -> FleetOfProcesses:
    """A fleet that has learnt; its files are still there."""
    names = [f"device-{number:02}" for number in range(HONEST + attackers)]
    with FleetOfProcesses(folder, broker) as fleet:
        fleet.configure(
            federation={"seed": seed, "devices": names},
            model=CLASSIFIER,
            rule=rule,
            plan={"epochs": 3, "batch_size": 8, "learning_rate": 0.05},
            rounds={"quorum": len(names), "target": len(names), "deadline_s": 300.0},
            stopping={"rounds": ROUNDS},
            export={"folder": "export", "choose": "newest"},
        )
        for number, name in enumerate(names):
            fleet.device(name, *motions(number))
        fleet.start_devices(*names[:HONEST])
        for name in names[HONEST:]:
            attacks(fleet, name, FLIP)
        fleet.until_connected()
        fleet.start_aggregator("--exit-when-done")
        assert fleet.ends() == 0
    return fleet


@pytest.mark.parametrize("seed", [7])
def test_four_of_twenty_cost_no_more_than_three_points(tmp_path: Path, broker: Broker, seed: int) -> None:
    rule = {"name": "multi-krum", "f": ATTACKERS}
    alone = learns(tmp_path / "alone", broker, 0, {"name": "mean"}, seed)
    robust = learns(tmp_path / "robust", broker, ATTACKERS, rule, seed)
    mean = learns(tmp_path / "mean", broker, ATTACKERS, {"name": "mean"}, seed)
    best, kept, lost = accuracy(alone), accuracy(robust), accuracy(mean)
    assert best > 0.9
    assert kept >= best - POINTS
    assert lost < best - POINTS, f"this attack harms a mean: {lost}, and {best} without it"
    _, rows = read_verdicts(robust.ledger, ROUNDS)
    counted = {row.device: row.counted for row in rows}
    assert [counted[f"device-{number:02}"] for number in range(HONEST, HONEST + ATTACKERS)] == [
        0.0
    ] * ATTACKERS
