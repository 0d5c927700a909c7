"""The fleets in which a device does harm, as in docs/operations.md, "A bad model went out"."""

from tests.system.federations import CLASSIFIER
from tests.system.fleet_of_processes import FleetOfProcesses

SEED = 7
WALK = "A bad model went out"
GOOD = 12
"""The round of the page whose model is the last good one."""


def federation(fleet: FleetOfProcesses, rounds: int) -> None:
    fleet.configure(
        federation={"seed": SEED},
        model=CLASSIFIER,
        plan={"epochs": 3, "batch_size": 8, "learning_rate": 0.05, "momentum": 0.5},
        rounds={"quorum": 2, "deadline_s": 300.0, "clip_norm": 0.0},  # so that one device can do harm
        stopping={"rounds": rounds},
        state={"folder": "state", "keep_rounds": 2_000},  # ten of these rounds take two seconds
    )
