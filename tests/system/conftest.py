"""A broker for each test, and a fleet of real processes around it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.demo import broker as brokers
from fleet.demo.broker import Broker
from tests.system.federations import undisturbed
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.operations_page import Shell
from tests.system.production import Production, production
from tests.system.versions import Version, recorded


def _kinds() -> list[str]:
    """The brokers named in FEDGE_TEST_BROKERS; else Mosquitto where there is one, else the embedded one."""
    named = [kind.strip() for kind in os.environ.get("FEDGE_TEST_BROKERS", "").split(",") if kind.strip()]
    return named or ["auto"]


@pytest.fixture(params=_kinds())
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    with brokers.start(request.param, tmp_path / "broker") as broker:
        yield broker


@pytest.fixture
def fleet(broker: Broker, tmp_path: Path) -> Iterator[FleetOfProcesses]:
    with FleetOfProcesses(tmp_path / "fleet", broker) as fleet:
        yield fleet


@pytest.fixture(scope="session")
def undisturbed_model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The digest of the final model of `federations.steady`, learnt without any accident."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with brokers.start(_kinds()[0], folder / "broker") as broker, FleetOfProcesses(folder, broker) as fleet:
        return undisturbed(fleet)


@pytest.fixture(scope="session")
def version_0_2_0(tmp_path_factory: pytest.TempPathFactory) -> Version:
    """The programs of version 0.2.0: `tests.system.versions.start` runs them."""
    return recorded("0.2.0", tmp_path_factory.mktemp("version-0.2.0") / "programs")


@pytest.fixture
def shell(fleet: FleetOfProcesses) -> Shell:
    """Where the operator of `fleet` types."""
    return Shell(fleet)


@pytest.fixture
def greenhouse() -> Iterator[Production]:
    """A federation with its certificates, and its broker."""
    with production() as made:
        yield made
