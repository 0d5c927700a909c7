"""`fedge devices` names those that keep an older model in use than they hold."""

import io
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from aggregator.ledger.layout import FILE
from aggregator.ledger.writing import Ledger
from fleet.pki.device_list import as_json, listing, show
from fleet.pki.enrolment import enroll
from fleet.pki.folder import FederationFolder
from fleet.pki.init_federation import found
from fleet.pki.init_options import Founding
from tests.aggregator.stories import status


def test_who_keeps_an_older_model_in_use_is_named(tmp_path: Path) -> None:
    folder = FederationFolder(tmp_path / "greenhouse")
    found(folder, Founding("greenhouse", ["broker.example"], port=1883, provisioning_port=1884))
    for device in ("pump-1", "pump-2"):
        enroll(folder, device)
    ledger = Ledger(tmp_path / FILE)
    with ledger.transaction():
        ledger.save_status("pump-1", status().model_copy(update={"uses": b"o" * 32}), 100.0)
        ledger.save_status("pump-2", status(), 100.0)
    ledger.close()
    now = datetime.now(UTC)
    listed = listing(folder, tmp_path / FILE)
    told = {each["device"]: each["keeps_older_model"] for each in as_json(listed, now)}
    assert (told["pump-1"], told["pump-2"], told[None]) == (True, False, None)
    console = Console(file=io.StringIO(), width=200)
    show(listed, now, console)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert [("pump-1" in line) for line in lines if "keeps an older model" in line] == [True]
