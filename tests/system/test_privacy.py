"""A federation with differential privacy, of real processes: what it tells, pays for and refuses."""

from typing import Any

import pytest

from aggregator.aggregation.replay import replay
from aggregator.ledger.reading import read_only
from fedge.privacy import budget
from fedge.privacy.charges import History
from tests.system.databases import query
from tests.system.federations import CENTRES, CLASSIFIER, FEATURES, SPREAD, motions
from tests.system.fleet_of_processes import FleetOfProcesses

pytestmark = pytest.mark.system

COLUMNS = {
    name: [mean, 2 * spread]
    for name, mean, spread in zip(FEATURES, CENTRES.mean(axis=0).tolist(), SPREAD.tolist(), strict=True)
}
PRIVACY: dict[str, Any] = {
    "epsilon": 12.0,
    "noise_multiplier": 1.0,
    "rounds": 4,
    "cohort": 3,
    "clip": 1.0,
    "columns": COLUMNS,
}
"""Four releases at z = 1 are one at z = 1/2, which costs less than ε = 12 at δ = 1e-5."""


def private(fleet: FleetOfProcesses, rounds: int = 4, devices: int = 3, **changes: Any) -> None:
    fleet.configure(
        federation={"seed": 7},
        model=CLASSIFIER,
        plan={"epochs": 3, "batch_size": 8, "learning_rate": 0.05},
        rounds={"quorum": 3, "deadline_s": 300.0},
        stopping={"rounds": rounds},
        privacy={**PRIVACY, **changes},
    )
    for number in range(devices):
        name = f"device-{number}"
        if name not in fleet.devices:
            device = fleet.device(name, *motions(number))
            device.config.write_text(device.config.read_text() + '\n[trust]\nrequire = ["private"]\n')


def history(fleet: FleetOfProcesses) -> History:
    with read_only(fleet.ledger) as ledger:
        found = budget.read(ledger.privacy_history())
    assert isinstance(found, History)
    return found


def test_a_private_federation_learns_and_pays(fleet: FleetOfProcesses) -> None:
    private(fleet)
    fleet.start_devices()
    fleet.start_aggregator("--exit-when-done")
    assert fleet.ends() == 0
    assert [(row.round, row.kind, row.devices) for row in fleet.rounds()] == [
        (0, "given", 0),
        *[(number, "train", 3) for number in (1, 2, 3, 4)],
    ]
    charges = history(fleet).charges
    assert [each.position.round for each in charges] == [1, 2, 3, 4]
    for number in range(5):
        assert replay(fleet.ledger, number, 7).same, number
    seeds = [seed for (seed,) in query(fleet.ledger, "SELECT seed FROM noise")]
    assert len(set(seeds)) == 4
    # Nothing is told of the rows, and nothing of it is in what the aggregator says.
    for samples, metrics in query(fleet.ledger, "SELECT samples, metrics FROM answers"):
        assert samples == 1
        assert "loss" not in metrics
        assert "accuracy" not in metrics
    assert query(fleet.ledger, "SELECT DISTINCT samples FROM devices") == [(None,)]
    for word in ("loss", "accuracy"):
        assert word not in fleet.log().split("connected to")[1], word
