"""Whom deadlines wait for, and when they run: no silent device delays more than two rounds of ten."""

import time

import pytest

from fedge.wire.messages.envelope import unseal
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.message import pack
from fedge.wire.messages.status import Status
from tests.system.audit import check_books
from tests.system.federations import CLASSIFIER, motions
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.wiretap import Wiretap
from tests.wording import assert_tells, lines_telling

pytestmark = [pytest.mark.system, pytest.mark.slow]

DEADLINE_S = 5.0


def configure(fleet: FleetOfProcesses, rounds: int, deadline_s: float = DEADLINE_S) -> None:
    fleet.configure(
        model=CLASSIFIER,
        plan={"epochs": 1},
        rounds={"quorum": 2, "deadline_s": deadline_s},
        stopping={"rounds": rounds},
    )


def test_a_device_that_is_only_said_to_be_online_delays_two_rounds_and_is_awaited_when_it_answers(
    fleet: FleetOfProcesses,
) -> None:
    for number in range(3):
        fleet.device(f"device-{number}", *motions(number))
    with Wiretap(fleet) as tap:  # whose will never came
        stale = Status(online=True, boot=bytes(16), connection=1, version="0")
        tap.say(tap.topics.status("device-2"), pack(stale), retain=True)
        configure(fleet, 5)
        fleet.start_devices("device-0", "device-1")
        fleet.start_aggregator("--exit-when-done", name="first")
        assert fleet.ends("first") == 0
        assert [row.devices for row in fleet.rounds() if row.closed] == [2] * 6
        first, second = lines_telling(
            fleet.log("first"), " round 1.", ": ", "device-2"
        )  # and no round after these
        assert_tells(first, "INFO", "round 1.0: ")
        assert_tells(second, "WARNING", "round 1.1: ", "device-2", "round 1.11")  # when it is awaited again
        assert fleet.seen()["device-2"].missed == 2

        # It survives a restart; the deadline is one that would end this test.
        configure(fleet, 7, deadline_s=600.0)
        fleet.start_aggregator("--exit-when-done", name="again")
        assert fleet.ends("again") == 0

        # Rounds 6 and 9 only measured the model of the round before.
        configure(fleet, 8, deadline_s=600.0)
        for name in ("device-0", "device-1"):
            fleet.devices[name].hold(fleet.devices[name].reads + 1)
        fleet.start_aggregator("--exit-when-done", name="awaiting")
        fleet.start_devices("device-2")
        fleet.until(lambda: fleet.admitted(10) == {"device-2"}, "it is admitted though nobody waits for it")
        for name in ("device-0", "device-1"):
            fleet.devices[name].release()
        assert fleet.ends("awaiting") == 0
    assert lines_telling(fleet.log("awaiting"), "round 1.10: ", "device-2")
    assert fleet.seen()["device-2"].missed == 0
    assert check_books(fleet) == 8


def test_a_broker_that_is_away_for_longer_than_the_deadline_ends_no_attempt(fleet: FleetOfProcesses) -> None:
    for number in range(2):
        fleet.device(f"device-{number}", *motions(number))
    configure(fleet, 3)
    fleet.devices["device-1"].hold(2)
    with Wiretap(fleet) as tap:
        fleet.start_devices()
        fleet.start_aggregator("--exit-when-done")
        fleet.until(lambda: fleet.admitted(1) == {"device-0"}, "one of two has answered")
        fleet.until(lambda: fleet.devices["device-1"].reads == 2, "the other one is at work")
        fleet.broker.kill()
        fleet.until(lambda: fleet.is_cut_off(), "the aggregator knows")
        attempt, heard = fleet.rounds()[-1].attempt, len(tap.heard)
        back_s = time.monotonic() + 3 * DEADLINE_S
        fleet.devices["device-1"].release()
        fleet.until(
            lambda: (saved := fleet.devices["device-1"].saved()) is not None and saved[1] == 1,
            "it has trained while the broker is away",
        )
        fleet.until(lambda: time.monotonic() > back_s, "three deadlines have passed")
        assert (fleet.rounds()[-1].round, fleet.rounds()[-1].attempt) == (1, attempt)
        fleet.broker.restart()
        fleet.until(lambda: fleet.admitted(1) == {"device-0", "device-1"}, "what it has trained counts")
        assert fleet.ends() == 0
        before = {payload for _, payload in tap.heard[:heard]}  # the broker says what it retained once more
        said = [
            unseal(payload, Manifest)
            for topic, payload in tap.heard[heard:]
            if topic == tap.topics.round and payload not in before
        ]
    anew = [each for each in said if (each.round, each.attempt) == (1, attempt)]
    # The update may come, and close the round, before it is announced anew.
    assert all(each.seconds_left < DEADLINE_S for each in anew), "it is announced with what was left"
    assert [row.devices for row in fleet.rounds()] == [2] * 4
    assert check_books(fleet) == 3
