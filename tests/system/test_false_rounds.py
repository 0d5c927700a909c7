"""Rounds that nobody can have seen: who claims them moves nothing, and who was told of them comes back."""

import os
import subprocess
import sys
from functools import partial
from typing import Any

import pytest

from fedge.wire.messages.envelope import seal
from fedge.wire.messages.message import pack
from tests.system.audit import check_books
from tests.system.federations import CLASSIFIER, motions
from tests.system.fleet_of_processes import PATIENCE_S, FleetOfProcesses
from tests.system.wiretap import Wiretap
from tests.wording import lines_telling

pytestmark = pytest.mark.system

LAST = 2**31 - 2


def configure(fleet: FleetOfProcesses, rounds: int, **more: Any) -> None:
    fleet.configure(
        model=CLASSIFIER,
        plan={"epochs": 1},
        rounds={"quorum": 2, "deadline_s": 600.0, **more},
        stopping={"rounds": rounds},
    )


def closed(fleet: FleetOfProcesses) -> list[tuple[int, int, int]]:
    """Generation, round and devices that counted, of the newest generation's closed rounds that made a model.

    After the last one a round measures that model: the rounds of an aggregator that goes on come after it.
    """
    return [(row.generation, row.round, row.devices) for row in fleet.rounds() if row.closed]


def has_left(tap: Wiretap, device: str) -> bool:
    return (status := tap.status(device)) is not None and not status.online


def learn(fleet: FleetOfProcesses, name: str, *options: str) -> str:
    """Learn to the end; returns what the aggregator said."""
    fleet.start_aggregator("--exit-when-done", *options, name=name)
    assert fleet.ends(name) == 0, fleet.log(name)
    return fleet.log(name)


@pytest.mark.slow
def test_a_device_that_claims_the_last_generation_stops_nothing_and_burns_no_number(
    fleet: FleetOfProcesses,
) -> None:
    for number in range(3):
        fleet.device(f"device-{number}", *motions(number))
    fleet.start_devices()
    configure(fleet, 1, quorum=3)
    learn(fleet, "first")
    assert closed(fleet) == [(1, 0, 3), (1, 1, 3)]

    fleet.terminate("device-2")
    with Wiretap(fleet) as tap:
        fleet.until(partial(has_left, tap, "device-2"), "device 2 has left")
        said = tap.status("device-2")
        assert said is not None
        lie = said.model_copy(update={"generation": LAST, "round": 7})
        tap.say(tap.topics.status("device-2"), pack(lie), retain=True)

        configure(fleet, 2)
        (line,) = [line for line in learn(fleet, "next").splitlines() if "not believed" in line]
        assert f"device-2 ({LAST}.7)" in line
        assert "knows 1.3" in line
        assert closed(fleet) == [(1, 0, 3), (1, 1, 3), (1, 3, 2)]

        said_then = learn(fleet, "anew", "--new-generation")
        assert "generation 2 begins" in said_then
        assert closed(fleet) == [(2, n, 2) for n in range(3)]
        assert f"device-2 ({LAST}.7)" in said_then
    assert check_books(fleet) == 2


@pytest.mark.slow
def test_after_the_broker_lost_its_memory_the_first_to_come_back_does_not_decide(
    fleet: FleetOfProcesses,
) -> None:
    for number in range(3):
        fleet.device(f"device-{number}", *motions(number))
    fleet.start_devices()
    configure(fleet, 1, quorum=3)
    learn(fleet, "first")
    for name in fleet.devices:
        fleet.terminate(name)

    with Wiretap(fleet) as tap:
        for name in fleet.devices:
            fleet.until(partial(has_left, tap, name), f"{name} has left")
        said = tap.status("device-2")
        assert said is not None
        tap.clear()
        lie = said.model_copy(update={"round": 500})
        tap.say(tap.topics.status("device-2"), pack(lie), retain=True)

        configure(fleet, 2)
        fleet.start_aggregator("--exit-when-done")
        fleet.until(lambda: bool(lines_telling(fleet.log(), "waiting", " s ")), "the others are waited for")
        (line,) = lines_telling(fleet.log(), "waiting", " s ")
        assert "1 of the 3 devices that this ledger knows say" in line
        assert "device-2 (1.500)" in line
        fleet.start_devices("device-0", "device-1")
        assert fleet.ends() == 0, fleet.log()
    assert closed(fleet)[-1] == (1, 3, 2)
    assert check_books(fleet) == 2


@pytest.mark.slow
def test_in_a_fleet_of_two_one_stops_the_aggregator_neither_when_it_starts_nor_while_it_runs(
    fleet: FleetOfProcesses,
) -> None:
    for number in range(2):
        fleet.device(f"device-{number}", *motions(number))
    fleet.start_devices()
    configure(fleet, 1)
    learn(fleet, "first")
    assert closed(fleet) == [(1, 0, 2), (1, 1, 2)]

    fleet.terminate("device-1")
    with Wiretap(fleet) as tap:
        fleet.until(partial(has_left, tap, "device-1"), "device 1 has left")
        said = tap.status("device-1")
        assert said is not None
        tap.clear()  # the broker loses its memory, and the liar comes back first
        fleet.terminate("device-0")
        topic = tap.topics.status("device-1")
        tap.say(topic, pack(said.model_copy(update={"round": 500})), retain=True)
        configure(fleet, 2, quorum=1)
        fleet.devices["device-0"].hold(fleet.devices["device-0"].reads + 1)
        fleet.start_devices("device-0")
        fleet.start_aggregator("--exit-when-done")
        fleet.until(lambda: any(row.round == 3 for row in fleet.rounds()), "round 3 is open")
        for generation, number in ((1, 5_000), (2, 0), (1, 501), (1, 500)):
            lie = said.model_copy(update={"generation": generation, "round": number})
            tap.say(topic, pack(lie), retain=True)
        fleet.until(lambda: "device-1 has seen round 1.50" in fleet.log(), "it is heard, and said")
        fleet.devices["device-0"].release()
        assert fleet.ends() == 0, fleet.log()
    assert closed(fleet)[-1] == (1, 3, 1)
    assert check_books(fleet) == 2


@pytest.mark.slow
def test_a_device_that_has_seen_a_forged_round_comes_back_when_it_forgets(fleet: FleetOfProcesses) -> None:
    for number in range(3):
        fleet.device(f"device-{number}", *motions(number))
    fleet.start_devices()
    configure(fleet, 1, quorum=3)
    learn(fleet, "first")

    def forget_rounds() -> "subprocess.CompletedProcess[str]":
        config = str(fleet.devices["device-0"].config)
        command = [sys.executable, "-m", "agent", "forget-rounds", "--config", config]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)

    for name in ("device-1", "device-2"):
        fleet.terminate(name)
    with Wiretap(fleet) as tap:
        fleet.until(lambda: tap.manifest() is not None, "the announcement arrives")
        genuine = tap.manifest()
        assert genuine is not None
        forged = genuine.model_copy(update={"round": 5_000, "state": "open", "seconds_left": 600.0})
        tap.say(tap.topics.round, seal(forged), retain=True)
        device = fleet.devices["device-0"]
        fleet.until(lambda: (saved := device.saved()) is not None and saved[1] == 5_000, "it was believed")
        fleet.terminate("device-0")

        configure(fleet, 2, quorum=3)
        fleet.start_aggregator(name="stopped")
        assert fleet.ends("stopped") == os.EX_CONFIG
        assert f"clear the retained '{tap.topics.round}'" in fleet.log("stopped")

        tap.say(tap.topics.round, b"", retain=True)
        fleet.start_devices()
        fleet.start_aggregator("--exit-when-done")
        fleet.until(lambda: fleet.admitted(3) == {"device-1", "device-2"}, "round 3 lacks device 0")
        fleet.until(
            lambda: "ignored an announcement of round" in fleet.log("device-0"), "device 0 takes it for old"
        )
        (line,) = [line for line in fleet.log().splitlines() if "not believed" in line]
        assert "device-0 (1.5000)" in line
        assert "`fedge-agent forget-rounds`" in line

        busy = forget_rounds()
        assert busy.returncode == os.EX_TEMPFAIL
        assert "stop the agent" in busy.stderr
        fleet.terminate("device-0")
        done = forget_rounds()
        assert (done.returncode, done.stderr) == (0, "")
        assert "that round 1.5000 was seen and the update saved for round 1.5000" in done.stdout
        fleet.start_devices("device-0")
        assert fleet.ends() == 0
    assert closed(fleet) == [(1, n, 3) for n in (0, 1, 3)]
    assert check_books(fleet) == 2
