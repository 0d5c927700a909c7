"""The broker is killed, again and again, alone and with the aggregator."""

import random
import statistics
import time
from pathlib import Path

import pytest

from tests.chaos.fleets import closed, robust
from tests.chaos.strict_broker import StrictBroker, needs_mosquitto, strict_broker
from tests.milestones import CONNECTED
from tests.system.audit import check_books, check_stores
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.wording import lines_telling

pytestmark = [pytest.mark.system, needs_mosquitto]

SHORT_LIFE_S = 3.0
"""Of an aggregator that keeps dying, from when it looks on: less than it waits for another one."""


def killed(folder: Path, times: int, devices: int) -> list[float]:
    """1, 2: SIGKILL in the middle of a round; how long two rounds then took, in seconds, sorted."""
    drawn, took_s = random.Random(times), []
    with strict_broker() as strict, FleetOfProcesses(folder, strict.broker, strict.access) as fleet:
        # Who is slow to come back is waited for that long, in each of the two rounds.
        robust(fleet, devices, rounds=100_000, deadline_s=8)
        fleet.start_devices()
        fleet.start_aggregator()
        fleet.until(lambda: closed(fleet) >= 1, "the first round is closed")
        for _ in range(times):
            time.sleep(drawn.uniform(0.1, 0.6))
            fleet.broker.kill()
            time.sleep(drawn.uniform(0.0, 0.5))
            before = closed(fleet)  # while nobody can close another
            fleet.broker.restart()
            began_s = time.monotonic()
            # One may be closing from what was admitted before; the one after it needs the devices.
            fleet.until(lambda before=before: closed(fleet) >= before + 2, "two rounds are closed")
            took_s.append(time.monotonic() - began_s)
        check_stores(fleet)
        assert check_books(fleet) > 0
    shown = sorted(took_s)
    print(
        f"killed {times} times: two rounds after {shown[0]:.1f} to {shown[-1]:.1f} s, "
        f"median {statistics.median(shown):.1f} s, 90 % within {shown[int(times * 0.9) - 1]:.1f} s"
    )
    return shown


@pytest.mark.chaos
def test_fault_01_the_broker_is_killed_five_times(tmp_path: Path) -> None:
    # Not the longest: of many deaths in a row each doubles the pauses, and a busy machine adds to them.
    assert statistics.median(killed(tmp_path / "fleet", times=5, devices=10)) <= 30


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_fault_01_the_broker_is_killed_a_hundred_times(tmp_path: Path) -> None:
    assert killed(tmp_path / "fleet", times=100, devices=20)[-1] <= 30


@pytest.mark.chaos
def test_fault_33_an_aggregator_that_keeps_dying_waits_only_once_for_what_it_said_itself(
    strict: StrictBroker, tmp_path: Path
) -> None:
    """The broker died with it and said no will: its own "online" from before lies there."""
    with FleetOfProcesses(tmp_path / "fleet", strict.broker, strict.access) as fleet:
        robust(fleet, devices=3, rounds=100_000, quorum=3)
        fleet.start_devices()
        fleet.start_aggregator()
        presence = f"{fleet.name}/service".encode()
        fleet.until(
            # Once as what its session subscribes to, once as the topic of the message.
            lambda: strict.database.exists() and strict.database.read_bytes().count(presence) >= 2,
            "the broker has saved that it is online",
        )
        fleet.broker.kill()
        fleet.kill("aggregator")
        fleet.broker.restart()

        def watches() -> int:
            return len(lines_telling(fleet.log(), "another aggregator", "watching"))

        served, lives = fleet.log().count(CONNECTED), 0
        while fleet.log().count(CONNECTED) == served:
            if "aggregator" in fleet.programs:
                fleet.kill("aggregator")
            lives += 1
            assert lives <= 8, "it begins its watch anew each time"
            looked_on = watches()
            fleet.start_aggregator()
            fleet.until(  # or what was said has aged away meanwhile, and nobody is watched any more
                lambda looked_on=looked_on: watches() > looked_on or fleet.log().count(CONNECTED) > served,
                "it looks on",
            )
            end_s = time.monotonic() + SHORT_LIFE_S
            while time.monotonic() < end_s and fleet.log().count(CONNECTED) == served:
                time.sleep(0.05)
        print(f"it served in its life {lives} of {SHORT_LIFE_S} s")
        assert lives > 1, "it did not have to wait: this shows nothing"
        before = closed(fleet)
        fleet.until(lambda: closed(fleet) > before, "rounds go on")
