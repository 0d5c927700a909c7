"""Devices that come late, or cannot take part: the round goes on, and everybody can see why."""

import pytest

from fedge.wire.reasons import Reason
from tests.system.audit import check_books
from tests.system.federations import CLASSIFIER, as_csv, motions
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.wiretap import Wiretap
from tests.wording import lines_telling

pytestmark = pytest.mark.system


def test_below_quorum_the_round_is_tried_again_under_its_number(fleet: FleetOfProcesses) -> None:
    fleet.configure(
        model=CLASSIFIER,
        rounds={"quorum": 3, "deadline_s": 1.5},
        stopping={"rounds": 2},
    )
    for number in range(3):
        fleet.device(f"device-{number}", *motions(number))
    straggler = fleet.devices["device-2"]
    straggler.hold(2)
    fleet.start_devices()
    fleet.start_aggregator("--exit-when-done")
    fleet.until(lambda: fleet.admitted(1) == {"device-0", "device-1"}, "round 1 lacks the straggler")
    before = fleet.answers(1)
    fleet.until(lambda: fleet.rounds()[-1].attempt >= 1, "the deadline passes")
    last = fleet.rounds()[-1]
    assert (last.round, last.closed) == (1, False)
    fleet.until(
        lambda: bool(lines_telling(fleet.log(), "round 1.1: ", "2 of 3 ", "attempt 1 ")), "it is told"
    )
    straggler.release()
    assert fleet.ends() == 0
    survey, first, second = fleet.rounds()
    assert (survey.devices, first.devices, second.devices) == (3, 3, 3)
    assert first.attempt >= 1
    assert fleet.answers(1).items() >= before.items(), "what was admitted stays admitted"
    assert check_books(fleet) == 2


def test_devices_that_decline_say_why_and_hold_nobody_up(fleet: FleetOfProcesses) -> None:
    fleet.configure(
        model=CLASSIFIER,
        rounds={"quorum": 2, "deadline_s": 3_600.0},  # were they waited for, the test would fail
        stopping={"rounds": 3},
    )
    for number in range(2):
        fleet.device(f"device-{number}", *motions(number))
    X, y = motions(2)
    fleet.csv_device("poor", as_csv(X[:21], y[:21]))
    fleet.csv_device("strange", as_csv(X, y).replace("light", "shadow", 1))
    fleet.csv_device("broken", as_csv(X, y).replace("still", "asleep", 1))
    fleet.devices["device-1"].hold(3)
    fleet.start_devices()
    with Wiretap(fleet) as tap:
        fleet.until(
            lambda: all((s := tap.status(name)) is not None and s.online for name in fleet.devices),
            "all devices are online",
        )
        fleet.start_aggregator("--exit-when-done")
        wanted = {
            "poor": (Reason.TOO_FEW_SAMPLES, "17 samples"),
            "strange": (Reason.WRONG_INPUT, "'light'"),
            "broken": (Reason.BAD_DATA, "classes"),
        }
        for name, (reason, text) in wanted.items():
            declined = tap.declined(name, 2)
            assert declined.reason == reason
            assert text in declined.detail
    fleet.devices["device-1"].release()
    assert fleet.ends() == 0
    assert [(row.attempt, row.devices) for row in fleet.rounds()] == [(0, 2)] * 4
    assert check_books(fleet) == 3
    for name, (reason, text) in wanted.items():
        told = lines_telling(fleet.log(), f"{name} ", f"({reason})", text)
        assert len(told) == 1, "once, and then it is counted"
    final = fleet.final_model()
    fleet.until(
        lambda: all(device.held_model() == final for device in fleet.devices.values()),
        "they hold the final model all the same",
    )
