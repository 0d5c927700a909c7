"""The signing key: private, made once, and of the kind that devices can check."""

import stat
import subprocess
from pathlib import Path

import pytest

from fedge import ed25519
from fedge.errors import ConfigError, StateError
from fleet.identities.signing import make_signing_key


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
    with pytest.raises(ConfigError, match=r"signing\.key: no private key in PEM"):
        make_signing_key(path)
    assert path.read_text() == "a note\n"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"signing\.key: cannot be written"):
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
    with pytest.raises(ConfigError, match="no Ed25519 public key in PEM"):
        ed25519.read_public_key(tmp_path / "signing.pub")


def test_a_key_of_another_kind_is_said(tmp_path: Path) -> None:
    other = tmp_path / "signing.key"
    subprocess.run(["openssl", "genpkey", "-algorithm", "X25519", "-out", other], check=True)
    with pytest.raises(ConfigError, match="a key of another kind"):
        ed25519.read_signing_key(other)
