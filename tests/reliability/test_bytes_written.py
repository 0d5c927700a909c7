"""An SD card's life: how many bytes a device writes to its disk in a round, as the kernel counts them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fleet.datasets.digits import load_digits
from tests.system.databases import query
from tests.system.fleet_of_processes import FleetOfProcesses

pytestmark = pytest.mark.system


def written(fleet: FleetOfProcesses, name: str) -> int:
    """`write_bytes` of proc(5): what a process caused to be sent to the storage layer."""
    process = fleet.programs[name].process.pid
    fields = dict(line.split(": ") for line in Path(f"/proc/{process}/io").read_text().splitlines())
    return int(fields["write_bytes"])


def per_round(fleet: FleetOfProcesses, units: tuple[int, ...], rounds: int) -> tuple[float, float]:
    """Bytes that each of two devices writes in a round, and the size of an update."""
    digits = load_digits(devices=20)
    layers: list[dict[str, Any]] = []
    for width in units:
        layers += [{"type": "dense", "units": width}, {"type": "relu"}]
    fleet.configure(
        federation={"seed": 1},
        model={"features": 64, "classes": digits.classes, "layers": layers},
        plan={"epochs": 1, "batch_size": 32, "learning_rate": 0.05},
        rounds={"quorum": 2, "target": 2},
        stopping={"rounds": 100_000},
    )
    for number in range(2):
        hand = digits.devices[number]
        fleet.device(f"device-{number}", hand.features, np.array(hand.labels))
    fleet.start_aggregator()
    fleet.start_devices()

    def closed() -> int:
        return sum(row.closed for row in fleet.rounds())

    def read() -> tuple[int, int]:
        """Rounds closed and bytes written so far; it stands still meanwhile, and so does its round."""
        fleet.pause("device-0")
        so_far = closed(), written(fleet, "device-0")
        fleet.resume("device-0")
        return so_far

    fleet.until(lambda: closed() > 2, "learning is under way")
    first, before = read()
    fleet.until(lambda: closed() >= first + rounds, "the rounds have passed")
    last, after = read()
    (size,) = query(fleet.ledger, "SELECT size FROM frames ORDER BY rowid DESC LIMIT 1")[0]
    return (after - before) / (last - first), size


@pytest.mark.chaos
@pytest.mark.parametrize(
    "units", [pytest.param((64,), marks=pytest.mark.long), (200, 180)], ids=["19 KB", "205 KB"]
)
def test_a_device_writes_at_most_three_times_its_update(
    fleet: FleetOfProcesses, units: tuple[int, ...]
) -> None:
    """The update into the WAL, the model into its file, and whole pages of both; see docs/state.md."""
    bytes_written, size = per_round(fleet, units, rounds=50)
    print(f"{bytes_written:.0f} bytes a round, {bytes_written / size:.2f} times the update of {size}")
    if bytes_written == 0:
        pytest.skip("this file system does not count what is written to it")
    assert bytes_written <= 3 * size
