"""The fleet that everything happens to: many small devices, and rounds that go on without some of them."""

from typing import Any

from tests.system.federations import CLASSIFIER, motions
from tests.system.fleet_of_processes import FleetOfProcesses


def robust(
    fleet: FleetOfProcesses,
    devices: int,
    rounds: int,
    *,
    quorum: int | None = None,
    deadline_s: float = 20.0,
    keep_rounds: int | None = None,
    **tables: Any,
) -> None:
    """Write a federation whose rounds close without the absent; its ledger keeps all of them by default."""
    fleet.configure(
        federation={"seed": 7},
        model=tables.pop("model", CLASSIFIER),
        plan={"epochs": 2, "batch_size": 8, "learning_rate": 0.05, "momentum": 0.5},
        rounds={"quorum": quorum or max(2, devices // 2), "deadline_s": deadline_s},
        stopping={"rounds": rounds},
        state={"folder": "state", "keep_rounds": keep_rounds or rounds + 5},
        **tables,
    )
    for number in range(devices):
        fleet.device(f"device-{number:02d}", *motions(number))


def closed(fleet: FleetOfProcesses) -> int:
    """How many training rounds are closed."""
    return sum(row.closed and row.kind == "train" for row in fleet.rounds())
