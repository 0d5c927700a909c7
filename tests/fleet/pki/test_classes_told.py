"""`fedge devices` shows what devices tell of their classes, where owners agreed, within a bounded width."""

import io
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from aggregator.core.verdicts import Verdict
from aggregator.ledger.layout import FILE
from aggregator.ledger.records import LedgerMeta
from aggregator.ledger.writing import Ledger
from fedge.wire.freshness import RoundId
from fedge.wire.messages.survey import ClassCount, Survey
from fleet.pki.device_list import as_json, listing, show
from fleet.pki.enrolment import enroll
from fleet.pki.folder import FederationFolder
from fleet.pki.init_federation import found
from fleet.pki.init_options import Founding
from tests.aggregator.stories import EVERYBODY, digest_of, frames, status, survey

SURVEY = RoundId(1, 0)
TOLD = {
    "pump-1": (("idle", 25), ("[bold]busy", 60)),
    "pump-2": tuple((f"class-{k:02}-" + "x" * 50, 2_147_000_000 + k) for k in range(100)),
}


def classes(told: tuple[tuple[str, int], ...]) -> tuple[ClassCount, ...]:
    return tuple(ClassCount(name=name, rows=rows) for name, rows in told)


@pytest.fixture
def folder(tmp_path: Path) -> FederationFolder:
    made = FederationFolder(tmp_path / "greenhouse")
    found(made, Founding("greenhouse", ["broker.example"], port=1883, provisioning_port=1884))
    ledger = Ledger(tmp_path / FILE)
    with ledger.transaction():
        ledger.begin_generation(LedgerMeta(b"l" * 16, 1, "{}"))
        ledger.save_round(SURVEY, "survey", 0, (EVERYBODY,), 0.0)
    for device in ("pump-1", "pump-2", "pump-3"):
        enroll(made, device)
        message = survey(device, SURVEY, classes=classes(TOLD[device]) if device in TOLD else None)
        with ledger.transaction():
            ledger.save_status(device, status(), 100.0)
            answered(ledger, message)
    ledger.close()
    return made


def answered(ledger: Ledger, message: Survey) -> None:
    for frame in frames(message, 2):
        ledger.spool(message.device, frame)
    ledger.save_answer(SURVEY, message.device, Verdict(digest_of(message), "admitted", samples=100))


def test_classes_are_shown_in_text_and_json(folder: FederationFolder) -> None:
    now = datetime.now(UTC)
    listed = listing(folder, folder.root.parent / FILE)
    told = {each["device"]: each["classes"] for each in as_json(listed, now)}
    assert told["pump-1"] == {"[bold]busy": 60, "idle": 25}
    assert len(told["pump-2"]) == 100
    assert told["pump-3"] is None
    console = Console(file=io.StringIO(), width=250)
    show(listed, now, console)
    assert isinstance(console.file, io.StringIO)
    head, *lines = console.file.getvalue().splitlines()
    assert head.split()[-1] == "classes"
    (one,) = [line for line in lines if "pump-1" in line]
    assert one.rstrip().endswith("[bold]busy 60, idle 25")
    (other,) = [line for line in lines if "pump-2" in line]
    shown = other[head.index("classes") :].strip()
    assert shown.startswith("class-99-xxxxxx… 2147000099, class-98-")
    assert shown.endswith("and 97 more")
    assert len(shown) <= 110


def test_where_nobody_tells_there_is_no_such_column(folder: FederationFolder) -> None:
    listed = listing(folder)
    console = Console(file=io.StringIO(), width=250)
    show(listed, datetime.now(UTC), console)
    assert isinstance(console.file, io.StringIO)
    assert "classes" not in console.file.getvalue()
