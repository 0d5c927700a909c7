"""Mosquitto as it is deployed, and what is learnt when nothing happens."""

from collections.abc import Iterator

import pytest

from tests.chaos.strict_broker import StrictBroker, strict_broker
from tests.system.federations import undisturbed
from tests.system.fleet_of_processes import FleetOfProcesses


@pytest.fixture
def strict() -> Iterator[StrictBroker]:
    with strict_broker() as strict:
        yield strict


@pytest.fixture(scope="session")
def undisturbed_model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The digest of the final model of `federations.steady`, learnt without any accident."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with strict_broker() as strict, FleetOfProcesses(folder, strict.broker, strict.access) as fleet:
        return undisturbed(fleet)
