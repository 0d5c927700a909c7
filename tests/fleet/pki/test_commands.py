"""`fedge enroll --token`, `fedge revoke claim-…`, `fedge registrar`: what they print and what they refuse."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from fedge.identity.token import Token
from fedge.storage.locks import lock
from fleet.cli.commands import app
from fleet.pki.folder import FederationFolder
from fleet.pki.init_federation import found
from fleet.pki.init_options import Founding
from tests.wording import assert_tells


@pytest.fixture
def folder(tmp_path: Path) -> FederationFolder:
    made = FederationFolder(tmp_path / "greenhouse")
    found(made, Founding("greenhouse", ["broker.example"], port=1883, provisioning_port=1884))
    return made


def fedge(folder: FederationFolder, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--folder", str(folder.root)])


def test_a_token_is_one_line_on_standard_output_and_nothing_else(folder: FederationFolder) -> None:
    folder.device_settings.write_text('[data]\nsource = "npz"\npath = "mine.npz"\n')
    result = fedge(folder, "enroll", "--token", "--uses", "3", "--valid", "30m")
    assert result.exit_code == 0, result.stderr
    (line,) = result.stdout.splitlines()
    token = Token.read(line)
    assert (token.federation, token.host, token.port, token.provisioning_port) == (
        "greenhouse", "broker.example", 1883, 1884,
    )  # fmt: skip
    assert token.ca == folder.ca.read_text()
    assert token.signing == folder.signing_public.read_text()
    assert token.settings == folder.device_settings.read_text()
    assert_tells(result.stderr, token.claim, " 3 devices ")
    assert len(line) < 4096, "a terminal's longest line"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--valid", "forever"], 78, "--valid .*m, h or d"),
        (["--valid", "31d"], 78, "--valid: .*30 days"),
        (["--valid", "0h"], 78, "--valid: .*30 days"),
        (["--uses", "10001"], 78, "--uses .*10000"),
        (["--uses", "0"], 64, "--uses"),
        (["pi-1"], 64, "token.*DEVICE"),
        (["--again"], 64, "token.*DEVICE"),
    ],
)
def test_what_no_token_is_made_for(
    folder: FederationFolder, arguments: list[str], code: int, words: str
) -> None:
    result = fedge(folder, "enroll", "--token", *arguments)
    assert result.exit_code == code, result.output
    assert re.search(words, " ".join(result.stderr.replace("│", " ").split()))
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--uses", "3", "pump-4"], "--uses.*--valid.*--token"),
        (["--valid", "2h", "pump-4"], "--uses.*--valid.*--token"),
        (["--observer", "--uses", "3"], "--uses.*--valid.*--token"),
        (["--token", "--observer"], "--observer.*DEVICE.*--from.*--csr.*--again.*--token"),
        (["--observer", "pump-4"], "--observer.*DEVICE.*--from.*--csr.*--again.*--token"),
        (
            ["--observer", "--csr", "pump-4.csr"],
            "--observer.*DEVICE.*--from.*--csr.*--again.*--token",
        ),
        (["--observer", "--again"], "--observer.*DEVICE.*--from.*--csr.*--again.*--token"),
        (
            ["--observer", "--from", "list"],
            "--observer.*DEVICE.*--from.*--csr.*--again.*--token",
        ),
        (["--token", "--from", "list"], "token.*DEVICE.*--from.*--csr"),
        (["pump-4", "pump-5", "--again"], "--csr.*--again.*DEVICE.*--from"),
        (["--from", "list", "--csr", "x.csr"], "--csr.*--again.*DEVICE.*--from"),
        ([], "--from.*--csr"),
    ],
)
def test_options_of_enroll_that_do_not_go_together(
    folder: FederationFolder, arguments: list[str], words: str
) -> None:
    """One that is ignored quietly leaves an identity that nobody asked for."""
    result = fedge(folder, "enroll", *arguments)
    assert (result.exit_code, result.stdout) == (64, "")
    assert re.search(words, " ".join(result.stderr.replace("│", " ").split()))
    assert not folder.observer_identity.exists()
    assert not folder.bundle("pump-4").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["enroll", "pi-1"],
        ["enroll", "--token"],
        ["enroll", "--observer"],
        ["revoke", "pi-1"],
        ["revoke", "claim-00000000"],
        ["renew"],
        ["devices"],
        ["tokens"],
        ["rotate-key"],
        ["registrar"],
    ],
)
def test_outside_a_federations_folder_every_command_says_what_makes_one(
    tmp_path: Path, arguments: list[str]
) -> None:
    result = fedge(FederationFolder(tmp_path), *arguments)
    assert (result.exit_code, result.stdout) == (78, "")
    assert_tells(result.stderr, "`fedge init NAME`", "--folder")
    assert list(tmp_path.iterdir()) == []


def test_a_claim_is_withdrawn_by_its_name(folder: FederationFolder) -> None:
    token = Token.read(fedge(folder, "enroll", "--token").stdout)
    assert token.user in folder.passwords.read_text()
    result = fedge(folder, "revoke", token.claim)
    assert result.exit_code == 0, result.stderr
    assert token.claim in result.stdout
    assert token.user not in folder.passwords.read_text() + folder.acl.read_text()
    again = fedge(folder, "revoke", "claim-00000000")
    assert again.exit_code == 78
    assert "claim-00000000" in again.stderr


def test_one_registrar_at_a_time(folder: FederationFolder) -> None:
    held = lock(folder.registrar)
    assert held
    result = fedge(folder, "registrar")
    assert result.exit_code == 75
    assert str(folder.registrar) in result.stderr
