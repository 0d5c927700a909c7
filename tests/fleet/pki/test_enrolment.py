"""`fedge enroll` and `fedge revoke`: what the device gets, and what the broker is told."""

import os
import re
import stat
from io import StringIO
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from rich.console import Console

from aggregator.core.verdicts import Missed
from aggregator.ledger.writing import Ledger
from fedge.errors import ConfigError
from fedge.identity import bundle
from fedge.identity.provisioning import Verifier
from fedge.storage.locks import lock
from fedge.wire.freshness import Attempt, RoundId
from fedge.wire.messages.status import Status
from fleet.pki import device_list as listings
from fleet.pki import publication, revocation
from fleet.pki.certificates import describe, utc_now
from fleet.pki.device_list import as_json, listing, show
from fleet.pki.enrolment import admit_observer, enroll
from fleet.pki.folder import FederationFolder
from fleet.pki.identity import Identity
from fleet.pki.init_federation import found
from fleet.pki.init_options import Founding
from fleet.pki.kick import Dismissed
from fleet.pki.publication import Signalled
from fleet.pki.register import Register
from fleet.pki.revocation import Revocation, revoke

DEVICE = Identity("greenhouse", "pi-1")


@pytest.fixture
def folder(tmp_path: Path) -> FederationFolder:
    folder = FederationFolder(tmp_path / "greenhouse")
    found(folder, Founding("greenhouse", ["broker.example"], device_days=90))
    return folder


def revoked_serials(folder: FederationFolder) -> set[str]:
    return {f"{entry.serial_number:x}" for entry in x509.load_pem_x509_crl(folder.crl.read_bytes())}


def request(name: str) -> tuple[ec.EllipticCurvePrivateKey, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return key, made.public_bytes(serialization.Encoding.PEM)


def test_a_device_gets_one_file_with_all_it_needs(folder: FederationFolder) -> None:
    done = enroll(folder, "pi-1")
    assert done.bundle == folder.devices / "pi-1.fedge"
    assert stat.S_IMODE(done.bundle.stat().st_mode) == 0o600
    assert done.signalled is Signalled.NOT_RUNNING
    files = bundle.unpack(done.bundle.read_bytes())
    assert set(files) == {"agent.toml", "identity.pem", "ca.pem", "signing.pub", "renewal.password"}
    identity = files["identity.pem"]
    assert identity.index(b"PRIVATE KEY") < identity.index(b"CERTIFICATE")
    assert describe(identity[identity.index(b"-----BEGIN CERT") :]).common_name == "greenhouse_pi-1"
    assert (done.issued.not_after - done.issued.not_before).days == 90 + 1
    assert files["signing.pub"] == folder.signing_public.read_bytes()
    with Register(folder.register) as register:
        member = register.member(DEVICE)
    assert member is not None
    assert member.renewal == Verifier.of(files["renewal.password"].decode().strip(), member.renewal.salt)  # type: ignore[union-attr]
    assert "user greenhouse_pi-1\n" in folder.acl.read_text()
    assert "user greenhouse_pi-1__renew\n" in folder.acl.read_text()
    assert folder.passwords.read_text().startswith("greenhouse_pi-1__renew:$7$")


def test_a_device_is_enrolled_once(folder: FederationFolder) -> None:
    before = enroll(folder, "pi-1").bundle.read_bytes()
    folder.acl.unlink()  # as if the first run had been cut short here
    with pytest.raises(ConfigError, match=r"pi-1\.fedge.*--again"):
        enroll(folder, "pi-1")
    assert folder.bundle("pi-1").read_bytes() == before
    assert "user greenhouse_pi-1\n" in folder.acl.read_text()


def test_a_device_that_lost_its_key_gets_another_and_the_first_counts_no_more(
    folder: FederationFolder,
) -> None:
    first = enroll(folder, "pi-1").issued
    second = enroll(folder, "pi-1", again=True).issued
    assert revoked_serials(folder) == {first.serial}
    assert second.serial != first.serial


def test_the_key_of_a_request_never_leaves_the_device(folder: FederationFolder) -> None:
    key, asked = request("greenhouse_pi-1")
    files = bundle.unpack(enroll(folder, None, request=asked).bundle.read_bytes())
    assert set(files) == {"agent.toml", "certificate.pem", "ca.pem", "signing.pub", "renewal.password"}
    certificate = x509.load_pem_x509_certificate(files["certificate.pem"])
    assert certificate.public_key() == key.public_key()
    assert describe(files["certificate.pem"]).common_name == "greenhouse_pi-1"
    assert not any(b"PRIVATE" in content for content in files.values())


def test_a_request_may_name_the_device_alone(folder: FederationFolder) -> None:
    assert enroll(folder, None, request=request("pi-1")[1]).identity == DEVICE
    assert enroll(folder, "pi-2", request=request("pi-2")[1]).identity.device == "pi-2"


@pytest.mark.parametrize(
    "name", ["harbour_pi-1", "greenhouse__aggregator", "greenhouse_pi-2", "greenhouse__registrar"]
)
def test_a_request_for_somebody_else_is_refused(folder: FederationFolder, name: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(name)):
        enroll(folder, "pi-1", request=request(name)[1])
    assert not folder.bundle("pi-1").exists()


@pytest.mark.parametrize("device", ["Pi", "a_b", "claim-0a1b2c3d", "../pi", "x" * 37])
def test_a_name_that_no_device_may_have_is_refused(folder: FederationFolder, device: str) -> None:
    with pytest.raises(ConfigError, match=rf"{re.escape(repr(device))}.* 36 "):
        enroll(folder, device)


def test_a_revoked_device_leaves_the_list_before_its_certificate_is_listed(
    folder: FederationFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    issued = enroll(folder, "pi-1").issued
    enroll(folder, "pi-2")
    at_signal: list[tuple[bool, bool, bool]] = []

    def signal(_pid_file: Path, _members: int) -> Signalled:
        listed = "pi-1" in folder.acl.read_text()
        at_signal.append(
            (listed, "pi-1" in folder.passwords.read_text(), issued.serial in revoked_serials(folder))
        )
        return Signalled.YES

    monkeypatch.setattr(publication, "signal_broker", signal)
    monkeypatch.setattr(revocation, "dismiss", lambda *_: Dismissed.DONE)  # there is no broker here
    assert revoke(folder, "pi-1") == Revocation(Signalled.YES)
    assert at_signal == [(False, False, False), (False, False, True)]
    assert "user greenhouse_pi-2\n" in folder.acl.read_text()
    assert not folder.bundle("pi-1").exists()
    revoke(folder, "pi-1")
    assert revoked_serials(folder) == {issued.serial}
    with pytest.raises(ConfigError, match=r"pi-1 .*revoked.*--again"):
        enroll(folder, "pi-1")
    enroll(folder, "pi-1", again=True)
    assert revoked_serials(folder) == {issued.serial}
    assert "user greenhouse_pi-1\n" in folder.acl.read_text()


def test_who_was_never_enrolled_cannot_be_revoked(folder: FederationFolder) -> None:
    with pytest.raises(ConfigError, match="greenhouse_pi-9 "):
        revoke(folder, "pi-9")


def test_two_federations_share_one_authority_and_one_broker(folder: FederationFolder, tmp_path: Path) -> None:
    second = FederationFolder(tmp_path / "harbour")
    made = found(second, Founding("harbour", ["ignored.example"]), beside=folder)
    assert second.aggregator_identity in made
    assert not {path for path in made if path.parent in (second.broker, folder.broker)}
    enroll(folder, "pi-1")
    enroll(second, "pi-1")
    blocks = folder.acl.read_text()
    for name in ("greenhouse__aggregator", "harbour__aggregator", "greenhouse_pi-1", "harbour_pi-1"):
        assert f"user {name}\n" in blocks
    assert second.ca.read_bytes() == folder.ca.read_bytes()
    assert second.signing_key.read_bytes() != folder.signing_key.read_bytes()
    agent = bundle.unpack(second.bundle("pi-1").read_bytes())["agent.toml"].decode()
    assert 'federation = "harbour"' in agent
    assert 'url = "mqtts://broker.example:8883"' in agent
    assert [entry.member.identity.name for entry in listing(second) if entry.member.identity.device] == [
        "harbour_pi-1"
    ]
    assert found(second, Founding("harbour", ["ignored.example"]), beside=folder) == []


def test_what_every_device_says_comes_with_the_bundle(folder: FederationFolder) -> None:
    folder.device_settings.write_text('[data]\nsource = "npz"\npath = "x.npz"\n')
    assert b'path = "x.npz"' in bundle.unpack(enroll(folder, "pi-1").bundle.read_bytes())["agent.toml"]
    folder.device_settings.write_text('[broker]\nurl = "mqtt://elsewhere"\n')
    with pytest.raises(ConfigError, match=r"device\.toml: broker .*`fedge enroll`"):
        enroll(folder, "pi-2")
    with Register(folder.register) as register:
        assert register.member(Identity("greenhouse", "pi-2")) is None, "half an enrolment"


@pytest.mark.parametrize("as_a_service", [False, True])
def test_the_list_says_when_a_device_was_last_seen(
    folder: FederationFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_a_service: bool
) -> None:
    monkeypatch.setattr(listings, "SERVICES", tmp_path / "services")
    enroll(folder, "pi-1")
    state = tmp_path / "services" / "greenhouse" if as_a_service else folder.root / "state"
    state.mkdir(parents=True)
    ledger = Ledger(state / "ledger.db")
    with ledger.transaction():
        ledger.save_status(
            "pi-1", Status(online=False, boot=bytes(16), connection=1, version="1"), 1_800_000_000
        )
    ledger.close()
    (row,) = (row for row in as_json(listing(folder), utc_now()) if row["device"] == "pi-1")
    assert (row["online"], row["last_seen"]) == (False, "2027-01-15T08:00:00+00:00")


@pytest.mark.parametrize("times", [1, 2])
def test_the_list_says_whom_rounds_do_not_wait_for(folder: FederationFolder, times: int) -> None:
    enroll(folder, "pi-1")
    (folder.root / "state").mkdir(parents=True)
    ledger = Ledger(folder.root / "state" / "ledger.db")
    with ledger.transaction():
        ledger.save_status("pi-1", Status(online=True, boot=bytes(16), connection=1, version="1"), 1.0)
        ledger.save_missed("pi-1", Missed(times, Attempt(RoundId(1, 2), 0)))
    ledger.close()
    held = lock(folder.root / "state")  # an aggregator is at work
    listed = listing(folder)
    os.close(held)
    (row,) = (row for row in as_json(listed, utc_now()) if row["device"] == "pi-1")
    assert row["missed"] == times
    console = Console(file=StringIO(), width=200)
    show(listed, utc_now(), console)
    assert isinstance(console.file, StringIO)
    assert (", not awaited" in console.file.getvalue()) == (times == 2)


def test_the_list_names_everybody(folder: FederationFolder) -> None:
    enroll(folder, "pi-1")
    issued = enroll(folder, "pi-2").issued
    revoke(folder, "pi-2")
    admit_observer(folder)
    admit_observer(folder)
    rows = {row["name"]: row for row in as_json(listing(folder), issued.not_before)}
    assert rows["greenhouse_pi-1"]["state"] == "good"
    assert rows["greenhouse_pi-2"]["state"] == "revoked"
    assert rows["greenhouse_pi-1"]["last_seen"] is None
    assert rows["greenhouse__observer"]["role"] == "observer"
    assert list(rows)[-2:] == ["greenhouse_pi-1", "greenhouse_pi-2"]
    late = {row["name"]: row["state"] for row in as_json(listing(folder), issued.not_after)}
    assert (late["greenhouse_pi-1"], late["greenhouse__aggregator"]) == ("expired", "good")
