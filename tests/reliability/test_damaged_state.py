"""Case 38: what lies on the disk is not what was written. It is put aside, said, and learning goes on.

A program is killed in the middle of a round, its file is damaged, and it is started again; once for each kind
of damage, in one fleet, whose final model must then be that of a fleet that never had an accident.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from shutil import copy2

import pytest

from agent.shell import model_file
from tests import milestones
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.test_accidents import ends_as_if_nothing_had_happened, in_mid_round
from tests.wording import lines_telling

pytestmark = pytest.mark.system

Damage = Callable[[bytes], bytes]


def flipped(*offsets: int) -> Damage:
    """One bit at each offset; negative ones count from the end."""

    def flip(content: bytes) -> bytes:
        changed = bytearray(content)
        for offset in offsets:
            changed[offset] ^= 0x10
        return bytes(changed)

    return flip


def cut(part: float) -> Damage:
    return lambda content: content[: int(len(content) * part)]


def nul(content: bytes) -> bytes:
    return bytes(len(content))


def flipped_at(mark: bytes) -> Damage:
    """One bit of what is stored behind a mark."""
    return lambda content: flipped(content.index(mark) + len(mark) + 4)(content)


MAIN: dict[str, Damage] = {
    "all NUL": nul,
    "cut to a tenth": cut(0.1),
    "a bit of the header": flipped(18),
    "a bit of the layout's number": flipped(63),
    "a bit of the schema's page": flipped(101),
    "a page of NUL in the middle": lambda content: content[:8_192] + bytes(4_096) + content[12_288:],
}
"""Damage to a database that has taken its WAL in."""

WAL: dict[str, Damage] = {
    "all NUL": nul,
    "cut in half": cut(0.5),
    "a bit of the header": flipped(17),
    "a bit in the middle": lambda content: flipped(len(content) // 2)(content),
}
"""Damage to what a killed program leaves: SQLite believes it up to the first wrong checksum."""

MODEL: dict[str, Damage] = {
    "all NUL": nul,
    "cut in half": cut(0.5),
    "empty": cut(0.0),
    "a bit at the end": flipped(-1),
}


def settle(database: Path) -> None:
    """Take the WAL of a killed program into its database."""
    with closing(sqlite3.connect(database)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def spoil(file: Path, damage: Damage) -> None:
    before = file.read_bytes()
    after = damage(before)
    assert before != after, "the damage does something"
    file.write_bytes(after)


@pytest.mark.chaos
def test_fault_38_an_agent_with_a_damaged_memory_takes_part_again(
    fleet: FleetOfProcesses, undisturbed_model: bytes
) -> None:
    in_mid_round(fleet, "device-2")
    device = fleet.devices["device-0"]
    database = device.folder / "state" / "agent.db"
    wal = database.with_name("agent.db-wal")

    def says(text: str) -> int:
        return fleet.log("device-0").count(text)

    def answers() -> int:
        # It does not know its update any more, makes another, and is told that it has answered; or what is
        # lost is only the verdict, and it is told that again.
        return says("already_answered") + says(milestones.COUNTS)

    @contextmanager
    def in_another_life() -> Iterator[None]:
        fleet.kill("device-0")
        yield
        fleet.start_devices("device-0")

    for number, (what, damage) in enumerate(
        (*MAIN.items(), ("a bit of the update", flipped_at(b"\xa4body"))), 1
    ):
        answered = answers()
        with in_another_life():
            settle(database)
            spoil(database, damage)
        fleet.until(lambda: says("agent.db.quarantine-") == number, f"{what} is noticed")  # noqa: B023
        fleet.until(lambda: answers() > answered, f"it is answered in spite of {what}")  # noqa: B023
    put_aside = number

    for what, damage in WAL.items():
        answered = answers()
        with in_another_life():
            spoil(wal, damage)
        fleet.until(lambda: answers() > answered, f"it is answered in spite of {what} in the WAL")  # noqa: B023

    model = device.folder / "state" / model_file.FILE
    whole = model.read_bytes()
    for number, (what, damage) in enumerate(MODEL.items(), 1):
        with in_another_life():
            model.write_bytes(whole)
            spoil(model, damage)
        fleet.until(lambda: says(f"{model_file.FILE}.quarantine-") == number, f"{what} is noticed")  # noqa: B023
        fleet.until(lambda: fleet.connections("device-0") > put_aside + len(WAL) + number, "it is back")  # noqa: B023

    fleet.devices["device-2"].release()
    ends_as_if_nothing_had_happened(fleet, undisturbed_model)
    assert (database.with_name("agent.db.quarantine-1")).read_bytes().count(0) == (
        database.with_name("agent.db.quarantine-1").stat().st_size
    ), "what was damaged is kept as it was"


@pytest.mark.chaos
def test_fault_38_an_aggregator_with_a_damaged_ledger_does_not_begin_over_the_fleets_memory(
    fleet: FleetOfProcesses, undisturbed_model: bytes
) -> None:
    in_mid_round(fleet, "device-2")
    fleet.kill("aggregator")
    wal = fleet.ledger.with_name("ledger.db-wal")
    backup = fleet.state / "backup"
    settle(fleet.ledger)
    copy2(fleet.ledger, backup)
    for number, what in enumerate(("all NUL", "cut to a tenth", "a page of NUL in the middle"), 1):
        copy2(backup, fleet.ledger)
        wal.unlink(missing_ok=True)
        spoil(fleet.ledger, MAIN[what])
        spoiled = fleet.ledger.read_bytes()
        fleet.start_aggregator()
        assert fleet.ends() == 78, what
        log = fleet.log()
        assert len(lines_telling(log, "ledger.db.quarantine-")) == number, what
        assert len(lines_telling(log, "--new-generation")) == number
        assert fleet.ledger.with_name(f"ledger.db.quarantine-{number}").read_bytes() == spoiled

    copy2(backup, fleet.ledger)  # as the message says
    fleet.start_aggregator("--exit-when-done")
    fleet.devices["device-2"].release()
    ends_as_if_nothing_had_happened(fleet, undisturbed_model)


@pytest.mark.slow
def test_fault_38_a_lost_update_is_found_out_when_it_is_to_be_averaged(fleet: FleetOfProcesses) -> None:
    in_mid_round(fleet, "device-2")
    fleet.kill("aggregator")
    with closing(sqlite3.connect(fleet.ledger)) as db, db:
        (digest,) = db.execute(
            "SELECT digest FROM answers WHERE round = 2 AND device = 'device-0'"
        ).fetchone()
        db.execute("UPDATE frames SET data = zeroblob(length(data)) WHERE digest = ?", (digest,))
        query = "SELECT segment, offset, length FROM frames WHERE digest = ? AND segment IS NOT NULL"
        for segment, offset, length in db.execute(query, (digest,)).fetchall():
            with Path(f"{fleet.ledger}-updates/{segment}").open("r+b") as file:
                file.seek(offset)
                file.write(bytes(length))
    fleet.devices["device-2"].release()
    fleet.start_aggregator()
    assert fleet.ends() == 78
    log = fleet.log()
    assert lines_telling(log, "ledger.db", "device-0")
    assert "ledger.db.quarantine-1" in log
    assert "--new-generation" in log
    assert "Traceback" not in log
