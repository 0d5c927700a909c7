"""Whoever dies at any moment of secure aggregation is started again, and the round has the same sum.

A death loses no message that was sent and none that was taken: the exchange goes on in its phase.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from tests.reliability.itineraries import MASKED
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.masked_fleet import buried, check_last_sum, lost_at, masked
from tests.system.production import Production, needs_mosquitto

pytestmark = [pytest.mark.system, needs_mosquitto, pytest.mark.chaos]

PHASES = 5
FOLLOWED = ("SaveState", "RaiseMark", "EndPhase", "KeepMasking", "SendMasking")
"""After these comes the next effect at once, so a death after them is nearly one before that."""


def marked(points: list[str]) -> list[ParameterSet]:
    """The points as parameters; those that are nearly another one are left to `make long`."""
    long = [pytest.mark.long]
    return [
        pytest.param(point, marks=long if point.startswith(FOLLOWED) and ".after" in point else [])
        for point in points
    ]


@pytest.fixture
def secure(greenhouse: Production, tmp_path: Path) -> Iterator[FleetOfProcesses]:
    with FleetOfProcesses(tmp_path / "fleet", greenhouse.broker, greenhouse) as fleet:
        yield fleet


def dies(fleet: FleetOfProcesses, name: str, point: str) -> None:
    """Start a program that dies at this point."""
    fleet.prefixes[name] = ("env", f"FEDGE_FAILPOINT={point}")
    fleet.start_aggregator("--exit-when-done") if name == "aggregator" else fleet.start_devices(name)
    fleet.prefixes.pop(name)


def dead(fleet: FleetOfProcesses, name: str) -> None:
    """Wait until a program has been killed by its failpoint, and start it again."""
    program = fleet.programs.pop(name)
    fleet.until(lambda: program.exit_code is not None, f"{name} dies")
    assert program.exit_code == -9
    fleet.start_aggregator("--exit-when-done") if name == "aggregator" else fleet.start_devices(name)


DEVICE = [
    f"{point}.{when}:{nth}"
    for point in MASKED["agent"]
    for when in ("before", "after")
    for nth in range(1, PHASES + 1)
]


@pytest.mark.parametrize("point", marked(DEVICE))
def test_a_device_dies_in_each_phase(secure: FleetOfProcesses, point: str) -> None:
    """Its state and its mark are written before it sends: what it sends again is the same."""
    masked(secure)
    dies(secure, "device-0", point)
    secure.start_devices("device-1", "device-2", "device-3")
    secure.start_aggregator("--exit-when-done")
    dead(secure, "device-0")
    assert secure.ends() == 0
    check_last_sum(secure, set(secure.devices))
    (row,) = [row for row in secure.rounds() if row.kind == "masked"]
    assert row.attempt == 0, "the same attempt went on"


AGGREGATOR = [
    *(f"{point}.{when}:{nth}" for point in ("EndPhase", "KeepMasking") for when in ("before", "after")
      for nth in (1, 2, 3, 4, 5)),
    *(f"SendMasking.{when}:{nth}" for when in ("before", "after") for nth in (1, 6, 10, 14, 18)),
    *(f"{point}.{when}:1" for point in ("BeginExchange", "ReadMasking") for when in ("before", "after")),
    # The survey closes first; then the masks are taken off, beside the loop.
    *(f"{point}.{when}:2" for point in ("CloseRound", "Average") for when in ("before", "after")),
]  # fmt: skip


@pytest.mark.parametrize("point", marked(AGGREGATOR))
def test_the_aggregator_dies_in_each_phase(secure: FleetOfProcesses, point: str) -> None:
    masked(secure)
    secure.start_devices()
    dies(secure, "aggregator", point)
    dead(secure, "aggregator")
    assert secure.ends() == 0
    check_last_sum(secure, set(secure.devices))
    (row,) = [row for row in secure.rounds() if row.kind == "masked"]
    assert row.attempt == 0, "the same attempt went on"


@pytest.mark.parametrize(
    "point",
    [f"{effect}.{when}:1" for effect in ("SaveNoSum", "DropExchange") for when in ("before", "after")],
)
def test_the_aggregator_dies_while_it_gives_a_sum_up(secure: FleetOfProcesses, point: str) -> None:
    """Two of four sign no survivors, so the round has no sum: it closes with its model, and once."""
    masked(secure, phase_s=4.0)
    lost = ("device-0", "device-1")
    lost_at(secure, "Send.before:4", *lost)
    secure.start_devices("device-2", "device-3")
    dies(secure, "aggregator", point)
    buried(secure, "aggregator", *lost)  # in any order
    secure.start_aggregator("--exit-when-done")
    secure.until(lambda: "its model stays as it was" in secure.log(), "the round has no sum")
    secure.start_devices(*lost)
    assert secure.ends() == 0
    rows = [row for row in secure.rounds() if row.kind == "masked"]
    assert [(row.round, row.devices, row.closed) for row in rows[:1]] == [(1, 0, True)]
    assert rows[1].devices == len(check_last_sum(secure)) >= 3
