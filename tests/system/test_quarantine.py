"""docs/operations.md, who counts no more: set aside by the operator, lifted again, or forgotten."""

from pathlib import Path

import pytest

from aggregator.aggregation.replay import replay
from tests.system.audit import check_books
from tests.system.federations import motions
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.going_back import SEED, WALK, federation
from tests.system.operations_page import Shell, blocks, generations
from tests.wording import assert_tells, lines_telling

pytestmark = [pytest.mark.system, pytest.mark.slow]


def test_who_is_set_aside_counts_no_more_in_the_open_round_at_work_or_over_a_restart(
    fleet: FleetOfProcesses, shell: Shell
) -> None:
    federation(fleet, rounds=5)
    for name in ("device-0", "device-1", "pump-9"):
        fleet.device(name, *motions(len(fleet.devices)))
    held = fleet.devices["device-1"]
    held.hold(3)  # the survey, round 1, and here it waits
    fleet.start_aggregator()
    fleet.start_devices()
    fleet.until(lambda: fleet.admitted(2) == {"device-0", "pump-9"}, "it is admitted in the open round")
    shell.tell(WALK, 0)
    fleet.until(lambda: fleet.admitted(2) == {"device-0"}, "it counts no more")
    held.hold(4)
    fleet.until(lambda: fleet.admitted(3) == {"device-0"}, "the next round is open")
    assert fleet.admitted(2) == {"device-0", "device-1"}
    assert lines_telling(fleet.log(), "1.2", "pump-9")

    before = lines_telling(fleet.log(), "pump-9", "aside")
    shell.tell(WALK, 2)
    fleet.until(lambda: lines_telling(fleet.log(), "pump-9", "aside") != before, "the aggregator knows")
    held.hold(5)
    fleet.until(lambda: fleet.admitted(4) == {"device-0", "pump-9"}, "it counts again")
    fleet.kill("aggregator")
    shell.tell(WALK, 0)
    fleet.start_aggregator()
    fleet.until(lambda: fleet.admitted(4) == {"device-0"}, "it counts no more, also after a restart")
    held.release()
    fleet.until(lambda: (1, 5) in generations(fleet), "it is learnt")
    assert fleet.admitted(4) == fleet.admitted(5) == {"device-0", "device-1"}
    assert all(replay(fleet.ledger, number, SEED).same for number in range(6))
    assert check_books(fleet) == 5


@pytest.mark.parametrize("dies", [None, "DropAnswer.before", "DropAnswer.after"])
def test_who_is_lifted_is_asked_again_where_the_round_needs_it(
    fleet: FleetOfProcesses, shell: Shell, dies: str | None
) -> None:
    """Of two, both are needed; the deadline is too far away to help."""
    federation(fleet, rounds=4)
    other, rogue = (
        fleet.device(name, *motions(number)) for number, name in enumerate(("device-0", "pump-9"))
    )
    other.hold(3)  # the survey, round 1, and here it waits
    if dies is not None:
        fleet.prefixes["aggregator"] = ("env", f"FEDGE_FAILPOINT={dies}")
    aggregator = fleet.start_aggregator("--exit-when-done")
    fleet.start_devices()
    fleet.until(lambda: fleet.admitted(2) == {"pump-9"}, "it is admitted in the open round")
    shell.tell(WALK, 0)
    fleet.until(lambda: fleet.admitted(2) == set(), "it counts no more")
    shell.tell(WALK, 2)
    if dies is not None:
        # Not by `fleet.until`, which takes the death of a program for a failure.
        del fleet.programs["aggregator"]
        aggregator.process.wait(120)
        fleet.prefixes.clear()
        fleet.start_aggregator("--exit-when-done")
    fleet.until(lambda: fleet.admitted(2) == {"pump-9"}, "what it had sent counts again")

    rogue.hold(4)
    other.release()
    fleet.until(lambda: fleet.admitted(3) == {"device-0"}, "the next round waits for it")
    shell.tell(WALK, 0)
    fleet.until(lambda: len(lines_telling(fleet.log(), "pump-9", "--lift")) == 2, "the aggregator knows")
    rogue.release()
    fleet.until(lambda: bool(lines_telling(fleet.log("pump-9"), "aside")), "it is turned away")
    shell.tell(WALK, 2)
    assert fleet.ends() == 0, fleet.log()
    assert all(fleet.admitted(number) == {"device-0", "pump-9"} for number in (2, 3, 4))
    assert check_books(fleet) == 4
    assert all("Traceback" not in fleet.log(name) for name in ("aggregator", *fleet.devices))


def test_a_device_is_forgotten_and_the_others_go_on(fleet: FleetOfProcesses, shell: Shell) -> None:
    federation(fleet, rounds=3)
    for name in ("device-0", "device-1", "pump-9"):
        fleet.device(name, *motions(len(fleet.devices)))
    fleet.start_aggregator()
    fleet.start_devices()
    fleet.until(lambda: (1, 4) in generations(fleet), "it is learnt, and measured")
    command = blocks()["Forgetting a device"][0].strip()
    code, said = shell.type(command)
    assert code == 75, said
    assert fleet.terminate("aggregator") == 0
    fleet.terminate("pump-9")
    code, said = shell.type(command.removesuffix(" --yes") + " </dev/null")
    assert code == 64, said
    assert_tells(said, "--yes")
    said = shell.tell("Forgetting a device")
    assert_tells(said, " 0 ", " 4 ", "generation 1")
    held = b"".join(file.read_bytes() for file in Path(fleet.state).rglob("*") if file.is_file())
    assert b"pump-9" not in held
    code, said = shell.type("fedge replay 2")
    assert code == 65, said
    assert_tells(said, "`fedge forget`")
    federation(fleet, rounds=6)
    fleet.start_aggregator("--exit-when-done")
    assert fleet.ends() == 0, fleet.log()
    assert max(generations(fleet)) == (1, 8), "three rounds, one that measures, and so again"
    assert replay(fleet.ledger, 7, SEED).same
