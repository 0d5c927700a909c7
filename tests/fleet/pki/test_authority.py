"""Certificates that TLS takes for what they are: of this authority, in time, for one purpose, not revoked."""

import ssl
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from fedge.errors import ConfigError
from fleet.pki.authority import BACKDATED, Authority, Revoked
from fleet.pki.certificates import Issued, describe
from fleet.pki.keys import make_key, public_key
from fleet.pki.requests import read_request

NOW = datetime.now(UTC).replace(microsecond=0)
HOST = "broker.example"


@cache
def ca_key() -> bytes:
    return make_key()


@cache
def ca() -> Authority:
    return Authority.found("test authority", ca_key(), 7_300, NOW)


def server(authority: Authority | None = None, days: int = 730, now: datetime = NOW) -> tuple[bytes, Issued]:
    key = make_key()
    return key, (authority or ca()).issue_server(
        "test__broker", public_key(key), [HOST, "127.0.0.1"], days, now
    )


def client(authority: Authority | None = None, days: int = 365, now: datetime = NOW) -> tuple[bytes, Issued]:
    key = make_key()
    return key, (authority or ca()).issue_client("test_pi-1", public_key(key), days, now)


class Handshake:
    """What Mosquitto and a device do: both show a certificate, the broker looks for it in the CRL."""

    def __init__(self, folder: Path, revoked: tuple[Issued, ...] = ()) -> None:
        self.folder = folder
        self.folder.mkdir(exist_ok=True)
        (folder / "ca.pem").write_bytes(ca().pem)
        (folder / "crl.pem").write_bytes(
            ca().revocation_list([Revoked(issued.serial, NOW) for issued in revoked], NOW)
        )

    def context(self, purpose: ssl.Purpose, who: tuple[bytes, Issued]) -> ssl.SSLContext:
        context = ssl.create_default_context(purpose, cafile=str(self.folder / "ca.pem"))
        identity = self.folder / "identity.pem"
        identity.write_bytes(who[0] + who[1].pem)
        context.load_cert_chain(identity)
        if purpose is ssl.Purpose.CLIENT_AUTH:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.folder / "crl.pem")
            context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
        return context

    def run(self, broker: tuple[bytes, Issued], device: tuple[bytes, Issued], host: str = HOST) -> str:
        """The common name the broker reads."""
        up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
        listening = self.context(ssl.Purpose.CLIENT_AUTH, broker).wrap_bio(up, down, server_side=True)
        speaking = self.context(ssl.Purpose.SERVER_AUTH, device).wrap_bio(down, up, server_hostname=host)
        for _ in range(4):
            for side in (speaking, listening):
                with suppress(ssl.SSLWantReadError):
                    side.do_handshake()
        shown = listening.getpeercert()
        assert shown is not None
        ((_, name),) = shown["subject"][0]  # type: ignore[misc]
        return str(name)


def test_a_device_and_the_broker_know_each_other(tmp_path: Path) -> None:
    assert Handshake(tmp_path).run(server(), client()) == "test_pi-1"
    assert Handshake(tmp_path).run(server(), client(), host="127.0.0.1") == "test_pi-1"


def test_another_authority_of_the_same_name_is_not_taken_for_it(tmp_path: Path) -> None:
    stranger = Authority.found("test authority", make_key(), 7_300, NOW)
    for pair in ((server(stranger), client()), (server(), client(stranger))):
        with pytest.raises(ssl.SSLCertVerificationError):
            Handshake(tmp_path).run(*pair)


def test_a_certificate_counts_for_its_time_only(tmp_path: Path) -> None:
    late, early = (
        client(days=1, now=NOW - timedelta(days=3)),
        client(now=NOW + BACKDATED + timedelta(hours=1)),
    )
    for device, reason in ((late, "expired"), (early, "not yet valid")):
        with pytest.raises(ssl.SSLCertVerificationError, match=reason):
            Handshake(tmp_path).run(server(), device)


def test_each_is_for_one_purpose(tmp_path: Path) -> None:
    for pair in ((server(), server()), (client(), client())):
        with pytest.raises(ssl.SSLCertVerificationError, match="purpose"):
            Handshake(tmp_path).run(*pair)


def test_another_host_is_not_taken_for_the_broker(tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        Handshake(tmp_path).run(server(), client(), host="elsewhere.example")


def test_a_revoked_certificate_is_refused_and_the_next_of_the_same_device_is_not(tmp_path: Path) -> None:
    stolen, next_one = client(), client()
    handshake = Handshake(tmp_path, (stolen[1],))
    with pytest.raises(ssl.SSLCertVerificationError, match="revoked"):
        handshake.run(server(), stolen)
    assert handshake.run(server(), next_one) == "test_pi-1"


def test_the_list_of_revoked_ones_does_not_expire_before_the_authority() -> None:
    """An expired list refuses everybody."""
    listed = x509.load_pem_x509_crl(ca().revocation_list([], NOW))
    assert listed.next_update_utc == ca().not_after
    assert listed.last_update_utc <= NOW - BACKDATED


def test_dates_reach_a_day_back_and_never_beyond_the_authority() -> None:
    _, issued = client(days=365)
    assert (issued.not_before, issued.not_after) == (NOW - BACKDATED, NOW + timedelta(days=365))
    short = Authority.found("test authority", ca_key(), 10, NOW)
    assert client(short)[1].not_after == short.not_after == NOW + timedelta(days=10)


def test_what_is_issued_is_read_back() -> None:
    _, issued = client()
    assert describe(issued.pem) == issued
    assert issued.common_name == "test_pi-1"
    with pytest.raises(ConfigError, match="certificate"):
        describe(b"nothing")


def test_a_name_over_64_characters_is_refused_before_it_is_signed() -> None:
    key = public_key(make_key())
    with pytest.raises(ConfigError, match="65 characters"):
        ca().issue_client("x" * 65, key, 365, NOW)
    with pytest.raises(ConfigError, match="65 characters"):
        Authority.found("x" * 65, make_key(), 365, NOW)


def test_an_authority_is_opened_with_its_own_key_only() -> None:
    assert Authority.open(ca().pem, ca_key()).pem == ca().pem
    with pytest.raises(ConfigError, match=r"certificate.*key|key.*certificate"):
        Authority.open(ca().pem, make_key())
    for certificate, key in ((b"x", ca_key()), (ca().pem, b"x")):
        with pytest.raises(ConfigError):
            Authority.open(certificate, key)


# Requests


def request(key: object = None, name: str = "test_pi-1", *names: str) -> bytes:
    attributes = [x509.NameAttribute(x509.NameOID.COMMON_NAME, text) for text in (name, *names)]
    made = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name(attributes))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
    )
    signed = made.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())  # type: ignore[arg-type]
    return signed.public_bytes(serialization.Encoding.PEM)


def test_only_name_and_key_of_a_request_are_looked_at() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    wanted = read_request(request(key))
    assert (wanted.common_name, wanted.key) == ("test_pi-1", key.public_key())
    issued = ca().issue_client(wanted.common_name, wanted.key, 365, NOW)
    extensions = x509.load_pem_x509_certificate(issued.pem).extensions
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    with pytest.raises(x509.ExtensionNotFound):
        extensions.get_extension_for_class(x509.SubjectAlternativeName)


def forged() -> bytes:
    """A request for somebody else's key."""
    mine = x509.load_pem_x509_csr(request())
    his = x509.load_pem_x509_csr(request())

    def raw(csr: x509.CertificateSigningRequest) -> bytes:
        return csr.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )

    der = mine.public_bytes(serialization.Encoding.DER).replace(raw(mine), raw(his))
    return x509.load_der_x509_csr(der).public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(lambda: request(rsa.generate_private_key(65537, 2048)), "P-256", id="RSA"),
        pytest.param(lambda: request(ec.generate_private_key(ec.SECP384R1())), "P-256", id="P-384"),
        pytest.param(forged, "signed", id="another's key"),
        pytest.param(lambda: request(None, "test_pi-1", "test_pi-2"), "one common name", id="two names"),
        pytest.param(bytes, "certificate request", id="empty"),
        pytest.param(lambda: ca().pem, "certificate request", id="a certificate"),
        pytest.param(lambda: bytes(100_000), r"\d+ bytes", id="endless"),
    ],
)
def test_a_request_that_cannot_be_trusted_is_refused(make: Callable[[], bytes], reason: str) -> None:
    pem = make()
    with pytest.raises(ConfigError, match=reason):
        read_request(pem)
