"""A federation whose devices share the noise, of real processes: its sums have it, and are paid for."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregator.aggregation.replay import replay
from aggregator.config import FederationSettings
from fedge.masking.noise import NoisyLevels
from tests.system.databases import query
from tests.system.federations import CLASSIFIER, motions
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.masked_fleet import SEED, buried, check_last_sum, loses_one, lost_at, promised
from tests.system.private_fleet import COLUMNS, history
from tests.system.production import Production, needs_mosquitto

pytestmark = [pytest.mark.system, needs_mosquitto]

PRIVACY: dict[str, Any] = {
    "mechanism": "distributed",
    "epsilon": 12.5,
    "noise_multiplier": 1.0,
    "rounds": 3,
    "cohort": 4,
    "clip": 1.0,
    "columns": COLUMNS,
}
"""Three releases at z = 1 cost less than four, which cost less than ε = 12 (`test_privacy`); shares add a
little."""
OWNERS = '[trust]\nrequire = ["private", "masked"]\nadversary = "server"\n'


@pytest.fixture
def secure(greenhouse: Production, tmp_path: Path) -> Iterator[FleetOfProcesses]:
    with FleetOfProcesses(tmp_path / "fleet", greenhouse.broker, greenhouse) as fleet:
        yield fleet


def noisy(fleet: FleetOfProcesses, rounds: int = 2, owners: str = OWNERS, **changes: Any) -> None:
    fleet.configure(
        federation={"seed": SEED},
        model=CLASSIFIER,
        plan={"epochs": 3, "batch_size": 8, "learning_rate": 0.05},
        rounds={"quorum": 3, "deadline_s": 300.0},
        stopping={"rounds": rounds},
        masking={"on": True, "cohort": 4, "phase_s": 4.0},
        privacy={**PRIVACY, **changes},
    )
    for number in range(4):
        name = f"device-{number}"
        if name not in fleet.devices:
            device = fleet.device(name, *motions(number))
            device.config.write_text(device.config.read_text().replace("[trust]\n", owners))


def levels_of(fleet: FleetOfProcesses) -> NoisyLevels:
    """As the settings give them: the sum's own value bits and clip must be these."""
    found = FederationSettings.load(fleet.folder / "federation.toml").noisy_levels()
    assert found is not None
    return found


def test_devices_share_the_noise_and_the_ledger_holds_no_update(secure: FleetOfProcesses) -> None:
    noisy(secure)
    secure.start_devices()
    secure.start_aggregator("--exit-when-done")
    assert secure.ends() == 0
    rows = [(row.round, row.kind, row.devices) for row in secure.rounds()]
    assert rows == [(0, "given", 0), (1, "masked", 4), (2, "masked", 4)]
    assert [each.position.round for each in history(secure).charges] == [1, 2]
    check_last_sum(secure, set(secure.devices))
    assert all(replay(secure.ledger, number, SEED).same for number in range(3))
    assert query(secure.ledger, "SELECT DISTINCT rule FROM rounds WHERE kind = 'masked'") == [
        ("masked-private-mean/1",)
    ]
    ledger = secure.ledger.read_bytes()
    for name in secure.devices:
        assert promised(secure, name).astype("<i2").tobytes()[:64] not in ledger, name
    # Each device's levels have its share of the noise: without it no entry would be beyond the sensitivity.
    levels = levels_of(secure)
    share = float(levels.grid.sensitivity) / levels.honest**0.5
    spread = np.concatenate([promised(secure, name) for name in secure.devices]).std()
    assert 0.7 * share < spread < 1.5 * share


@pytest.mark.parametrize(
    ("point", "counts"), [pytest.param("Send.before:3", 3, marks=pytest.mark.slow), ("Send.before:4", 4)]
)
def test_a_device_that_dies_after_its_shares_leaves_enough_noise(
    secure: FleetOfProcesses, point: str, counts: int
) -> None:
    """t = 3 of 4. The share of who dies before its masked update is missing, and the sum has three, each a
    third of the noise; the sum is divided by the declared four all the same."""
    noisy(secure, rounds=1)
    loses_one(secure, point)
    found = check_last_sum(secure)
    assert len(found) == counts
    assert query(secure.ledger, "SELECT weight FROM masked_sums") == [(4,)]
    assert len(history(secure).charges) == 1


@pytest.mark.slow
def test_fewer_survivors_than_shares_release_nothing(secure: FleetOfProcesses) -> None:
    """Two of four are lost before their masked updates: the attempt fails, nothing is charged, and the next
    attempt has all shares."""
    noisy(secure, rounds=1)
    lost_at(secure, "Send.before:3", "device-0", "device-1")
    secure.start_devices("device-2", "device-3")
    secure.start_aggregator("--exit-when-done")
    buried(secure, "device-0", "device-1")
    secure.until(lambda: "secure aggregation failed in its phase input" in secure.log(), "it fails")
    assert history(secure).charges == ()
    assert query(secure.ledger, "SELECT count(*) FROM masked_sums") == [(0,)]
    secure.start_devices("device-0", "device-1")
    assert secure.ends() == 0
    (charge,) = history(secure).charges
    assert charge.position.attempt > 0
    assert len(check_last_sum(secure)) >= 3


def test_the_budget_ends_learning_and_no_generation_follows(secure: FleetOfProcesses) -> None:
    noisy(secure, rounds=9)
    secure.start_devices()
    secure.start_aggregator("--exit-when-done")
    assert secure.ends() == 0
    assert len(history(secure).charges) == 3
    assert "survey" not in secure.log()
    secure.start_aggregator("--exit-when-done", "--new-generation")
    assert secure.ends() == 77
    assert "privacy (spent)" in secure.log()
