"""Several processes change who belongs to a federation of 2,000 at the same time, and the broker runs."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from fedge.identity import bundle
from fedge.identity.provisioning import SALT_BYTES, Verifier
from fedge.storage.databases import open_read_only
from fleet.pki.authority import Authority
from fleet.pki.certificates import utc_now
from fleet.pki.enrolment import enroll
from fleet.pki.folder import FederationFolder
from fleet.pki.identity import Identity
from fleet.pki.init_federation import found
from fleet.pki.init_options import Founding
from fleet.pki.keys import make_key, public_key
from fleet.pki.register import Register
from fleet.pki.tokens import promise, read_duration
from tests.system.probes import Member, Refused, tls
from tests.system.production import Production, needs_mosquitto, production
from tests.system.registrars import registrar

pytestmark = [pytest.mark.system, needs_mosquitto]

MEMBERS = 2_000
AT_ONCE = 8
PATIENCE_S = 300.0


def fill(folder: FederationFolder, members: int) -> None:
    """Members with certificates, as the register has them; nobody needs their keys."""
    authority = Authority.open(folder.ca.read_bytes(), folder.ca_key.read_bytes())
    key, now = public_key(make_key()), utc_now()
    with Register(folder.register) as register, register.transaction():
        for number in range(members):
            identity = Identity(folder.federation(), f"member-{number}")
            register.enrol(identity, renewal=Verifier.of("a password", bytes(SALT_BYTES)))
            register.add_certificate(identity, authority.issue_client(identity.name, key, 365, now))


@pytest.fixture
def place() -> Iterator[Production]:
    with production() as made:
        fill(made.folder, MEMBERS)
        yield made


def start(commands: Sequence[Sequence[str]]) -> list["subprocess.Popen[bytes]"]:
    return [
        subprocess.Popen([sys.executable, "-m", *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for command in commands
    ]


def failures(started: Sequence["subprocess.Popen[bytes]"]) -> list[str]:
    """Wait for all; what each of them had to say if it failed."""
    said = [process.communicate(timeout=PATIENCE_S)[0].decode() for process in started]
    return [text for process, text in zip(started, said, strict=True) if process.returncode != 0]


def is_let_in(place: Production, identity: Path) -> bool:
    try:
        Member(place.port, tls(place.folder.ca, identity)).open().close()
    except Refused:
        return False
    return True


def identity_of(place: Production, device: str, home: Path) -> Path:
    """What a device gets out of its bundle."""
    home.mkdir(exist_ok=True)
    path = home / f"{device}.pem"
    path.write_bytes(bundle.unpack(place.folder.bundle(device).read_bytes())[bundle.IDENTITY])
    return path


def names(place: Production) -> set[str]:
    """Who has a block of the access list."""
    lines = place.folder.acl.read_text().splitlines()
    return {line.removeprefix("user ") for line in lines if line.startswith("user ")}


@pytest.mark.slow
def test_eight_enrolments_at_once_all_succeed(place: Production, tmp_path: Path) -> None:
    """Four enrol one, four the same and one more: whoever is first has enrolled it, the others say so."""
    at = ["--folder", str(place.folder.root)]
    commands = [["fleet", "enroll", f"pump-{number}", *at] for number in range(AT_ONCE)]
    for command in commands[::2]:
        command.insert(3, "shared")
    assert failures(start(commands)) == []
    assert {f"greenhouse_pump-{number}" for number in range(AT_ONCE)} < names(place)
    for device in ("shared", *(f"pump-{number}" for number in range(AT_ONCE))):
        assert is_let_in(place, identity_of(place, device, tmp_path))


STARTING = """
import signal, sys
print(flush=True)
sys.stdin.readline()
signal.signal(signal.SIGHUP, lambda *_: None)
sys.stdin.read()
"""


@pytest.mark.slow
def test_eight_enrolments_at_once_all_succeed_while_the_broker_starts(tmp_path: Path) -> None:
    """One of them waits until it may signal the broker; nobody else's transaction waits for that."""
    folder = FederationFolder(tmp_path / "greenhouse")
    found(folder, Founding("greenhouse", ["broker.example"]))
    at = ["--folder", str(folder.root)]
    command = [sys.executable, "-c", STARTING, "/usr/sbin/mosquitto"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as broker:
        assert broker.stdin is not None
        assert broker.stdout is not None
        broker.stdout.readline()
        folder.broker_pid.write_text(str(broker.pid))
        started = start([["fleet", "enroll", f"pump-{number}", *at] for number in range(AT_ONCE)])
        while enrolled(folder) < AT_ONCE and all(process.poll() is None for process in started):
            time.sleep(0.1)
        broker.stdin.write(b"\n")
        broker.stdin.flush()
        assert failures(started) == []
    blocks = folder.acl.read_text()
    assert all(f"user greenhouse_pump-{number}\n" in blocks for number in range(AT_ONCE))


def enrolled(folder: FederationFolder) -> int:
    with closing(open_read_only(folder.register)) as db:
        (count,) = db.execute(
            "SELECT count(*) FROM identities WHERE name LIKE '%/_pump%' ESCAPE '/'"
        ).fetchone()
    return int(count)


@pytest.mark.slow
def test_eight_devices_join_by_token_while_others_are_enrolled_revoked_and_renewed(
    place: Production, tmp_path: Path
) -> None:
    at = ["--folder", str(place.folder.root)]
    enroll(place.folder, "thief")
    thief = identity_of(place, "thief", tmp_path)
    assert is_let_in(place, thief)
    token = promise(place.folder, AT_ONCE, read_duration("1h")).token
    joining = [
        [
            "agent",
            "join",
            token.text(),
            "--device",
            f"pump-{number}",
            "--folder",
            str(tmp_path / f"home-{number}"),
        ]
        for number in range(AT_ONCE)
    ]
    others = [
        ["fleet", "revoke", "thief", *at],
        ["fleet", "renew", "--force", *at],
        *(["fleet", "enroll", f"late-{number}", *at] for number in range(2)),
    ]
    with registrar(place.folder):
        assert failures(start([*joining, *others])) == []
    assert {f"greenhouse_pump-{number}" for number in range(AT_ONCE)} < names(place)
    assert {"greenhouse_late-0", "greenhouse_late-1"} < names(place)
    assert "greenhouse_thief" not in names(place)
    assert not is_let_in(place, thief)
    for number in range(AT_ONCE):
        assert is_let_in(place, tmp_path / f"home-{number}" / "identity.pem")
    for number in range(2):
        assert is_let_in(place, identity_of(place, f"late-{number}", tmp_path))
