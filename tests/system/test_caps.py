"""A device with more rows than the aggregator admits takes part with the newest of them."""

import pytest

from fedge.wire.messages.fields import MAX_SIZE
from fedge.wire.messages.message import unpack
from fedge.wire.messages.survey import Survey
from tests.system.databases import query
from tests.system.federations import CLASSIFIER, as_csv, motions
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.wording import lines_telling

pytestmark = pytest.mark.system


def test_of_200_rows_the_newest_50_are_trained_on(fleet: FleetOfProcesses) -> None:
    fleet.configure(
        federation={"max_samples": 50},
        model=CLASSIFIER,
        rounds={"quorum": 2, "target": 2, "deadline_s": 300.0},
        stopping={"rounds": 3},
    )
    fleet.csv_device("large", as_csv(*motions(0, n=200)))
    fleet.csv_device("small", as_csv(*motions(1, n=50)))
    fleet.start_aggregator("--exit-when-done")
    fleet.start_devices()
    assert fleet.ends() == 0

    answers = query(
        fleet.ledger,
        "SELECT round, device, verdict, samples FROM answers WHERE round > 0 ORDER BY round, device",
    )
    assert answers[:6] == [
        (number, device, "admitted", n)
        for number in (1, 2, 3)
        for device, n in (("large", 50), ("small", 40))
    ]
    pieces = query(
        fleet.ledger,
        "SELECT data FROM answers JOIN frames USING (device, digest)"
        " WHERE round = 0 AND device = 'large' AND verdict = 'admitted' ORDER BY i",
    )
    assert unpack(b"".join(data for (data,) in pieces), Survey, max_bytes=MAX_SIZE).samples == 50
    assert len(lines_telling(fleet.log("large"), "source data: ", " 50 ", " 50 of 160 ")) == 1
    assert not lines_telling(fleet.log("small"), "source data: ", " 50 ")
