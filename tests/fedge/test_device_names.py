"""What people call their devices becomes an id, one to one, wherever a name is given."""

import logging
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from agent.cli.installation.source import identity_of
from agent.config import AgentSettings
from aggregator.config import FederationSettings
from fedge.errors import ConfigError
from fedge.identity import bundle
from fedge.identity.device_names import as_id, as_ids, renamed
from fedge.identity.provisioning import may_name_a_device
from fleet.cli.commands import app
from fleet.pki.folder import FederationFolder
from fleet.pki.init_federation import found
from fleet.pki.init_options import Founding
from fleet.pki.register import Register
from tests.wording import assert_tells

FEDERATION = """
[federation]
name = "greenhouse"
devices = {devices}
[model]
features = 2
classes = ["a", "b"]
"""
AGENT = 'federation = "greenhouse"\ndevice = "{device}"\n[data]\nsource = "csv"\npath = "data.csv"\n'


@given(st.text("abzABZ019_.:-", min_size=1, max_size=36))
def test_each_letter_becomes_one_and_an_id_stays(name: str) -> None:
    device = as_id(name)
    assert len(device) == len(name)
    assert as_id(device) == device
    assert may_name_a_device(device) or device == name
    assert bool(renamed([name])) == (device != name)


@given(st.lists(st.text("aA_.-1", min_size=1, max_size=4), max_size=6, unique=True))
def test_as_many_ids_come_out_as_names_went_in(names: list[str]) -> None:
    try:
        ids = as_ids(names)
    except ValueError:
        assert len(set(map(as_id, names))) < len(names)
    else:
        assert len(set(ids)) == len(names)


@pytest.mark.parametrize("name", ["two words", "Pümp", "a/b", "a+b", "#", ""])
def test_what_no_id_can_hold_is_not_made_one(name: str) -> None:
    assert not may_name_a_device(as_id(name))


# ── where names are given ──────────────────────────────────────────────────────────────────────────


@pytest.fixture
def folder(tmp_path: Path) -> FederationFolder:
    made = FederationFolder(tmp_path / "greenhouse")
    found(made, Founding("greenhouse", ["broker.example"]))
    return made


def fedge(folder: FederationFolder, *arguments: str, text: str | None = None) -> Result:
    return CliRunner().invoke(app, [*arguments, "--folder", str(folder.root)], input=text)


def members(folder: FederationFolder) -> list[str]:
    with Register(folder.register) as register:
        return sorted(str(each.identity.device) for each in register.members() if each.identity.device)


def test_enrolled_as_it_is_called_a_device_has_its_id_everywhere(folder: FederationFolder) -> None:
    result = fedge(folder, "enroll", "Phone_01")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.strip() == str(folder.bundle("phone-01"))
    assert_tells(result.stderr, "'Phone_01'", "'phone-01'")
    assert b'device = "phone-01"' in bundle.unpack(folder.bundle("phone-01").read_bytes())["agent.toml"]
    again = fedge(folder, "enroll", "PHONE.01")
    assert again.exit_code == 78, "somebody has that name"
    assert "greenhouse_phone-01" in again.stderr
    assert fedge(folder, "quarantine", "Phone_01").exit_code == 0
    assert_tells(fedge(folder, "revoke", "Phone_01").stdout, "phone-01")
    with Register(folder.register) as register:
        (member,) = [each for each in register.members() if each.identity.device == "phone-01"]
    assert member.revoked_at is not None


def test_a_list_of_names_becomes_ids_and_says_which(folder: FederationFolder) -> None:
    names = [f"Phone_{number:02d}" for number in range(23)]
    result = fedge(folder, "enroll", "--from", "-", text="\n".join(names))
    assert result.exit_code == 0, result.stderr
    assert members(folder) == [f"phone-{number:02d}" for number in range(23)]
    assert_tells(result.stderr, "'Phone_19'", "'phone-19'", " 3 more ")
    assert "'Phone_20'" not in result.stderr


def test_two_names_that_would_become_one_are_refused(folder: FederationFolder) -> None:
    result = fedge(folder, "enroll", "Phone_01", "phone-01")
    assert (result.exit_code, members(folder)) == (os.EX_CONFIG, [])
    assert_tells(result.stderr, "argument 2: ", "'phone-01'", "'Phone_01'", "argument 1")


def test_settings_take_names_and_say_what_they_become(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    (tmp_path / "agent.toml").write_text(AGENT.format(device="Phone_01"))
    assert AgentSettings.load(tmp_path / "agent.toml", {}).device == "phone-01"
    assert_tells(caplog.text, "device: ", "'Phone_01'", "'phone-01'")
    assert identity_of((tmp_path / "agent.toml").read_bytes(), tmp_path) == ("greenhouse", "phone-01")
    path = tmp_path / "federation.toml"
    path.write_text(FEDERATION.format(devices='["Phone_01", "phone-02"]'))
    assert FederationSettings.load(path, {}).federation.devices == ("phone-01", "phone-02")
    assert_tells(caplog.text, "[federation] devices: ", "'Phone_01'", "'phone-01'")
    assert "phone-02'" not in caplog.text


@pytest.mark.parametrize(
    ("devices", "words"),
    [
        ('["Phone_01", "phone-01"]', "devices: .*'Phone_01'.*'phone-01'.*'phone-01'"),
        ('["phone-01", "phone-01"]', "devices: .*once"),
        ('["two words"]', "devices"),
        ("[1]", "devices"),
    ],
)
def test_a_list_in_the_settings_that_cannot_be_is_named(tmp_path: Path, devices: str, words: str) -> None:
    path = tmp_path / "federation.toml"
    path.write_text(FEDERATION.format(devices=devices))
    with pytest.raises(ConfigError, match=words):
        FederationSettings.load(path, {})
