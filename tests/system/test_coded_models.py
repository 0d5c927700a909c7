"""Coded models in fleets of real processes: kills and replay change no bit."""

from pathlib import Path

import pytest

from fleet.demo.broker import Broker
from tests.system.databases import query
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.test_algorithms import ROUNDS, all_replayed, configure, figures, vector

pytestmark = pytest.mark.system


@pytest.mark.parametrize("codec", ["float16", "int8", "int4"])
def test_a_fleet_learns_with_it_and_kills_change_no_bit(tmp_path: Path, broker: Broker, codec: str) -> None:
    ends = []
    for folder, cut in (("left alone", False), ("cut", True)):
        with FleetOfProcesses(tmp_path / folder, broker) as fleet:
            configure(fleet, {"model_codec": codec, "key_every": 1})
            held = fleet.devices["device-2"]
            if cut:
                held.hold(3)  # the survey, round 1, and in round 2 it waits
            fleet.start_aggregator("--exit-when-done")
            fleet.start_devices()
            if cut:
                fleet.until(lambda: fleet.admitted(2) == {"device-0", "device-1"}, "round 2 waits")
                for name in ("aggregator", "device-0"):
                    fleet.kill(name)
                fleet.start_devices("device-0")
                fleet.start_aggregator("--exit-when-done")
                held.release()
            assert fleet.ends() == 0, fleet.log()
            all_replayed(fleet)
            ends.append(vector(fleet, ROUNDS, "weights").tobytes())
            losses = figures(fleet)
            assert losses[-1] < losses[0], "it learns"
            codings = query(fleet.ledger, "SELECT round, codec FROM codings ORDER BY round")
            assert codings == [(number, codec) for number in range(1, ROUNDS + 1)]
    assert ends[0] == ends[1]
