"""A version with topics of its own takes over a server: the access list that 0.2.0 wrote grows by them."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent.enrolment.certificates import Present
from fleet.cli.commands import app
from fleet.pki import acl, publication, registrar
from fleet.pki.acl import Right
from fleet.pki.folder import FederationFolder
from fleet.pki.identity import Role
from fleet.pki.register import Register
from tests.system.installed import FEDERATION, MEMBERS, installed, serving
from tests.system.probes import PATIENCE_S, Member, tls
from tests.system.production import needs_mosquitto
from tests.system.registrars import registrar as registrar_process
from tests.system.versions import RECORDED, Version

DEVICES = {f"{FEDERATION}_{device}" for device in MEMBERS}
NEW = f"fedge/v1/{FEDERATION}/news"
"""A topic that 0.2.0 does not know: the aggregator writes it, and devices read it."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FederationFolder:
    """As 0.2.0 left it; for the lists it is the day that it did: the token that is open is open still."""
    folder = installed("0.2.0", tmp_path / FEDERATION)
    with Register(folder.register) as register:
        made_at = max(member.enrolled_at for member in register.members())
    monkeypatch.setattr(publication, "utc_now", lambda: made_at)
    return folder


@pytest.fixture
def grown(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on the program's own list of topics is longer by one."""
    rights = acl._rights

    def more(identity: acl.Identity, federations: list[str]) -> list[Right]:
        verb = {Role.DEVICE: "read", Role.AGGREGATOR: "write"}.get(identity.role)
        return [*rights(identity, federations), *([(verb, NEW)] if verb else [])]

    monkeypatch.setattr(acl, "_rights", more)


def blocks(text: str) -> dict[str, list[str]]:
    """The lines of each user's block."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("user "):
            user = found.setdefault(line.removeprefix("user "), [])
        elif line.startswith("topic "):
            user.append(line)
    return found


def init(folder: FederationFolder) -> str:
    """What `fedge-aggregator install` runs too."""
    done = CliRunner().invoke(app, ["init", FEDERATION, "--folder", str(folder.root)])
    assert done.exit_code == 0, done.output
    return done.output


def registrar_starts(folder: FederationFolder) -> str:
    with Register(folder.register) as register:
        registrar.Registrar(folder, register).tell_broker(datetime.now(UTC))
    return ""


def test_nothing_of_the_list_that_0_2_0_installed_is_lost(folder: FederationFolder) -> None:
    before, passwords = blocks(folder.acl.read_text()), folder.passwords.read_bytes()
    init(folder)
    after = blocks(folder.acl.read_text())
    assert set(after) == set(before) >= DEVICES
    assert f"{FEDERATION}_pi-3" not in after, "it was revoked"
    assert not [(user, line) for user in before for line in before[user] if line not in after[user]]
    assert folder.passwords.read_bytes() == passwords


@pytest.mark.parametrize("upgrade", [init, registrar_starts])
@pytest.mark.usefixtures("grown")
def test_a_new_topic_reaches_the_list_that_0_2_0_installed(
    folder: FederationFolder, upgrade: Callable[[FederationFolder], str]
) -> None:
    before, passwords = blocks(folder.acl.read_text()), folder.passwords.read_bytes()
    upgrade(folder)
    after = blocks(folder.acl.read_text())
    assert {user for user, lines in after.items() if f"topic read {NEW}" in lines} == DEVICES
    assert f"topic write {NEW}" in after[f"{FEDERATION}__aggregator"]
    assert set(after) == set(before)
    assert not [(user, line) for user in before for line in before[user] if line not in after[user]]
    assert folder.passwords.read_bytes() == passwords
    text = folder.acl.read_bytes()
    upgrade(folder)
    assert folder.acl.read_bytes() == text


@pytest.mark.usefixtures("grown")
def test_fedge_init_says_that_it_has_written_the_list_anew(folder: FederationFolder) -> None:
    assert init(folder).split() == [str(folder.acl)]
    text = folder.acl.read_bytes()
    assert str(folder.acl) not in init(folder), "it is as it was"
    assert folder.acl.read_bytes() == text


@pytest.mark.system
@needs_mosquitto
def test_devices_of_0_2_0_that_are_connected_hear_of_a_new_topic_at_once(
    folder: FederationFolder, request: pytest.FixtureRequest
) -> None:
    home = RECORDED / "0.2.0" / "homes" / "pi-4"
    with serving(folder) as place:
        device = Member(place.port, tls(folder.ca, home / "identity.pem")).open()
        aggregator = Member(place.port, tls(folder.ca, folder.aggregator_identity)).open()
        device.subscribe([NEW])
        assert aggregator.publish([NEW], b"too early") == {NEW: False}
        request.getfixturevalue("grown")
        init(folder)
        deadline_s = time.monotonic() + PATIENCE_S
        while aggregator.publish([NEW], b"heard") == {NEW: False}:
            assert time.monotonic() < deadline_s, "the broker has not read the new list"
        device.wait_for(b"heard")
        assert {payload for _, _, payload in device.heard} == {b"heard"}
        device.close()
        aggregator.close()


@pytest.mark.system
@needs_mosquitto
def test_a_device_of_0_2_0_renews_where_this_version_serves(
    folder: FederationFolder, version_0_2_0: Version, tmp_path: Path
) -> None:
    home = shutil.copytree(RECORDED / "0.2.0" / "homes" / "pi-4", tmp_path / "pi-4")
    before = Present.read(home / "identity.pem")
    with serving(folder) as place, registrar_process(folder):
        config = str(home / "agent.toml")
        renewed = subprocess.run(
            version_0_2_0.program("agent", "renew", "--config", config, "--force"),
            env={**os.environ, "FEDGE_AGENT_RENEWAL__PORT": str(place.provisioning_port)},
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
        assert renewed.returncode == 0, renewed.stderr
        after = Present.read(home / "identity.pem")
        assert (after.common_name, after.der != before.der) == (before.common_name, True)
        Member(place.port, tls(folder.ca, home / "identity.pem")).open().close()
