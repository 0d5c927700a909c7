"""Devices whose owners pin a roster, and a server that enrols a device of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fedge.identity.certified_keys import read_own
from fedge.identity.pinned_roster import line_of
from tests.system.databases import query
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.masked_fleet import COLUMNS, check_last_sum, masked
from tests.system.production import Production, needs_mosquitto
from tests.system.toml_text import toml

pytestmark = [pytest.mark.system, needs_mosquitto]
KNOWN = ("device-0", "device-1", "device-2")


@pytest.fixture
def secure(greenhouse: Production, tmp_path: Path) -> Iterator[FleetOfProcesses]:
    with FleetOfProcesses(tmp_path / "fleet", greenhouse.broker, greenhouse) as fleet:
        yield fleet


def pin(fleet: FleetOfProcesses, production: Production) -> None:
    """Let the owners of the known devices require masks, and know each other's keys."""
    files = {name: production.identity(name) for name in KNOWN}
    roster = fleet.folder / "roster"
    lines = [line_of(name, read_own(file, file).public) for name, file in files.items()]
    roster.write_text("\n".join(lines))
    asked = toml({"require": ["masked"], "roster": str(roster)})
    for name in KNOWN:
        config = fleet.devices[name].config
        config.write_text(config.read_text().replace("[trust]\n", f"[trust]\n{asked}\n"))


def test_a_device_that_the_server_has_enrolled_is_refused_and_the_others_learn_without_it(
    secure: FleetOfProcesses, greenhouse: Production
) -> None:
    """They require masks, so there is no survey: the settings give means and spreads."""
    masked(secure, devices=4, rounds=1, phase_s=4.0, columns=COLUMNS)
    pin(secure, greenhouse)
    secure.start_devices()
    secure.start_aggregator("--exit-when-done")
    secure.until(
        lambda: all("does not know device-3" in secure.log(name) for name in KNOWN), "all three refuse it"
    )
    secure.until(lambda: "leaves secure aggregation (stranger)" in secure.log(), "the server is told")
    assert query(secure.ledger, "SELECT count(*) FROM masked_sums") == [(0,)]
    secure.kill("device-3")
    assert secure.ends() == 0
    check_last_sum(secure, set(KNOWN))
