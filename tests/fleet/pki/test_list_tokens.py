"""`fedge tokens`: each token with its uses left, its end, and who joined with it."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fedge.identity.token import Token
from fleet.cli.commands import app
from fleet.pki.certificates import utc_now
from fleet.pki.claims import Claims
from fleet.pki.folder import FederationFolder
from fleet.pki.identity import Identity
from fleet.pki.init_federation import found
from fleet.pki.init_options import Founding
from fleet.pki.list_tokens import as_json, tokens
from fleet.pki.register import Register
from fleet.pki.tokens import promise, withdraw

HOUR = timedelta(hours=1)


@pytest.fixture
def folder(tmp_path: Path) -> FederationFolder:
    made = FederationFolder(tmp_path / "greenhouse")
    found(made, Founding("greenhouse", ["broker.example"]))
    return made


def join(folder: FederationFolder, token: Token, *devices: str) -> None:
    with Register(folder.register) as register, register.transaction():
        for device in devices:
            identity = Identity("greenhouse", device)
            register.enrol(identity)
            Claims(register).count_use(token.claim, identity.name)


def test_tokens_are_listed_with_what_is_left_of_them(folder: FederationFolder) -> None:
    opened, used_up, withdrawn = (promise(folder, 3, n * HOUR) for n in (2, 4, 6))
    join(folder, opened.token, "pi-2", "pi-1")
    join(folder, used_up.token, "pi-3", "pi-4", "pi-5")
    withdraw(folder, withdrawn.token.claim)
    result = CliRunner().invoke(app, ["tokens", "--json", "--folder", str(folder.root)])
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout) == [
        {
            "claim": promised.token.claim,
            "state": state,
            "uses": 3,
            "uses_left": 3 - len(devices),
            "expires": promised.expires_at.isoformat(timespec="seconds"),
            "devices": devices,
        }
        for promised, state, devices in (
            (opened, "open", ["pi-1", "pi-2"]),
            (used_up, "used up", ["pi-3", "pi-4", "pi-5"]),
            (withdrawn, "withdrawn", []),
        )
    ]
    ended = as_json(tokens(folder), utc_now() + 3 * HOUR)
    assert [row["state"] for row in ended] == ["ended", "used up", "withdrawn"]


def test_the_table_names_claims_in_full_however_many_joined(folder: FederationFolder) -> None:
    promised = promise(folder, 50, HOUR)
    join(folder, promised.token, *(f"a-device-with-a-long-name-{n}" for n in range(40)))
    result = CliRunner().invoke(app, ["tokens", "--folder", str(folder.root)])
    assert result.exit_code == 0, result.stderr
    assert (
        f"{promised.token.claim}  open   10 of 50   {promised.expires_at:%Y-%m-%d %H:%M} UTC" in result.stdout
    )
    assert promised.token.text() not in result.stdout


def test_tokens_of_another_federation_on_the_same_broker_are_not_listed(
    folder: FederationFolder, tmp_path: Path
) -> None:
    second = FederationFolder(tmp_path / "harbour")
    found(second, Founding("harbour", ["broker.example"]), beside=folder)
    promise(folder, 1, HOUR)
    assert tokens(second) == []
    assert len(tokens(folder)) == 1


def test_a_folder_of_no_federation_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["tokens", "--folder", str(tmp_path)])
    assert result.exit_code == 78
    assert "fedge tokens: " in result.stderr
