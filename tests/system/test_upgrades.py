"""Aggregator and devices of different versions learn together, whoever is upgraded first.

`recorded/` has what lay on the disks of a version's programs, stopped in the middle of round 2 of
`federations.steady`, and the programs themselves: made by `python -m tests.system.recording`.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from aggregator.aggregation import survey
from aggregator.aggregation.replay import replay
from aggregator.ledger.writing import Ledger
from fleet.demo import broker as brokers
from fleet.demo.broker import Broker
from tests.system.audit import check_books, check_stores
from tests.system.federations import steady
from tests.system.fleet_of_processes import PATIENCE_S, FleetOfProcesses
from tests.system.signing import Keys
from tests.system.versions import DEVICES, RECORDED, TO_COME, TODAY, Version, checked_out, reach, start
from tests.wording import assert_tells

pytestmark = pytest.mark.system

FIRST = "e7b4c85"
"""Version 0.1.0 as it was before anything here was secured, installed or kept."""
VERSIONS = sorted(folder.name for folder in RECORDED.iterdir())


@contextmanager
def left_behind(version: str, folder: Path, broker: Broker) -> Iterator[FleetOfProcesses]:
    """The fleet of `federations.steady` as a version left it, in the middle of round 2."""
    left = RECORDED / version
    keys = Keys(left, "recorded") if (left / "signing.key").exists() else None
    with FleetOfProcesses(folder, broker, keys) as fleet:
        steady(fleet)
        shutil.copytree(left / "aggregator", fleet.state)
        for name, device in fleet.devices.items():
            shutil.copytree(left / name, device.folder / "state")
        yield fleet


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """One kind is enough: a broker does not read what it carries."""
    with brokers.start("auto", tmp_path / "broker") as broker:
        yield broker


def finish(fleet: FleetOfProcesses, model: bytes | None = None, *, more_is_said: bool = False) -> None:
    """Let learning end, and look at everybody's books.

    Args:
        fleet: of `federations.steady`, with device-2 held.
        model: the digest that its final model has to have.
        more_is_said: of models too, so that ours of the same weights have other digests.
    """
    fleet.devices["device-2"].release()
    assert fleet.ends() == 0
    final = fleet.final_model()
    assert model in (final, None)
    fleet.until(lambda: all(d.held_model() == final for d in fleet.devices.values()), "all devices hold it")
    check_stores(fleet)
    assert check_books(fleet) == 4
    again = [replay(fleet.ledger, number, seed=7) for number in range(5)]
    assert all(each.same for each in again) or more_is_said
    assert again[0].rule in survey.RULES
    assert {each.rule for each in again[1:]} <= {"mean/1", "mean/2"}, "each by the program that closed it"
    for name in ("aggregator", *DEVICES):
        assert not [word for word in ("Traceback", "refused", "ERROR") if word in fleet.log(name)], name


@pytest.mark.slow
def test_a_later_version_works_with_this_one(fleet: FleetOfProcesses, undisturbed_model: bytes) -> None:
    """The aggregator first, then two devices; then it goes back, and leaves the devices ahead."""
    steady(fleet)
    fleet.devices["device-2"].hold(2)
    start(fleet, TODAY, "aggregator", *DEVICES)
    reach(fleet, 1)
    start(fleet, TO_COME, "aggregator")
    reach(fleet, 2)
    start(fleet, TO_COME, "device-0", "device-1")
    start(fleet, TODAY, "aggregator")
    reach(fleet, 3)
    finish(fleet, undisturbed_model, more_is_said=True)


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.replace(".", "_"))
def test_what_an_earlier_version_left_on_disk_is_taken_up(
    broker: Broker, tmp_path: Path, version: str
) -> None:
    with left_behind(version, tmp_path / "fleet", broker) as fleet:
        before = fleet.answers(2)
        assert set(before) == {"device-0", "device-1"}
        fleet.devices["device-2"].hold(9)
        start(fleet, TODAY, "aggregator", *DEVICES)
        finish(fleet)
        assert {name: fleet.answers(2)[name] for name in before} == before  # nobody was asked again


# ── 0.2.0 and this version, on the wire ────────────────────────────────────────────────────────────


@pytest.mark.slow
@pytest.mark.parametrize(
    "of_0_2_0",
    [("aggregator",), DEVICES, ("device-0",)],
    ids=lambda names: "+".join(names),
)
def test_0_2_0_takes_part_with_this_version_in_signed_rounds(
    broker: Broker,
    tmp_path: Path,
    version_0_2_0: Version,
    of_0_2_0: tuple[str, ...],
) -> None:
    """Whoever is of 0.2.0, and the others of this version: nothing is refused.

    The bits are others: 0.2.0 tells a survey unrounded, and merges surveys by another rule.
    """
    with FleetOfProcesses(tmp_path / "fleet", broker, Keys.made(tmp_path, "both")) as fleet:
        steady(fleet)
        fleet.devices["device-2"].hold(2)
        start(fleet, version_0_2_0, *of_0_2_0)
        start(fleet, TODAY, *sorted({"aggregator", *DEVICES} - set(of_0_2_0)))
        reach(fleet, 1)
        finish(fleet)


@pytest.mark.slow
@pytest.mark.parametrize("order", [("aggregator", *DEVICES), (*DEVICES, "aggregator")], ids=lambda o: o[0])
def test_0_2_0_is_upgraded_in_the_middle_of_learning(
    fleet: FleetOfProcesses, version_0_2_0: Version, order: tuple[str, ...]
) -> None:
    steady(fleet)
    fleet.devices["device-2"].hold(2)
    start(fleet, version_0_2_0, "aggregator", *DEVICES)
    reach(fleet, 1)
    start(fleet, TODAY, order[0])
    reach(fleet, 2)
    start(fleet, TODAY, order[1])
    reach(fleet, 3)
    start(fleet, TODAY, *order[2:])
    finish(fleet)


@pytest.mark.slow
def test_0_2_0_goes_on_from_its_backup_and_from_nothing_newer(
    broker: Broker, tmp_path: Path, version_0_2_0: Version
) -> None:
    """As docs/operations.md says: what this version has migrated the older one refuses, and leaves whole."""
    backup = tmp_path / "before.backup"
    with left_behind("0.2.0", tmp_path / "fleet", broker) as fleet:
        config = fleet.folder / "federation.toml"

        def aggregator(*options: str) -> "subprocess.CompletedProcess[str]":
            command = version_0_2_0.command("aggregator", config, *options)
            return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)

        assert aggregator("backup", str(backup)).returncode == 0
        Ledger(fleet.ledger).close()  # as the first start of this version does
        migrated = fleet.ledger.read_bytes()
        refused = aggregator()
        assert refused.returncode == os.EX_IOERR
        assert_tells(refused.stderr, "ledger.db: ", "layout", "newer")
        assert fleet.ledger.read_bytes() == migrated
        assert aggregator("restore", str(backup), "--force").returncode == 0
        fleet.devices["device-2"].hold(9)
        start(fleet, version_0_2_0, "aggregator", *DEVICES)
        finish(fleet)


@pytest.mark.long
@pytest.mark.parametrize("order", [("aggregator", *DEVICES), (*DEVICES, "aggregator")], ids=lambda o: o[0])
def test_the_first_version_is_upgraded_in_the_middle_of_learning(
    fleet: FleetOfProcesses, tmp_path: Path, order: tuple[str, ...]
) -> None:
    first = checked_out(FIRST, tmp_path / "first")
    if first is None:
        pytest.skip(f"this clone's history does not have {FIRST}")
    steady(fleet)
    fleet.devices["device-2"].hold(2)
    start(fleet, first, "aggregator", *DEVICES)
    reach(fleet, 1)
    start(fleet, TODAY, order[0])
    reach(fleet, 2)
    start(fleet, TODAY, order[1])
    reach(fleet, 3)
    start(fleet, TODAY, *order[2:])
    finish(fleet)
