"""`fedge devices` tells what the ledger knows, and when it cannot know it any more."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from aggregator.ledger.writing import Ledger
from fedge.storage.atomic_files import make_folder
from fedge.storage.locks import is_locked, lock
from fedge.wire.messages.status import Decline
from fedge.wire.reasons import Reason
from fleet.cli.commands import app
from fleet.pki.enrolment import enroll
from fleet.pki.folder import FederationFolder
from fleet.pki.init_federation import found
from fleet.pki.init_options import Founding
from tests.aggregator.stories import status
from tests.wording import assert_tells, lines_telling

SEEN = datetime(2026, 5, 1, 20, 2, 31, tzinfo=UTC)
DETAIL = (
    "[data] label: 3 rows say [bold]'Running', which is none of the classes of the task, see docs/data.md"
)


@pytest.fixture
def folder(tmp_path: Path) -> FederationFolder:
    made = FederationFolder(tmp_path / "greenhouse")
    found(made, Founding("greenhouse", ["broker.example"], port=1883, provisioning_port=1884))
    for device in ("pump-1", "pump-2", "pump-3"):
        enroll(made, device)
    ledger = Ledger(make_folder(made.root / "state") / "ledger.db")
    declined = Decline(generation=1, round=4, attempt=0, reason=Reason.BAD_DATA, detail=DETAIL)
    with ledger.transaction():
        ledger.save_status("pump-1", status(declined=declined), SEEN.timestamp())
        ledger.save_status("pump-2", status(online=False), SEEN.timestamp())
    ledger.close()
    return made


def devices(folder: FederationFolder) -> dict[str, dict[str, Any]]:
    result = CliRunner().invoke(app, ["devices", "--json", "--folder", str(folder.root)])
    assert result.exit_code == 0, result.output
    return {each["device"]: each for each in json.loads(result.stdout) if each["device"] is not None}


def table(folder: FederationFolder) -> str:
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["devices", "--folder", str(folder.root)]).stdout


def test_nobody_is_called_online_by_a_ledger_that_no_aggregator_works_with(folder: FederationFolder) -> None:
    (row,) = lines_telling(table(folder), "greenhouse_pump-1 ", "online", "2026-05-01 20:02 UTC")
    assert_tells(row, "UTC", "aggregator")
    away = devices(folder)
    assert [away[device]["online"] for device in ("pump-1", "pump-2", "pump-3")] == [None, False, None]
    assert {each["aggregator_at_work"] for each in away.values()} == {False}
    assert away["pump-1"]["last_seen"] == "2026-05-01T20:02:31+00:00"

    held = lock(folder.root / "state")
    try:
        (row,) = lines_telling(table(folder), "greenhouse_pump-1 ", "online")
        assert row.rstrip().endswith(" online"), "no moment, and nothing of the aggregator"
        at_work = devices(folder)
    finally:
        os.close(held)
    assert [at_work[device]["online"] for device in ("pump-1", "pump-2", "pump-3")] == [True, False, None]
    assert {each["aggregator_at_work"] for each in at_work.values()} == {True}


def test_a_long_id_stands_whole_in_a_narrow_window(folder: FederationFolder) -> None:
    name = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
    enroll(folder, name)
    narrow = CliRunner(env={"COLUMNS": "80"}).invoke(app, ["devices", "--folder", str(folder.root)]).stdout
    assert f"greenhouse_{name} " in narrow
    assert name in devices(folder)


def test_a_ledger_that_is_nowhere_says_nothing_of_its_aggregator(folder: FederationFolder) -> None:
    (folder.root / "state/ledger.db").unlink()
    assert {each["aggregator_at_work"] for each in devices(folder).values()} == {None}
    assert {each["declined"] is None for each in devices(folder).values()} == {True}


def test_what_devices_decline_stands_below_with_its_reason_and_since_when(folder: FederationFolder) -> None:
    facts = ("greenhouse_pump-1 ", "2026-05-01 20:02 UTC", "bad_data", DETAIL)
    (line,) = lines_telling(table(folder), *facts)
    assert line.endswith(DETAIL), "in one line, and no bracket is taken for markup"
    shown = devices(folder)
    assert shown["pump-1"]["declined"] == {
        "reason": "bad_data",
        "detail": DETAIL,
        "since": "2026-05-01T20:02:31+00:00",
    }
    assert shown["pump-2"]["declined"] is None


def test_who_looks_at_a_lock_keeps_nobody_from_it(tmp_path: Path) -> None:
    assert is_locked(tmp_path / "nowhere") is False
    assert is_locked(tmp_path) is False
    assert list(tmp_path.iterdir()) == [], "nothing is made"
    held = lock(tmp_path)
    assert is_locked(tmp_path) is True
    os.close(held)
    assert is_locked(tmp_path) is False
    os.close(lock(tmp_path))
    (tmp_path / "lock").unlink()
    (tmp_path / "lock").symlink_to(tmp_path / "other")
    assert is_locked(tmp_path) is None
