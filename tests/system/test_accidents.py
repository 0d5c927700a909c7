"""Programs die by SIGKILL in the middle of a round; the model that comes out is the same, bit for bit.

Device 2 is held at work in round 2, so the round is open and two of three updates are admitted: every
accident happens exactly there, however fast the machine is.
"""

from pathlib import Path

import pytest

from tests.system.audit import check_books, check_stores
from tests.system.federations import motions, steady, undisturbed
from tests.system.fleet_of_processes import FleetOfProcesses

pytestmark = pytest.mark.system

SURVEY, ROUND_1, ROUND_2 = 1, 2, 3
"""Which reading of its data a device does in which round, if it is never restarted."""


def in_mid_round(fleet: FleetOfProcesses, *held: str) -> dict[str, tuple[str, int, bytes]]:
    """Start `steady` and stop where round 2 has every answer but those of the `held`, who are at work on it.

    Returns the answers.
    """
    steady(fleet)
    for name in held:
        fleet.devices[name].hold(ROUND_2)
    fleet.start_aggregator("--exit-when-done")
    fleet.start_devices()
    others = fleet.devices.keys() - set(held)
    fleet.until(lambda: fleet.admitted(2) == others, "round 2 lacks only who is held")
    fleet.until(lambda: all(fleet.devices[name].reads == ROUND_2 for name in held), "they are at work")
    return fleet.answers(2)


def ends_as_if_nothing_had_happened(fleet: FleetOfProcesses, undisturbed_model: bytes) -> None:
    assert fleet.ends() == 0
    assert [(row.round, row.kind, row.attempt, row.closed, row.devices) for row in fleet.rounds()] == [
        (0, "survey", 0, True, 3),
        *[(number, "train", 0, True, 3) for number in (1, 2, 3, 4)],
    ]
    assert check_books(fleet) == 4
    fleet.until(
        lambda: all(device.held_model() == undisturbed_model for device in fleet.devices.values()),
        "all devices hold the final model",
    )
    check_stores(fleet)
    assert fleet.final_model() == undisturbed_model


@pytest.mark.slow
def test_the_same_seed_gives_the_same_model(fleet: FleetOfProcesses, undisturbed_model: bytes) -> None:
    assert undisturbed(fleet) == undisturbed_model
    assert check_books(fleet) == 4


def test_another_seed_gives_another_model(
    fleet: FleetOfProcesses, undisturbed_model: bytes, tmp_path: Path
) -> None:
    steady(fleet)
    federation = fleet.folder / "federation.toml"
    federation.write_text(federation.read_text().replace("seed = 7", "seed = 8"))
    fleet.start_aggregator("--exit-when-done")
    fleet.start_devices()
    assert fleet.ends() == 0
    assert fleet.final_model() != undisturbed_model


def test_the_aggregator_is_killed(fleet: FleetOfProcesses, undisturbed_model: bytes) -> None:
    before = in_mid_round(fleet, "device-2")
    fleet.kill("aggregator")
    fleet.start_aggregator("--exit-when-done")
    fleet.until(lambda: fleet.connections() == 2, "the aggregator is back")
    assert fleet.rounds()[-1].round == 2
    assert fleet.answers(2) == before, "what was admitted stays admitted"
    fleet.devices["device-2"].release()
    ends_as_if_nothing_had_happened(fleet, undisturbed_model)


def test_an_agent_is_killed_at_work_and_again_before_its_receipt(
    fleet: FleetOfProcesses, undisturbed_model: bytes
) -> None:
    in_mid_round(fleet, "device-1", "device-2")
    device = fleet.devices["device-2"]

    fleet.kill("device-2")
    fleet.start_devices("device-2")
    fleet.until(lambda: device.reads == ROUND_2 + 1, "it is at work again")

    fleet.pause("aggregator")  # its update will be with the broker, and no receipt will come
    device.release()
    fleet.until(lambda: (device.saved() or ())[1:2] == (2,), "it has saved its update")
    saved = device.saved()
    assert saved is not None
    assert saved[3] is None, "nobody can have answered"
    fleet.kill("device-2")
    fleet.resume("aggregator")
    fleet.until(lambda: fleet.admitted(2) >= {"device-0"}, "the aggregator goes on")
    fleet.start_devices("device-2")
    fleet.until(lambda: device.saved() == (*saved[:3], "admitted"), "it has its receipt for the same update")
    assert fleet.answers(2)["device-2"][2] == saved[2]
    assert device.reads == ROUND_2 + 1, "a saved update is said again and not trained again"

    fleet.devices["device-1"].release()
    ends_as_if_nothing_had_happened(fleet, undisturbed_model)


def test_the_broker_is_killed(fleet: FleetOfProcesses, undisturbed_model: bytes) -> None:
    in_mid_round(fleet, "device-2")
    fleet.broker.kill()
    fleet.devices["device-2"].release()
    fleet.until(lambda: (fleet.devices["device-2"].saved() or ())[1:2] == (2,), "it trains without a network")
    fleet.broker.restart()
    ends_as_if_nothing_had_happened(fleet, undisturbed_model)

    # Whatever the broker had forgotten was said again: one who never was there finds all of it.
    newcomer = fleet.device("newcomer", *motions(3))
    fleet.start_devices("newcomer")
    fleet.until(lambda: newcomer.held_model() == undisturbed_model, "the newcomer holds the final model")
