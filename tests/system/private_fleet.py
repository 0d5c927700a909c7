"""What tests of federations with differential privacy share."""

from aggregator.ledger.reading import read_only
from fedge.privacy import budget
from fedge.privacy.charges import History
from tests.system.federations import CENTRES, FEATURES, SPREAD
from tests.system.fleet_of_processes import FleetOfProcesses

COLUMNS = {
    name: [mean, 2 * spread]
    for name, mean, spread in zip(FEATURES, CENTRES.mean(axis=0).tolist(), SPREAD.tolist(), strict=True)
}
"""Means and spreads, near enough."""


def history(fleet: FleetOfProcesses) -> History:
    """What the federation's ledger says was released."""
    with read_only(fleet.ledger) as ledger:
        found = budget.read(ledger.privacy_history())
    assert isinstance(found, History)
    return found
