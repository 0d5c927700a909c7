"""Real devices with wrong data, a real broker, and somebody who hears all that is said: no data are.

And a device whose source raises what is no `Exception`: it declines that round, and takes part in the next.
"""

from pathlib import Path

import pytest

from fedge.wire.messages.message import unpack
from fedge.wire.messages.status import Status
from fedge.wire.reasons import Reason
from tests.system.audit import check_books
from tests.system.databases import query
from tests.system.federations import CLASSIFIER, as_csv, motions
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.wiretap import Wiretap
from tests.wording import assert_tells

pytestmark = pytest.mark.system

MARKS = ("8675309", "garden-of-anna", "home/anna", "secretword", "secretclass")
TELEGRAF = "".join(f"{1458229140 + i},weather,garden-of-anna,8675309.{i},100,31.5\n" for i in range(60))

RAISES = """\
class SecretClassError(Exception):
    pass

class Sensor:
    def __array__(self, *_, **__):
        raise SecretClassError("secretword 8675309")

def read():
    return Sensor(), ["secretword"] * 60
"""
IS_CANCELLED_ONCE = """
import asyncio
import functools

def once(function):
    @functools.wraps(function)
    def wrapped():
        found = function()
        if (here / "reads").stat().st_size == 1:
            raise asyncio.CancelledError("secretword 8675309")
        return found
    return wrapped

read = once(read)
"""


def at_home(fleet: FleetOfProcesses, name: str, text: str) -> None:
    """A device whose data lie in its user's folder."""
    device = fleet.csv_device(name, "", path="home/anna/garden-of-anna.csv")
    folder = device.folder / "home/anna"
    folder.mkdir(parents=True)
    (folder / "garden-of-anna.csv").write_text(text)


def has_declined(tap: Wiretap, name: str, number: int) -> bool:
    """Whether a device has said, however long ago, that it takes no part in a round for its data."""
    topic = tap.topics.status(name)
    said = [unpack(payload, Status).declined for heard, payload in tap.heard.copy() if heard == topic]
    return any(each is not None and (each.round, each.reason) == (number, Reason.BAD_DATA) for each in said)


def test_no_piece_of_wrong_data_is_said_and_the_owner_is_told(fleet: FleetOfProcesses) -> None:
    fleet.configure(
        model=CLASSIFIER,
        plan={"epochs": 1},
        rounds={"quorum": 2, "deadline_s": 3_600.0},  # were anybody waited for, the test would fail
        stopping={"rounds": 2},
    )
    for number in range(2):
        fleet.device(f"steady-{number}", *motions(number))
    good = as_csv(*motions(2))
    at_home(fleet, "nameless", TELEGRAF)
    at_home(fleet, "strange", good.replace("light", "garden-of-anna", 1))
    at_home(fleet, "twice", good.replace("light,heat", "garden-of-anna,garden-of-anna", 1))
    at_home(fleet, "foreign", good.replace(",still\n", ",secretword\n", 1))
    raising = fleet.device("raising", *motions(3))
    (raising.folder / "samples.py").write_text(RAISES)
    cancelled = fleet.device("cancelled", *motions(4))
    with (cancelled.folder / "samples.py").open("a") as module:
        module.write(IS_CANCELLED_ONCE)
    fleet.devices["steady-0"].hold(2)
    wanted = {
        "nameless": (Reason.BAD_DATA, ("line 1", "`[data] columns`"), "garden-of-anna.csv"),
        "strange": (Reason.WRONG_INPUT, ("'light'", "1 of ", "5 "), "z, garden-of-anna"),
        "twice": (Reason.WRONG_INPUT, ("'light'", "2 of ", "5 "), "z, garden-of-anna"),
        "foreign": (Reason.BAD_DATA, ("classes", "(1 ", "still, walk, run"), "column 'label'"),
        "raising": (Reason.BAD_DATA, ("X ",), "SecretClassError"),
    }
    with Wiretap(fleet) as tap:
        fleet.start_devices()
        fleet.until(
            lambda: all((s := tap.status(name)) is not None and s.online for name in fleet.devices),
            "all devices are online",
        )
        fleet.start_aggregator("--exit-when-done")
        fleet.until(lambda: has_declined(tap, "cancelled", 0), "one is cancelled in the survey")
        for name, (reason, facts, detail) in wanted.items():
            declined = tap.declined(name, 1)
            assert declined.reason == reason
            assert_tells(declined.detail, *facts)
            assert detail in fleet.log(name), "its owner is told more"
        fleet.until(lambda: "cancelled" in fleet.admitted(1), "the one takes part in the next round")
        fleet.devices["steady-0"].release()
        assert fleet.ends() == 0
        heard = list(tap.heard)
    assert fleet.admitted(0) == {"steady-0", "steady-1"}
    assert fleet.admitted(1) == fleet.admitted(2) == {"steady-0", "steady-1", "cancelled"}
    check_books(fleet)
    assert {topic.rsplit("/", 1)[1] for topic, _ in heard} >= set(fleet.devices)
    for mark in MARKS:
        found = [topic for topic, payload in heard if mark in payload.decode("latin-1").lower()]
        assert not found, (mark, found)
        assert mark not in fleet.log().lower(), "nor does the aggregator know any"
        (count,) = query(fleet.ledger, "SELECT count(*) FROM devices WHERE instr(lower(declined), ?)", mark)[
            0
        ]
        assert count == 0
    assert Path("home/anna/garden-of-anna.csv").as_posix() in fleet.log("nameless")
