"""A rule that takes a minute, or never ends: the aggregator is there meanwhile, and the model is the same."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from fedge.wire.capabilities import can
from fedge.wire.frames import split
from fedge.wire.freshness import RoundId
from fedge.wire.messages.message import pack
from fedge.wire.messages.status import Status
from fleet.demo.broker import free_port
from tests import milestones
from tests.aggregator.stories import update
from tests.system.federations import CLASSIFIER, steady
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.test_metrics import scrape
from tests.system.versions import Version
from tests.system.wiretap import Wiretap

pytestmark = [pytest.mark.system, pytest.mark.chaos]

RULE_S = 60
WATCHDOG_S = 30.0
BEATS = 4
"""So many beats take longer than a presence lasts that is not said again."""

# The first round's mean takes this long at least, and until it is let go.
SLOW = """
import pathlib, time
import fedge.algorithms.rules.mean as averaging

folder, finish, begun = pathlib.Path({folder!r}), averaging.finish, []

def slow(*sums):
    if not begun:
        begun.append(time.monotonic())
        (folder / "begun").touch()
        while time.monotonic() < begun[0] + {seconds} or not (folder / "go-on").exists():
            time.sleep(0.05)
    return finish(*sums)

averaging.finish = slow
"""


class Ear:
    """A service manager: it notes when its watchdog is fed."""

    def __init__(self, path: Path) -> None:
        self.fed_s: list[float] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            if self._socket.recv(4096) == b"WATCHDOG=1":
                self.fed_s.append(time.monotonic())

    @property
    def longest_gap_s(self) -> float:
        heard = [*self.fed_s, time.monotonic()]
        return max(later - earlier for earlier, later in pairwise(heard))


@contextmanager
def managed(path: Path) -> Iterator[None]:
    """What is started within has a service manager."""
    words = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": str(int(WATCHDOG_S * 1e6))}
    os.environ.update(words)
    try:
        yield
    finally:
        for word in words:
            del os.environ[word]


def start_slow(fleet: FleetOfProcesses, seconds: int = 0) -> None:
    program = Version("slow", SLOW.format(folder=str(fleet.folder), seconds=seconds))
    command = program.command("aggregator", fleet.folder / "federation.toml", "--exit-when-done")
    fleet.start_program("aggregator", command)


def test_the_aggregator_is_there_while_a_rule_takes_a_minute(
    fleet: FleetOfProcesses, tmp_path: Path, undisturbed_model: bytes
) -> None:
    steady(fleet)
    port = free_port()
    settings = (fleet.folder / "federation.toml").read_text()
    (fleet.folder / "federation.toml").write_text(f'{settings}\n[metrics]\nlisten = "127.0.0.1:{port}"\n')
    fleet.configure("other.toml", model=CLASSIFIER, state={"folder": "elsewhere"})
    manager = Ear(tmp_path / "notify")
    with managed(tmp_path / "notify"):
        start_slow(fleet, RULE_S)
    fleet.start_devices()
    fleet.until((fleet.folder / "begun").exists, "the rule is at work")

    with Wiretap(fleet) as tap:
        status = Status(online=True, boot=bytes(16), connection=1, version="0", can=tuple(sorted(can())))
        tap.say(tap.topics.status("late"), pack(status))
        late = split(pack(update("late", RoundId(1, 1))))
        tap.say(tap.topics.update("late"), late[0])
        receipt = tap.receipt("late", late.id)
        assert (receipt.verdict, receipt.round) == ("retry", 1)
        fleet.until(lambda: "late" in fleet.seen(), "its status is noted")
        fleet.until(lambda: tap.service() is not None, "the aggregator is there")
        first = tap.service()
        assert first is not None

        fleet.start_aggregator(config="other.toml", name="second")
        assert fleet.ends("second") == os.EX_TEMPFAIL
        assert milestones.GIVES_WAY in fleet.log("second")

        def beats() -> int:
            said = tap.service()
            return said.beat - first.beat if said is not None else 0

        fleet.until(lambda: beats() >= BEATS, "its beat moves")
    assert scrape(port)["fedge_phase", "closing"] == 1
    with Wiretap(fleet) as newcomer:
        fleet.until(lambda: newcomer.service() is not None, "its presence is still there")
        said = newcomer.service()
        assert said is not None
        assert (said.online, said.instance) == (True, first.instance)
    assert not fleet.rounds()[1].closed
    (fleet.folder / "go-on").touch()
    fleet.until(lambda: fleet.rounds()[1].closed, "the round is closed")
    assert manager.longest_gap_s < WATCHDOG_S
    assert fleet.rounds()[1].seconds > RULE_S
    assert fleet.ends() == 0
    assert "stuck" not in fleet.log()
    assert [(row.attempt, row.devices) for row in fleet.rounds()] == [(0, 3)] * 5
    assert fleet.final_model() == undisturbed_model


def test_whoever_ends_in_the_middle_of_a_rule_computes_the_same_again(
    fleet: FleetOfProcesses, undisturbed_model: bytes
) -> None:
    steady(fleet)
    begun = fleet.folder / "begun"
    start_slow(fleet)
    fleet.start_devices()
    fleet.until(begun.exists, "the rule is at work")
    fleet.kill("aggregator")

    begun.unlink()
    start_slow(fleet)
    fleet.until(begun.exists, "it is at work once more")
    assert fleet.terminate("aggregator") == 0, "nobody waits for a rule that never ends"
    assert fleet.log().rstrip().endswith(milestones.STOPPED)
    assert not fleet.rounds()[1].closed

    fleet.start_aggregator("--exit-when-done")
    assert fleet.ends() == 0
    assert [(row.attempt, row.devices) for row in fleet.rounds()] == [(0, 3)] * 5
    assert fleet.final_model() == undisturbed_model
