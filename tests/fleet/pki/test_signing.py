"""The signing key: private, made once, and of the kind that devices can check."""

import stat
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aggregator.shell.signing import read_signer
from fedge.errors import ConfigError, ProtocolError, StateError
from fedge.identity import ed25519
from fedge.identity.trust import authenticate, fingerprint
from fedge.wire.messages.envelope import MAX_SUCCESSIONS, Signed
from fedge.wire.messages.message import unpack
from fedge.wire.messages.service import Service
from fedge.wire.reasons import Reason
from fedge.wire.topics import Topics
from fleet.cli.commands import app
from fleet.pki.signing_key import make_signing_key, rotate_signing_key
from tests.wording import assert_tells

LAB = Topics("lab")


def test_a_key_is_private_and_its_public_half_checks_what_it_signs(tmp_path: Path) -> None:
    public = make_signing_key(tmp_path / "signing.key")
    (tmp_path / "signing.pub").write_bytes(public)
    assert stat.S_IMODE((tmp_path / "signing.key").stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()].count("signing.key") == 1
    key = ed25519.read_signing_key(tmp_path / "signing.key")
    signature = key.sign(b"a model")
    assert ed25519.read_public_key(tmp_path / "signing.pub") == key.public
    assert ed25519.verify(key.public, signature, b"a model")
    assert not ed25519.verify(key.public, signature, b"another model")


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    first = make_signing_key(tmp_path / "signing.key")
    written = (tmp_path / "signing.key").read_bytes()
    assert make_signing_key(tmp_path / "signing.key") == first
    assert (tmp_path / "signing.key").read_bytes() == written
    assert [file.name for file in tmp_path.iterdir()] == ["signing.key"]


def test_what_is_no_signing_key_is_neither_used_nor_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "signing.key"
    path.write_text("a note\n")
    with pytest.raises(ConfigError, match=r"signing\.key: .*PEM"):
        make_signing_key(path)
    assert path.read_text() == "a note\n"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"signing\.key: .*No such file"):
        make_signing_key(tmp_path / "missing" / "signing.key")


def test_openssl_reads_both_halves_alike(tmp_path: Path) -> None:
    """The files are what the rest of the world calls an Ed25519 key, so other tools can check our models."""
    public = make_signing_key(tmp_path / "signing.key")
    asked = ["openssl", "pkey", "-in", str(tmp_path / "signing.key"), "-pubout"]
    assert subprocess.run(asked, capture_output=True, check=True).stdout == public


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n",
        "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n",
        "-----BEGIN PUBLIC KEY-----\n====\n-----END PUBLIC KEY-----\n",
        "\N{KEY}",
    ],
)
def test_what_is_no_public_key_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "signing.pub").write_text(text)
    with pytest.raises(ConfigError, match=r"signing\.pub: .*PEM"):
        ed25519.read_public_key(tmp_path / "signing.pub")


def test_a_key_of_another_kind_is_said(tmp_path: Path) -> None:
    other = tmp_path / "signing.key"
    subprocess.run(["openssl", "genpkey", "-algorithm", "X25519", "-out", other], check=True)
    with pytest.raises(ConfigError, match=r"signing\.key: .*kind"):
        ed25519.read_signing_key(other)


# ── changing it ────────────────────────────────────────────────────────────────────────────────────


def federation(folder: Path) -> Path:
    """A folder whose aggregator signs."""
    (folder / "aggregator").mkdir()
    key = folder / "aggregator" / "signing.key"
    (folder / "aggregator" / "signing.pub").write_bytes(make_signing_key(key))
    (folder / "federation.toml").write_text(
        '[federation]\nname = "lab"\n[model]\nfeatures = 2\nclasses = ["a", "b"]\n'
        '[signing]\nkey = "aggregator/signing.key"\n'
    )
    return key


def test_the_old_key_names_the_new_one_and_is_gone(tmp_path: Path) -> None:
    key = federation(tmp_path)
    before = read_signer(key, LAB)
    old_pem = key.read_bytes()
    result = CliRunner().invoke(app, ["rotate-key", "--folder", str(tmp_path)])
    assert result.exit_code == 0, result.output
    after = read_signer(key, LAB)
    assert_tells(result.stdout, fingerprint(before.public), fingerprint(after.public))
    assert "aggregator" in result.stderr
    assert (before.chain, after.keys) == ((), (before.public, after.public))
    assert ed25519.read_public_key(key.with_suffix(".pub")) == after.public
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    secret = b"".join(old_pem.splitlines()[1:-1])
    assert not any(secret in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    asked = ["openssl", "pkey", "-in", str(key), "-pubout"]
    assert subprocess.run(asked, capture_output=True, check=True).stdout == ed25519.public_pem(after.public)


def test_a_device_follows_from_any_of_the_last_keys_and_from_no_older_one(tmp_path: Path) -> None:
    key = federation(tmp_path)
    publics = [read_signer(key, LAB).public]
    for _ in range(MAX_SUCCESSIONS + 1):
        rotate_signing_key(key, key.with_suffix(".pub"), "lab")
        publics.append(read_signer(key, LAB).public)
    sealed = read_signer(key, LAB).seal(
        Service(online=True, ledger=b"l" * 16, instance=b"i" * 16, beat=1), "round"
    )
    assert len(sealed) < 3_000, "the chain is bounded"
    envelope = unpack(sealed, Signed)
    for pinned in publics[1:]:
        assert authenticate(envelope, "round", LAB, (pinned,), ed25519.verify)[-1] == publics[-1]
    with pytest.raises(ProtocolError) as refused:
        authenticate(envelope, "round", LAB, (publics[0],), ed25519.verify)
    assert refused.value.reason is Reason.BAD_SIGNATURE


def test_a_key_that_was_changed_for_another_federation_is_refused(tmp_path: Path) -> None:
    key = federation(tmp_path)
    rotate_signing_key(key, key.with_suffix(".pub"), "lab")
    with pytest.raises(ConfigError, match="'elsewhere'"):
        read_signer(key, Topics("elsewhere"))


def test_a_damaged_chain_is_said(tmp_path: Path) -> None:
    key = federation(tmp_path)
    first = key.read_bytes()
    rotate_signing_key(key, key.with_suffix(".pub"), "lab")
    second = key.read_bytes()
    private, blocks = second.split(b"-----BEGIN FEDGE", 1)
    for wrong, text in (
        (first + b"-----BEGIN FEDGE" + blocks, "do not lead"),
        (second.replace(b"\n-----END FEDGE", b"AAAA\n-----END FEDGE"), "damaged"),
        (private.replace(b"PRIVATE", b"SECRET") + blocks, "PEM"),
    ):
        key.write_bytes(wrong)
        with pytest.raises(ConfigError, match=text):
            read_signer(key, LAB)


def test_what_cannot_be_changed_is_said_and_stays(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["rotate-key", "--folder", str(tmp_path)])
    assert (result.exit_code, result.stdout) == (78, "")
    assert_tells(result.stderr, "federation.toml", "`fedge init NAME`")
    key = federation(tmp_path)
    settings = (tmp_path / "federation.toml").read_text()
    (tmp_path / "federation.toml").write_text(settings.partition("[signing]")[0])
    result = CliRunner().invoke(app, ["rotate-key", "--folder", str(tmp_path)])
    assert (result.exit_code, result.stdout) == (78, "")
    assert_tells(result.stderr, "[signing] key: ", "missing")
    assert read_signer(key, LAB).chain == ()
