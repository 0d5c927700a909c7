"""Signatures with certificates' keys: who is accepted, and who is not."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fedge.errors import ConfigError
from fedge.identity.certified_keys import Authority, OwnKey, _client, forget, read_own, verifier, verify
from fleet.pki.authority import Authority as Issuer
from fleet.pki.keys import make_key, public_key

NOW = datetime(2026, 5, 1, tzinfo=UTC)
NAME = "pumps_pi-1"


@pytest.fixture
def issuer() -> Issuer:
    return Issuer.found("pumps authority", make_key(), 100, NOW)


@pytest.fixture
def authority(issuer: Issuer, tmp_path: Path) -> Authority:
    (tmp_path / "ca.pem").write_bytes(issuer.pem)
    return Authority(tmp_path / "ca.pem")


def own(issuer: Issuer, folder: Path, name: str = NAME) -> OwnKey:
    key = make_key()
    file = folder / f"{name}.pem"
    file.write_bytes(key + issuer.issue_client(name, public_key(key), 10, NOW).pem)
    return read_own(file, file)


def test_who_holds_the_key_signs(issuer: Issuer, authority: Authority, tmp_path: Path) -> None:
    mine = own(issuer, tmp_path)
    key = authority.key_of(mine.certificate, NAME, NOW)
    assert isinstance(key, bytes)
    signature = mine.sign(b"data")
    assert len(signature) == 64
    assert verify(key, b"data", signature)
    assert not verify(key, b"date", signature)
    assert not verify(key, b"data", signature[:-1] + bytes([signature[-1] ^ 1]))
    assert not verify(key, b"data", bytes(64))
    assert not verify(key, b"data", signature + b"0")
    assert not verify(b"\2" * 33, b"data", signature)
    known = verifier({"pi-1": key})
    assert known("pi-1", b"data", signature)
    assert not known("pi-2", b"data", signature), "a stranger"


def test_other_certificates_are_refused(issuer: Issuer, authority: Authority, tmp_path: Path) -> None:
    mine = own(issuer, tmp_path)
    other = Issuer.found("pumps authority", make_key(), 100, NOW)
    server = issuer.issue_server(NAME, public_key(make_key()), ["127.0.0.1"], 10, NOW)
    der = x509.load_pem_x509_certificate(server.pem).public_bytes(serialization.Encoding.DER)
    for certificate, name, now, said in (
        (mine.certificate, "pumps_pi-2", NOW, "not that of the client pumps_pi-2"),
        (mine.certificate, NAME, NOW + timedelta(days=11), "not now"),
        (mine.certificate, NAME, NOW - timedelta(days=2), "not now"),
        (own(other, tmp_path).certificate, NAME, NOW, "has not signed"),
        (der, NAME, NOW, "not that of the client"),
        (b"", NAME, NOW, "no certificate"),
        (bytes(5_000), NAME, NOW, "no certificate"),
    ):
        found = authority.key_of(certificate, name, now)
        assert isinstance(found, str)
        assert said in found
    late = authority.key_of(mine.certificate, NAME, None)
    assert isinstance(late, bytes), "it was checked when it came"


def test_a_certificate_is_read_once_and_its_time_is_looked_at_each_time(
    issuer: Issuer, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by an object that was made later; one that is refused is read each time, and not kept."""
    read: list[bytes] = []
    load = x509.load_der_x509_certificate
    monkeypatch.setattr(x509, "load_der_x509_certificate", lambda der: (read.append(der), load(der))[1])
    forget()
    mine = own(issuer, tmp_path).certificate
    for _ in range(3):
        assert isinstance(Authority(tmp_path / "ca.pem").key_of(mine, NAME, NOW), bytes)
        assert isinstance(authority.key_of(mine, NAME, NOW + timedelta(days=11)), str)
        assert isinstance(authority.key_of(mine, "pumps_pi-2", NOW), str)
    assert read.count(mine) == 1
    stranger = own(Issuer.found("pumps authority", make_key(), 100, NOW), tmp_path).certificate
    for _ in range(2):
        assert isinstance(authority.key_of(stranger, NAME, NOW), str)
    assert read.count(stranger) == 2
    assert _client.cache_info().currsize == 1
    other = Issuer.found("pumps authority", make_key(), 100, NOW)
    (tmp_path / "ca.pem").write_bytes(other.pem)
    assert isinstance(Authority(tmp_path / "ca.pem").key_of(mine, NAME, NOW), str), "another authority"


@pytest.mark.parametrize("kind", [b"\xa3", b"\xa5"], ids=["x400", "ediParty"])
def test_a_certificate_with_a_name_that_nobody_can_read_is_refused(tmp_path: Path, kind: bytes) -> None:
    """Our authority has signed it: who holds that could make devices read it."""
    private, client = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ours = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "pumps authority")])
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    builder = x509.CertificateBuilder().issuer_name(ours).not_valid_before(NOW)
    builder = builder.not_valid_after(NOW + timedelta(days=10)).serial_number(1)
    root = builder.subject_name(ours).public_key(private.public_key()).sign(private, hashes.SHA256())
    (tmp_path / "ca.pem").write_bytes(root.public_bytes(serialization.Encoding.PEM))
    names = x509.UnrecognizedExtension(x509.ExtensionOID.SUBJECT_ALTERNATIVE_NAME, b"\x30\x02" + kind + b"\0")
    builder = builder.subject_name(subject).public_key(client.public_key()).add_extension(names, False)
    made = builder.sign(private, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    found = Authority(tmp_path / "ca.pem").key_of(made, NAME, NOW)
    assert found == "our authority has not signed this certificate for a client"


def test_files_that_hold_something_else(issuer: Issuer, tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_bytes(b"")
    for read in (
        lambda: Authority(tmp_path / "empty.pem"),
        lambda: Authority(tmp_path / "missing.pem"),
        lambda: read_own(tmp_path / "empty.pem", tmp_path / "empty.pem"),
    ):
        with pytest.raises(ConfigError):
            read()
