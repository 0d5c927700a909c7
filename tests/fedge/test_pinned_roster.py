"""A roster that an owner pins: how it is written, read and refused, and revocation lists."""

import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from fedge.errors import ConfigError
from fedge.identity.certified_keys import Authority, OwnKey, fingerprint, read_own, serial_of
from fedge.identity.pinned_roster import line_of, read_roster
from fleet.pki.authority import Authority as Issuer
from fleet.pki.authority import Revoked
from fleet.pki.certificates import utc_now
from fleet.pki.keys import make_key, public_key

NOW = utc_now()


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer.found("pumps authority", make_key(), 100, NOW)


def own(issuer: Issuer, folder: Path, name: str = "pumps_pi-1") -> OwnKey:
    key, file = make_key(), folder / f"{name}.pem"
    file.write_bytes(key + issuer.issue_client(name, public_key(key), 10, NOW).pem)
    return read_own(file, file)


def test_the_fingerprint_is_what_openssl_prints(issuer: Issuer, tmp_path: Path) -> None:
    mine = own(issuer, tmp_path)
    command = f"openssl x509 -in {tmp_path}/pumps_pi-1.pem -pubkey -noout | openssl pkey -pubin -outform der"
    told = subprocess.run(
        ["sh", "-c", f"{command} | sha256sum"], check=True, capture_output=True, text=True
    ).stdout
    assert told.split()[0] == fingerprint(mine.public)
    assert line_of("pi-1", mine.public) == f"pi-1 {told.split()[0]}"


def test_only_devices_of_the_roster_with_their_keys_are_known(issuer: Issuer, tmp_path: Path) -> None:
    first, renewed, other = (own(issuer, tmp_path, f"pumps_pi-{at}") for at in (1, 2, 3))
    lines = [f"# collected by hand\n{line_of('pi-1', first.public)}", "", line_of("pi-1", renewed.public)]
    (tmp_path / "roster").write_text("\r\n".join([*lines, f"  {line_of('pi-3', other.public)}  # the attic"]))
    roster = read_roster(tmp_path / "roster")
    assert roster.devices == {"pi-1", "pi-3"}
    assert roster.objection("pi-1", first.public) is None
    assert roster.objection("pi-1", renewed.public) is None
    assert "another key of pi-1" in (roster.objection("pi-1", other.public) or "")
    assert "does not know pi-2" in (roster.objection("pi-2", first.public) or "")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "names no device"),
        (b"# nobody\n", "names no device"),
        (b"pi-1", ":1: expected a device's id"),
        (b"\npi-1 " + b"0" * 63, ":2: expected a device's id"),
        (b"pi-1 " + b"A" * 64, ":1: expected"),
        (b"pi_1 " + b"a" * 64, ":1: expected"),
        (b"pi-1 " + b"a" * 64 + b" more", ":1: expected"),
        (b"\xff", "is not a text in UTF-8"),
    ],
)
def test_what_is_no_roster_is_refused_with_its_line(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "roster").write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        read_roster(tmp_path / "roster")
    assert said in str(refused.value)
    assert str(tmp_path / "roster") in str(refused.value)


def test_a_roster_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_roster(tmp_path / "roster")


def test_revocation_lists_count_if_the_authority_has_signed_them(issuer: Issuer, tmp_path: Path) -> None:
    mine, list_ = own(issuer, tmp_path), tmp_path / "crl.pem"
    (tmp_path / "ca.pem").write_bytes(issuer.pem)
    authority = Authority(tmp_path / "ca.pem")
    serial = serial_of(mine.certificate)
    assert serial is not None
    list_.write_bytes(issuer.revocation_list([Revoked(f"{serial:x}", NOW)], NOW + timedelta(seconds=1)))
    assert authority.revoked(list_) == {serial}
    stranger = Issuer.found("pumps authority", make_key(), 100, NOW)
    list_.write_bytes(stranger.revocation_list([], NOW))
    with pytest.raises(ConfigError, match="another authority"):
        authority.revoked(list_)
    list_.write_bytes(b"nothing")
    with pytest.raises(ConfigError, match="no revocation list"):
        authority.revoked(list_)
    list_.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        authority.revoked(list_)
    assert serial_of(b"nothing") is None
