"""A codec that remembers, in real processes that are killed before they learn what became of an update."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fedge.service.failpoints import VARIABLE
from fedge.wire.messages.fields import MAX_SIZE
from fedge.wire.messages.message import unpack
from fedge.wire.messages.update import Update
from fleet.demo.processes import Program
from tests.counting_codec import count_of
from tests.system.databases import query
from tests.system.federations import CLASSIFIER, motions
from tests.system.fleet_of_processes import FleetOfProcesses

pytestmark = pytest.mark.system

EXTENSION = "tests.counting_codec:ENTRY"
AGGREGATOR = f"""
import sys
from fedge.algorithms.registry import load
load({EXTENSION!r})
from aggregator.__main__ import main
sys.exit(main(sys.argv[1:]))
"""
FORGETFUL = "device-2"


def begin(fleet: FleetOfProcesses, quorum: int, keep_rounds: int) -> None:
    """Three devices with the codec as an extension, of which one is not started yet."""
    fleet.configure(
        model=CLASSIFIER,
        plan={"epochs": 1, "codec": "counting"},
        rounds={"quorum": quorum, "target": 3, "deadline_s": 300.0},
        stopping={"rounds": 10_000},
        state={"folder": "state", "keep_rounds": keep_rounds},
    )
    for number in range(3):
        device = fleet.device(f"device-{number}", *motions(number))
        device.config.write_text(f'extensions = ["{EXTENSION}"]\n' + device.config.read_text())
    config = str(fleet.folder / "federation.toml")
    fleet.start_program("aggregator", [sys.executable, "-c", AGGREGATOR, "--config", config])
    fleet.start_devices("device-0", "device-1")


@contextmanager
def dies_at(point: str) -> Iterator[None]:
    os.environ[VARIABLE] = point
    try:
        yield
    finally:
        del os.environ[VARIABLE]


def killed_at(fleet: FleetOfProcesses, point: str) -> int:
    """Start the device, which kills itself there; returns the round of the update that it has saved."""
    with dies_at(point):
        fleet.start_devices(FORGETFUL)
    program: Program = fleet.programs.pop(FORGETFUL)
    fleet.until(lambda: program.exit_code is not None, f"{FORGETFUL} dies at {point}")
    assert program.exit_code == -9
    saved = fleet.devices[FORGETFUL].saved()
    assert saved is not None
    return saved[1]


def newest(fleet: FleetOfProcesses) -> int:
    return max((row.round for row in fleet.rounds()), default=0)


def counts(fleet: FleetOfProcesses) -> list[tuple[int, int, float]]:
    """Of the device's admitted updates by round: the round, what the codec counted, `state_new`."""
    rows = query(
        fleet.ledger,
        "SELECT round, i, data, metrics FROM answers JOIN frames USING (device, digest)"
        " WHERE device = ? AND verdict = 'admitted' AND round > 0 ORDER BY round, i",
        FORGETFUL,
    )
    bodies: dict[int, bytes] = {}
    told = {}
    for number, _, data, metrics in rows:
        bodies[number] = bodies.get(number, b"") + data
        told[number] = json.loads(metrics).get("state_new", 0.0)
    return [
        (number, count_of(unpack(whole, Update, max_bytes=MAX_SIZE).body), told[number])
        for number, whole in bodies.items()
    ]


@pytest.mark.slow
def test_killed_before_it_learns_the_verdict_each_admitted_update_counts_once(
    fleet: FleetOfProcesses,
) -> None:
    """Each round waits for all three, so that one is closed whose update the device knows nothing of."""
    begin(fleet, quorum=3, keep_rounds=1_000)
    asked = 0
    for point in (
        "SaveVerdict.before:3",  # the third: after the survey's and that of one round
        "SaveUpdate.before:1",
        "SaveUpdate.after:1",
        "SaveVerdict.before:2",
        "SaveVerdict.before:1",
        "SaveVerdict.after:1",
        "PublishUpdate.after:2",
        "SaveVerdict.before:2",
    ):
        number = killed_at(fleet, point)
        if point.startswith("SaveVerdict"):
            fleet.until(lambda number=number: newest(fleet) > number, "the round is closed")  # type: ignore[misc]
            saved = fleet.devices[FORGETFUL].saved()
            assert saved is not None
            asked += saved[3] is None and FORGETFUL in fleet.admitted(number)
    assert asked == 4, "it died between the ledger's verdict and its own"
    before = len(counts(fleet))
    fleet.start_devices(FORGETFUL)
    fleet.until(lambda: len(counts(fleet)) >= before + 3, "it takes part again")
    fleet.terminate(FORGETFUL)
    found = counts(fleet)
    assert [count for _, count, _ in found] == list(range(len(found)))
    assert [new for _, _, new in found] == [1.0] + [0.0] * (len(found) - 1)


def test_what_nobody_knows_any_more_begins_anew_and_says_so(fleet: FleetOfProcesses) -> None:
    begin(fleet, quorum=2, keep_rounds=2)
    number = killed_at(fleet, "SaveVerdict.before:3")
    fleet.until(lambda: newest(fleet) > number + 6, "the round is forgotten")
    assert number not in {round_ for round_, _, _ in counts(fleet)}
    fleet.terminate("device-1")  # from here on rounds wait for the one that is back
    number = killed_at(fleet, "SaveVerdict.before:2")  # the first one says that it is forgotten
    fleet.until(lambda: FORGETFUL in fleet.admitted(number), "its next update counts")
    assert counts(fleet) == [(number, 0, 1.0)]
    assert "forgotten" in fleet.log(), "the aggregator told it why"
