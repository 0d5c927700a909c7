"""Codecs in fleets of real processes: they learn, and kills and replay change no bit."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleet.demo.broker import Broker
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.test_algorithms import ROUNDS, all_replayed, configure, figures, vector

pytestmark = pytest.mark.system

CODECS: dict[str, dict[str, Any]] = {
    "int4": {"codec": "int4"},
    "drive": {"codec": "drive"},
    "topk": {"codec": "topk", "codec_options": {"share": 0.2, "values": "int8"}},
}


def with_and_without_kills(folder: Path, broker: Broker, plan: dict[str, Any]) -> Iterator[FleetOfProcesses]:
    """Two fleets that have learned, replayed to the bit: one left alone, and one whose programs are killed in
    the middle of round 2. Both have to end with the same model."""
    ends = []
    for name, cut in (("left alone", False), ("cut", True)):
        with FleetOfProcesses(folder / name, broker) as fleet:
            configure(fleet, plan)
            held = fleet.devices["device-2"]
            if cut:
                held.hold(3)  # the survey, round 1, and in round 2 it waits
            fleet.start_aggregator("--exit-when-done")
            fleet.start_devices()
            if cut:
                fleet.until(lambda: fleet.admitted(2) == {"device-0", "device-1"}, "round 2 waits")
                for program in ("aggregator", "device-0"):
                    fleet.kill(program)
                fleet.start_devices("device-0")
                fleet.start_aggregator("--exit-when-done")
                held.release()
            assert fleet.ends() == 0, fleet.log()
            all_replayed(fleet)
            ends.append(vector(fleet, ROUNDS, "weights").tobytes())
            losses = figures(fleet)
            assert losses[-1] < losses[0], "it learns"
            yield fleet
    assert ends[0] == ends[1]


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(plan, id=name, marks=[] if name == "topk" else [pytest.mark.slow])
        for name, plan in CODECS.items()
    ],
)
def test_a_fleet_learns_with_it_and_kills_change_no_bit(
    tmp_path: Path, broker: Broker, plan: dict[str, Any]
) -> None:
    for _ in with_and_without_kills(tmp_path, broker, plan):
        pass
