"""Two federations on one broker, everybody who may turn up there, and what each may do.

What is intended is written here by hand, from the protocol and not from `fleet/pki/acl.py`.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from fedge.identity import bundle
from fedge.identity.provisioning import renewal_user
from fedge.identity.token import Token
from fleet.pki.authority import Authority
from fleet.pki.certificates import utc_now
from fleet.pki.enrolment import enroll
from fleet.pki.folder import FederationFolder, read
from fleet.pki.init_federation import found
from fleet.pki.init_options import Founding
from fleet.pki.keys import make_key, public_key
from fleet.pki.publication import publish, signal_broker
from fleet.pki.register import Register
from fleet.pki.tokens import promise
from tests.system.probes import NOT_AUTHORIZED, Member, tls
from tests.system.production import Production, production

A, B = "pi-a", "pi-b"
CLAIM = "{claim}"
"""Stands for the claim's name, which is another in each run."""

# r: hears it, live and retained; w: may publish it, retained or not; rw: both; -: neither.
# A, B: devices of `greenhouse`. renew: A's user for renewals. claim: whoever has a token.
# h-A: the device of `harbour`, on the same broker, that has A's name. h-agg: harbour's aggregator.
INTENDED = """
topic                                     A  B  agg watch obs reg renew claim h-A h-agg

fedge/v1/greenhouse/round                 r  r  w   r     r   -   -     -     -   -
fedge/v1/greenhouse/task/0/0              r  r  w   -     r   -   -     -     -   -
fedge/v1/greenhouse/task/1/17             r  r  w   -     r   -   -     -     -   -
fedge/v1/greenhouse/model/0/0             r  r  w   -     r   -   -     -     -   -
fedge/v1/greenhouse/model/1/4095          r  r  w   -     r   -   -     -     -   -
fedge/v1/greenhouse/export                r  r  w   -     r   -   -     -     -   -
fedge/v1/greenhouse/export/0/0            r  r  w   -     r   -   -     -     -   -
fedge/v1/greenhouse/service               -  -  rw  r     r   -   -     -     -   -
fedge/v1/greenhouse/update/{lane-a}/pi-a  w  -  r   -     -   -   -     -     -   -
fedge/v1/greenhouse/update/{lane-b}/pi-b  -  w  r   -     -   -   -     -     -   -
fedge/v1/greenhouse/update/00/pi-a        -  -  r   -     -   -   -     -     -   -
fedge/v1/greenhouse/receipt/pi-a          r  -  w   -     r   -   -     -     -   -
fedge/v1/greenhouse/receipt/pi-b          -  r  w   -     r   -   -     -     -   -
fedge/v1/greenhouse/status/pi-a           rw -  r   r     r   -   -     -     -   -
fedge/v1/greenhouse/status/pi-b           -  rw r   r     r   -   -     -     -   -
fedge/v2/greenhouse/status/pi-a           -  -  r   r     r   -   -     -     -   -
fedge/v2/greenhouse/round                 -  -  -   -     -   -   -     -     -   -
fedge/v1/greenhouse/provision/{claim}/request -  - - -    -   r   -     w     -   -
fedge/v1/greenhouse/provision/{claim}/answer  -  - - -    -   w   -     r     -   -
fedge/v1/greenhouse/provision/pi-a/request -  - -   -     -   r   w     -     -   -
fedge/v1/greenhouse/provision/pi-a/answer  -  - -   -     -   w   r     -     -   -
fedge/v1/greenhouse/provision/pi-b/request -  - -   -     -   r   -     -     -   -
fedge/v1/greenhouse/provision/pi-b/answer  -  - -   -     -   w   -     -     -   -
fedge/v1/harbour/round                    -  -  -   -     -   -   -     -     r   w
fedge/v1/harbour/model/0/0                -  -  -   -     -   -   -     -     r   w
fedge/v1/harbour/service                  -  -  -   -     -   -   -     -     -   rw
fedge/v1/harbour/update/{lane-a}/pi-a     -  -  -   -     -   -   -     -     w   r
fedge/v1/harbour/receipt/pi-a             -  -  -   -     -   -   -     -     r   w
fedge/v1/harbour/status/pi-a              -  -  -   -     -   -   -     -     rw  r
fedge/v1/harbour/provision/pi-a/request   -  -  -   -     -   r   -     -     -   -
fedge/v1/harbour/provision/pi-a/answer    -  -  -   -     -   w   -     -     -   -
fedge/v1/greenhouse                       -  -  -   -     -   -   -     -     -   -
fedge/v1/greenhouse/anything/else         -  -  -   -     -   -   -     -     -   -
elsewhere                                 -  -  -   -     -   -   -     -     -   -
$SYS/broker/version                       -  -  -   -     r   -   -     -     -   -
"""
LANES = {"{lane-a}": "b1", "{lane-b}": "15"}
"""First byte of SHA-256, as `printf pi-a | sha256sum` prints it."""


@dataclass
class Place:
    """Two federations on one broker, and everybody who may turn up there."""

    greenhouse: Production
    harbour: FederationFolder
    token: Token
    renewal_password: str

    @property
    def ca(self) -> Path:
        return self.greenhouse.folder.ca

    def at_the_front(self, identity: Path | None, **options: object) -> Member:
        """On the listener for those who have a certificate."""
        return Member(self.greenhouse.port, tls(self.ca, identity), **options)  # type: ignore[arg-type]

    def at_the_side(self, username: str | None, password: str | None, **options: object) -> Member:
        """On the provisioning listener."""
        port = self.greenhouse.provisioning_port
        return Member(port, tls(self.ca), username, password, **options)  # type: ignore[arg-type]

    def member(self, role: str, **options: object) -> Member:
        folder = self.greenhouse.folder
        match role:
            case "A" | "B":
                return self.at_the_front(self.greenhouse.identity({"A": A, "B": B}[role]), **options)
            case "agg":
                return self.at_the_front(folder.aggregator_identity, **options)
            case "watch":
                return self.at_the_front(folder.watch_identity, **options)
            case "obs":
                return self.at_the_front(folder.observer_identity, **options)
            case "reg":
                return self.at_the_front(folder.registrar_identity, **options)
            case "renew":
                return self.at_the_side(renewal_user("greenhouse", A), self.renewal_password, **options)
            case "claim":
                return self.at_the_side(self.token.user, self.token.password, **options)
            case "h-A":
                return self.at_the_front(self.harbour.root / A / "identity.pem", **options)
            case "h-agg":
                return self.at_the_front(self.harbour.aggregator_identity, **options)
        raise AssertionError(role)

    def spell(self, topic: str) -> str:
        """A topic of the table as it is in this run."""
        for short, lane in LANES.items():
            topic = topic.replace(short, lane)
        return topic.replace(CLAIM, self.token.claim)


@contextmanager
def a_place() -> Iterator[Place]:
    with production() as greenhouse:
        folder = greenhouse.folder
        harbour = FederationFolder(folder.root.parent / "harbour")
        found(harbour, Founding("harbour", ["127.0.0.1"], greenhouse.port), beside=folder)
        unpacked = bundle.unpack(enroll(harbour, A).bundle.read_bytes())
        (harbour.root / A).mkdir()
        (harbour.root / A / "identity.pem").write_bytes(unpacked[bundle.IDENTITY])
        greenhouse.home(B)
        greenhouse.identity("observer")
        token = promise(folder, uses=1, valid=timedelta(hours=1)).token
        password = (greenhouse.home(A) / bundle.RENEWAL).read_text().strip()
        yield Place(greenhouse, harbour, token, password)


@contextmanager
def together(members: dict[str, Member]) -> Iterator[dict[str, Member]]:
    with ExitStack() as stack:
        for member in members.values():
            member.open()
            stack.callback(member.close)
        yield members


@contextmanager
def spying(place: Place) -> Iterator[Member]:
    """Somebody who may do everything: its certificate is signed, and its block added, for this alone."""
    folder = place.greenhouse.folder
    spy = own_certificate(authority_of(folder), "greenhouse__spy", folder.root / "spy.pem")
    with folder.acl.open("a") as acl:
        acl.write("\nuser greenhouse__spy\ntopic readwrite #\n")
    signal_broker(folder.broker_pid)
    with together({"spy": place.at_the_front(spy)}) as connected:
        yield connected["spy"]
    with Register(folder.register) as register:
        publish(folder, register)


def authority_of(folder: FederationFolder) -> Authority:
    return Authority.open(read(folder.ca), read(folder.ca_key))


def own_certificate(authority: Authority, name: str, path: Path, *, days_ago: int = 0) -> Path:
    """A key with a certificate of one day's life for it."""
    key = make_key()
    issued = authority.issue_client(name, public_key(key), 1, utc_now() - timedelta(days=days_ago))
    path.write_bytes(key + issued.pem)
    return path


def intended() -> tuple[list[str], dict[str, dict[str, str]]]:
    """The roles, and what each may do by topic."""
    heading, *lines = (line.split() for line in INTENDED.strip().splitlines() if line)
    roles = heading[1:]
    return roles, {topic: dict(zip(roles, rights, strict=True)) for topic, *rights in lines}


REFUSED = f"CONNACK {NOT_AUTHORIZED:#x}"
OUTSIDERS = {
    "no certificate": (8883, "handshake failure"),
    "a certificate of another authority of the same name, as the aggregator": (8883, "unknown ca|decrypt"),
    "device A's certificate, expired yesterday": (8883, "certificate expired"),
    "a revoked device's certificate": (8883, "certificate revoked"),
    "the broker's own certificate": (8883, "unsupported certificate"),
    "a token's name and password, without a certificate": (8883, "handshake failure"),
    "plaintext": (8883, "reset|no MQTT"),
    "no name": (8884, REFUSED),
    "device A's name, without a password": (8884, REFUSED),
    "the aggregator's name, with a token's password": (8884, REFUSED),
    "device A's certificate, without a password": (8884, REFUSED),
    "A's name for renewals, with a wrong password": (8884, REFUSED),
    "a revoked device's name for renewals, with its password": (8884, REFUSED),
    "a token that was withdrawn": (8884, REFUSED),
    "a token that has ended": (8884, REFUSED),
    "plaintext, with a token's name and password": (8884, "reset|no MQTT"),
}
"""Who comes with what, to which listener, and what the broker or TLS (RFC 8446, 6.2) says to that."""
