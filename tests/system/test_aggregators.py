"""A federation has one aggregator at a time, and the next one goes on where the last one stood."""

import os
from typing import Any

import pytest

from tests.system.audit import check_books
from tests.system.databases import query
from tests.system.federations import CLASSIFIER, motions
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.wiretap import Wiretap
from tests.wording import assert_tells

pytestmark = [pytest.mark.system, pytest.mark.chaos]  # chaos: for the time it takes

DEADLINE_S = 600.0


def test_a_second_one_gives_way_and_a_restart_has_the_time_that_was_left(fleet: FleetOfProcesses) -> None:
    tables: dict[str, Any] = {
        "model": CLASSIFIER,
        "rounds": {"quorum": 3, "deadline_s": DEADLINE_S},  # whoever is slow to come is waited for
        "stopping": {"rounds": 2},
    }
    fleet.configure(**tables)
    for number in range(3):
        fleet.device(f"device-{number}", *motions(number))
    fleet.devices["device-2"].hold(2)
    first = fleet.start_aggregator("--exit-when-done")
    fleet.start_devices()
    fleet.until(lambda: fleet.admitted(1) == {"device-0", "device-1"}, "round 1 lacks device 2")
    before = fleet.answers(1)

    fleet.start_aggregator(name="same-folder")
    assert fleet.ends("same-folder") == os.EX_TEMPFAIL
    said = fleet.log("same-folder")
    assert_tells(said, f"{fleet.state}: ", f" {first.process.pid} ")

    fleet.configure("other.toml", **tables, state={"folder": "elsewhere"})
    fleet.start_aggregator(config="other.toml", name="same-federation")
    assert fleet.ends("same-federation") == os.EX_TEMPFAIL
    said = fleet.log("same-federation")
    assert_tells(said, f"'{fleet.name}'", fleet.broker.url, "instance ")

    assert fleet.answers(1) == before
    assert first.exit_code is None
    assert "WARNING" not in fleet.log()
    assert "ERROR" not in fleet.log()

    def elapsed_s() -> float:
        """What the ledger has of the open round; it is saved with every beat."""
        return float(query(fleet.ledger, "SELECT elapsed_s FROM rounds WHERE round = 1")[0][0])

    assert elapsed_s() > 0, "the beat that the other one saw has saved it"
    with Wiretap(fleet) as tap:
        fleet.until(lambda: tap.manifest() is not None, "the manifest arrives")
        fleet.kill("aggregator")
        saved_s = elapsed_s()
        fleet.start_aggregator("--exit-when-done")
        fleet.until(
            lambda: (m := tap.manifest()) is not None and m.seconds_left <= DEADLINE_S - saved_s,
            "the same round is announced with the time that was left",
        )
        manifest = tap.manifest()
        assert manifest is not None
        assert (manifest.round, manifest.attempt, manifest.state) == (1, 0, "open")
    assert fleet.answers(1) == before, "what was admitted stays admitted"

    fleet.devices["device-2"].release()
    assert fleet.ends() == 0
    assert [(row.attempt, row.devices) for row in fleet.rounds()] == [(0, 3)] * 3
    assert check_books(fleet) == 2
