"""Devices of 0.2.0, of today and of a version to come in one federation: no round is lost, and none waits."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fedge import __version__
from tests import milestones
from tests.system.audit import check_books
from tests.system.federations import CLASSIFIER, motions
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.versions import (
    ABLE_TO_MORE,
    BEFORE_DRIVE,
    BEFORE_ENTROPY,
    TODAY,
    Version,
    begin,
    recorded,
)
from tests.system.wiretap import Wiretap
from tests.wording import lines_telling

pytestmark = pytest.mark.system

ROUNDS = 3
OLD, NEW = ("old-0", "old-1"), ("new-0", "new-1")
UUID, MACHINE_ID = "3f2504e0-4f89-41d3-9a0c-0305e82c3301", "9f86d081884c7d659a2feaa0c55ad015"


@pytest.fixture
def before(tmp_path: Path) -> Version:
    return recorded("0.2.0", tmp_path / "0.2.0")


def learn(
    fleet: FleetOfProcesses,
    plan: Mapping[str, Any],
    devices: Mapping[str, Version],
    by: Version,
    books: bool = True,
    **sections: dict[str, Any],
) -> None:
    """Learn to the end; a round that waited for somebody would wait for longer than the test does.

    The books are those of updates in float32; `books` is False for other codecs.
    """
    fleet.configure(
        federation={"seed": 7, **sections.pop("federation", {})},
        model=CLASSIFIER,
        plan={"epochs": 1, **plan},
        rounds={"quorum": 2, "deadline_s": 3_600.0},
        stopping={"rounds": ROUNDS},
        **sections,
    )
    with Wiretap(fleet) as tap:
        for number, (name, version) in enumerate(devices.items()):
            fleet.device(name, *motions(number))
            begin(fleet, version, name)
        fleet.until(
            lambda: all((status := tap.status(name)) is not None and status.online for name in devices),
            "all are online",
        )
    begin(fleet, by, "aggregator")
    assert fleet.ends() == 0
    assert len(fleet.rounds()) == ROUNDS + 1
    assert [row.attempt for row in fleet.rounds()] == [0] * (ROUNDS + 1)
    if books:
        assert check_books(fleet) == ROUNDS
    assert "Traceback" not in fleet.log()


def test_devices_of_0_2_0_and_of_today_learn_together(fleet: FleetOfProcesses, before: Version) -> None:
    learn(fleet, {}, dict.fromkeys(OLD, before) | dict.fromkeys(NEW, TODAY), TODAY)
    for number in range(ROUNDS + 1):
        assert fleet.admitted(number) == {*OLD, *NEW}
    assert fleet.admitted(ROUNDS + 1) == set(NEW), "those of today have measured the last model"
    assert lines_telling(fleet.log(), "[model] clip", "old-0", "old-1")


@pytest.mark.slow
def test_a_device_with_the_id_of_a_uuid_learns_beside_those_of_0_2_0(
    fleet: FleetOfProcesses, before: Version
) -> None:
    """Nothing that a device hears names another one, so they do not know what it is called."""
    fleet_of = dict.fromkeys(OLD, before) | dict.fromkeys((UUID, MACHINE_ID), TODAY)
    learn(fleet, {}, fleet_of, TODAY, federation={"devices": [*OLD, UUID, MACHINE_ID]})
    for number in range(ROUNDS + 1):
        assert fleet.admitted(number) == set(fleet_of)
    assert fleet.admitted(ROUNDS + 1) == {UUID, MACHINE_ID}
    final = fleet.final_model()
    fleet.until(lambda: all(d.held_model() == final for d in fleet.devices.values()), "all hold the model")
    for device in OLD:
        assert "Traceback" not in fleet.log(device)
        ignored = [line for line in fleet.log(device).splitlines() if "ignored" in line]
        assert all("kind" in line for line in ignored), "the last round is of a kind that it does not know"


@pytest.mark.slow
def test_an_aggregator_of_0_2_0_hears_no_long_id_and_the_device_says_so(
    fleet: FleetOfProcesses, before: Version
) -> None:
    learn(fleet, {}, dict.fromkeys(OLD, TODAY) | {UUID: TODAY}, before)
    for number in range(ROUNDS + 1):
        assert fleet.admitted(number) == set(OLD)
    assert lines_telling(fleet.log(UUID), "round 1.0: ", "unsupported", "0.2.0", "id")
    assert milestones.begins("survey") not in fleet.log(UUID)


@pytest.mark.slow
def test_who_does_not_know_a_rule_for_data_that_is_required_does_not_take_part(
    fleet: FleetOfProcesses, before: Version
) -> None:
    """Rules that are only proposed pass 0.2.0 by; if they are required it is not awaited, from round 0 on."""
    devices = dict.fromkeys(OLD, before) | dict.fromkeys(NEW, TODAY)
    learn(fleet, {}, devices, TODAY, data={"missing": "drop", "require": True})
    for number in range(ROUNDS + 1):
        assert fleet.admitted(number) == set(NEW)
        assert lines_telling(fleet.log(), f"round 1.{number}: ", "2 of 4", "data:missing")


@pytest.mark.slow
@pytest.mark.parametrize("plan", [{"proximal": 0.1}, {"codec": "half"}], ids=["plan field", "codec"])
def test_who_cannot_do_what_a_plan_requires_is_neither_awaited_nor_admitted(
    fleet: FleetOfProcesses, before: Version, plan: Mapping[str, Any]
) -> None:
    learn(fleet, plan, dict.fromkeys(OLD, before) | dict.fromkeys(NEW, ABLE_TO_MORE), ABLE_TO_MORE)
    ((name, value),) = plan.items()
    missing = f"codec:{value}" if name == "codec" else f"plan:{name}"
    assert fleet.admitted(0) == {*OLD, *NEW}, "each of them can describe its columns"
    for number in range(1, ROUNDS + 1):
        assert fleet.admitted(number) == set(NEW)
        assert lines_telling(fleet.log(), f"round 1.{number}: ", "2 of 4", missing, "old-0", "old-1")


@pytest.mark.slow
@pytest.mark.parametrize("plan", [{"proximal": 0.1}, {"codec": "half"}], ids=["plan field", "codec"])
def test_a_device_of_today_declines_what_a_version_to_come_asks(
    fleet: FleetOfProcesses, plan: Mapping[str, Any]
) -> None:
    learn(fleet, plan, dict.fromkeys(OLD, TODAY) | dict.fromkeys(NEW, ABLE_TO_MORE), ABLE_TO_MORE)
    ((name, value),) = plan.items()
    missing = f"codec:{value}" if name == "codec" else f"plan:{name}"
    for device in OLD:
        assert lines_telling(fleet.log(device), "round 1.1: ", "unsupported", __version__, missing)
        assert "malformed" not in fleet.log(device)
        assert milestones.begins("train") not in fleet.log(device)
    for number in range(1, ROUNDS + 1):
        assert fleet.admitted(number) == set(NEW)


@pytest.mark.parametrize(
    ("plan", "older", "missing"),
    [
        pytest.param({"codec": "drive"}, BEFORE_DRIVE, "codec:drive", id="codec", marks=pytest.mark.slow),
        pytest.param(
            {"codec": "int4", "codec_options": {"entropy": "zlib"}},
            BEFORE_ENTROPY,
            "codec:int4.entropy",
            id="option",
        ),
    ],
)
def test_who_lacks_a_codec_or_its_option_declines_and_is_named_and_the_others_learn(
    fleet: FleetOfProcesses, plan: Mapping[str, Any], older: Version, missing: str
) -> None:
    learn(fleet, plan, dict.fromkeys(OLD, older) | dict.fromkeys(NEW, TODAY), TODAY, books=False)
    for device in OLD:
        assert lines_telling(fleet.log(device), "round 1.1: ", "unsupported", __version__, missing)
        assert milestones.begins("train") not in fleet.log(device)
    assert fleet.admitted(0) == {*OLD, *NEW}, "each of them can describe its columns"
    for number in range(1, ROUNDS + 1):
        assert fleet.admitted(number) == set(NEW)
        assert lines_telling(fleet.log(), f"round 1.{number}: ", "2 of 4", missing, "old-0", "old-1")
