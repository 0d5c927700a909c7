"""`fedge quarantine`: what it writes, what it refuses, and where it is seen."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from aggregator.shell.quarantine import read
from fleet.cli.commands import app
from fleet.pki.enrolment import enroll
from fleet.pki.folder import FederationFolder
from fleet.pki.init_federation import found
from fleet.pki.init_options import Founding
from tests.wording import assert_tells


@pytest.fixture
def folder(tmp_path: Path) -> FederationFolder:
    made = FederationFolder(tmp_path / "greenhouse")
    found(made, Founding("greenhouse", ["broker.example"], port=1883, provisioning_port=1884))
    for device in ("pump-1", "pump-2"):
        enroll(made, device)
    return made


def fedge(folder: FederationFolder, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--folder", str(folder.root)])


def test_devices_are_set_aside_and_let_in_again(folder: FederationFolder) -> None:
    result = fedge(folder, "quarantine", "pump-2")
    assert result.exit_code == 0, result.output
    assert_tells(result.stdout, "pump-2", "quarantine")
    path = folder.root / "quarantined"
    assert path.stat().st_mode & 0o777 == 0o644, "the aggregator's user reads it, whoever that is"
    since = read(path)["pump-2"]

    again = fedge(folder, "quarantine", "pump-1", "pump-2")
    assert again.exit_code == 0
    assert_tells(again.stdout, "pump-2", "before")
    assert read(path) == {"pump-1": read(path)["pump-1"], "pump-2": since}

    listed = {each["device"]: each for each in json.loads(fedge(folder, "devices", "--json").stdout)}
    assert listed["pump-2"]["quarantined"] == since
    assert listed["pump-2"]["state"] == "good", "its certificate counts"
    assert "good, in quarantine" in fedge(folder, "devices").stdout

    result = fedge(folder, "quarantine", "--lift", "pump-2", "pump-3")
    assert result.exit_code == 0
    assert_tells(result.stdout, "pump-3", "not in quarantine")
    assert_tells(result.stdout, "pump-2", "out of quarantine")
    assert list(read(path)) == ["pump-1"]
    listed = {each["device"]: each for each in json.loads(fedge(folder, "devices", "--json").stdout)}
    assert listed["pump-2"]["quarantined"] is None


def test_a_mistyped_name_sets_nobody_aside(folder: FederationFolder) -> None:
    for name, words in (
        ("pump-3", "greenhouse_pump-3 .*`fedge devices`"),
        ("Pump 3", "'Pump 3'"),
    ):
        result = fedge(folder, "quarantine", "pump-1", name)
        assert result.exit_code == 78
        assert re.search(words, result.stderr)
    assert not (folder.root / "quarantined").exists()


def test_a_list_that_makes_no_sense_is_named_and_not_replaced(folder: FederationFolder) -> None:
    (folder.root / "quarantined").write_text("pump-1\nwhat?\n")
    result = fedge(folder, "quarantine", "pump-2")
    assert result.exit_code == 74
    assert_tells(result.stderr, str(folder.root / "quarantined"), "line 2: ", "'what?'")


def test_the_list_may_lie_elsewhere(folder: FederationFolder) -> None:
    text = folder.settings.read_text().replace("[federation]", '[federation]\nquarantine = "aside.txt"')
    folder.settings.write_text(text)
    assert fedge(folder, "quarantine", "pump-2").exit_code == 0
    assert list(read(folder.root / "aside.txt")) == ["pump-2"]
