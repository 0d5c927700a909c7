"""Renewing without a gap: devices whose certificates end in seconds learn on, and after a restart."""

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.config import AgentSettings
from agent.enrolment.certificates import Present
from agent.enrolment.renew import renew
from fleet.demo.broker import LocalBroker
from tests.system.audit import check_books
from tests.system.federations import CLASSIFIER, motions
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.probes import Member, tls
from tests.system.production import Production, needs_mosquitto, production
from tests.system.registrars import registrar

pytestmark = [pytest.mark.system, needs_mosquitto]

LIFE_S = 40
"""Long enough to start two agents on a busy machine."""
DAY_S = 86_400


def certificates_live(place: Production, days: float) -> None:
    """From the next certificate on, and for a registrar that is started now."""
    path = place.folder.registrar_settings
    lines = [line for line in path.read_text().splitlines() if not line.startswith("device_days")]
    path.write_text("\n".join([*lines, f"device_days = {days!r}"]) + "\n")


@pytest.mark.chaos
def test_devices_learn_on_while_their_certificates_end_and_are_renewed(tmp_path: Path) -> None:
    with production() as place, FleetOfProcesses(tmp_path / "fleet", place.broker, place) as fleet:
        certificates_live(place, 365)
        with registrar(place.folder):
            fleet.configure(
                model=CLASSIFIER,
                rounds={"quorum": 2, "target": 2, "deadline_s": 60},
                stopping={"rounds": 100_000},
            )
            fleet.start_aggregator()
            certificates_live(place, LIFE_S / DAY_S)
            for number in range(2):
                fleet.device(f"pi-{number}", *motions(number))
            fleet.start_devices()
            old = {name: place.identity(name).read_bytes() for name in fleet.devices}
            ends = max(Present.read(place.identity(name)).not_after for name in fleet.devices)

            def learns_on(what: str) -> None:
                """Two more rounds, begun from here on."""
                number = len(fleet.rounds())
                fleet.until(lambda: len(fleet.rounds()) > number + 2, f"they learn {what}")

            learns_on("with their first certificates")
            assert datetime.now(UTC) < ends, "this machine is too slow: raise LIFE_S"
            for name, device in fleet.devices.items():
                environment = {
                    "FEDGE_AGENT_RENEWAL__PORT": str(place.provisioning_port),
                    "FEDGE_AGENT_RENEWAL__PASSWORD_FILE": str(place.home(name) / "renewal.password"),
                }
                settings = AgentSettings.load(device.config, environment)
                assert renew(settings, datetime.now(UTC), force=True).done
            while datetime.now(UTC) <= ends:
                learns_on("while the old certificates end")
                time.sleep(0.05)

            # Whoever is connected stays, though the certificate it came with is over ...
            learns_on("after the old certificates ended")
            for name, pem in old.items():
                kept = tmp_path / f"{name}.old"
                kept.write_bytes(pem)
                assert fleet.connections(name) == 1
                assert "certificate expired" in Member(place.port, tls(place.folder.ca, kept)).knock()

            # ... and whoever comes back comes with the new one.
            assert isinstance(place.broker, LocalBroker)
            place.broker.restart()
            learns_on("over a restart of the broker, with the new certificates")
            for name in old:
                assert fleet.connections(name) == 2
            assert not [row for row in fleet.rounds()[:-1] if row.devices != 2]
        assert check_books(fleet) > 10
