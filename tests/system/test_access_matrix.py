"""Who may do what: every role tries every topic, against Mosquitto with the configuration of `fedge init`.

What is intended is written here by hand, from the protocol and not from `fleet/pki/acl.py`. The tables
of docs/access.md are what was seen; FEDGE_WRITE_DOCS=1 writes them anew.
"""

import os
import re
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from fedge.identity import bundle
from fedge.identity.provisioning import identity, renewal_user
from fedge.identity.token import Token
from fleet.pki.authority import Authority
from fleet.pki.certificates import utc_now
from fleet.pki.enrolment import enroll, revoke
from fleet.pki.folder import FederationFolder, read
from fleet.pki.init_federation import found
from fleet.pki.init_options import Founding
from fleet.pki.keys import make_key, public_key
from fleet.pki.publication import publish, signal_broker
from fleet.pki.register import Register
from fleet.pki.tokens import promise, withdraw
from tests.system.probes import NOT_AUTHORIZED, PATIENCE_S, Member, Refused, Seen, probe, tls
from tests.system.production import Production, needs_mosquitto, production

pytestmark = [pytest.mark.system, needs_mosquitto]

PAGE = Path(__file__).parents[2] / "docs" / "access.md"
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
MEANING = {
    "A": "device `pi-a`",
    "B": "device `pi-b`",
    "agg": "the aggregator",
    "watch": "the aggregator's look around before it takes its session",
    "obs": "a dashboard",
    "reg": "the registrar",
    "renew": "`pi-a` renewing its certificate, by password on the provisioning listener",
    "claim": "whoever has an enrolment token, on the provisioning listener",
    "h-A": "device `pi-a` of another federation, `harbour`, on the same broker",
    "h-agg": "the aggregator of `harbour`",
}
WILDCARDS = ["#", "fedge/#", "+/+/+/round", "$SYS/#", "$share/g/#", "$share/g/fedge/v1/greenhouse/update/+/+"]


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


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with a_place() as place:
        yield place


@pytest.fixture
def own_place() -> Iterator[Place]:
    """For a test that leaves sessions behind: Mosquitto 2.0.11 may not survive what other tests do next."""
    with a_place() as place:
        yield place


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


def cell(seen: Seen, topic: str) -> str:
    """What was seen, in the table's words; longer where the ways of reading or writing do not agree."""
    reads = {"live": topic in seen.read, "retained": topic in seen.found}
    writes = {"said": topic in seen.acknowledged}
    if topic.startswith("$"):  # only the broker speaks there, and what it says of itself lies there
        reads.pop("live")
    else:
        writes |= {"done": topic in seen.written, "retained": topic in seen.retained}
    if len(set(reads.values())) > 1 or len(set(writes.values())) > 1:
        return f"reads {reads}, writes {writes}"
    return ("r" if all(reads.values()) else "") + ("w" if all(writes.values()) else "") or "-"


@pytest.fixture(scope="module")
def seen(place: Place) -> dict[str, dict[str, str]]:
    roles, table = intended()
    topics = {topic: place.spell(topic) for topic in table}
    open_ = [spelt for spelt in topics.values() if not spelt.startswith("$")]
    others = [spelt for spelt in topics.values() if spelt.startswith("$")]
    with together({role: place.member(role) for role in roles}) as members, spying(place) as spy:
        outcome = probe(spy, members, open_, [*others, *WILDCARDS])
        assert not any(member.lost.is_set() for member in members.values())
    foreign = {name: one.read | one.found - set(open_) - set(others) for name, one in outcome.items()}
    assert all(
        topic in topics.values() or topic.startswith("$SYS") for each in foreign.values() for topic in each
    )
    return {topic: {role: cell(outcome[role], spelt) for role in roles} for topic, spelt in topics.items()}


def test_every_role_may_do_what_is_intended_and_nothing_else(seen: dict[str, dict[str, str]]) -> None:
    _, table = intended()
    wrong = [
        f"{role} on {topic}: intended {table[topic][role]}, seen {found}"
        for topic, row in seen.items()
        for role, found in row.items()
        if found != table[topic][role]
    ]
    assert not wrong, "\n".join(wrong)
    print(f"{sum(map(len, table.values()))} pairs of role and topic, as intended")


def test_the_page_tells_what_was_seen(seen: dict[str, dict[str, str]]) -> None:
    text = page(seen)
    if os.environ.get("FEDGE_WRITE_DOCS") == "1":
        PAGE.write_text(text, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == text, "FEDGE_WRITE_DOCS=1 writes docs/access.md anew"


# Those who are not let in at all.

VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
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


@pytest.fixture(scope="module")
def outsiders(place: Place) -> dict[str, Member]:
    greenhouse, folder, token = place.greenhouse, place.greenhouse.folder, place.token
    strange = Authority.found("greenhouse authority", make_key(), 1, utc_now())
    false = own_certificate(strange, "greenhouse__aggregator", folder.root / "false.pem")
    old = own_certificate(
        authority_of(folder), identity("greenhouse", A), folder.root / "old.pem", days_ago=2
    )
    home = greenhouse.home("stolen")
    stolen_password = (home / bundle.RENEWAL).read_text().strip()
    revoke(folder, "stolen")
    withdrawn = promise(folder, uses=1, valid=timedelta(hours=1)).token
    withdraw(folder, withdrawn.claim)
    ended = promise(folder, uses=1, valid=timedelta(hours=1)).token
    with Register(folder.register) as register:
        register.run(
            "UPDATE claims SET expires_at = ? WHERE name = ?", utc_now().timestamp() - 1, ended.claim
        )
        publish(folder, register)
    front, side = place.at_the_front, place.at_the_side
    members = [
        front(None),
        front(false),
        front(old),
        front(home / bundle.IDENTITY),
        front(folder.broker_identity),
        front(None, username=token.user, password=token.password),
        Member(greenhouse.port),
        side(None, None),
        side(identity("greenhouse", A), None),
        side("greenhouse__aggregator", token.password),
        Member(greenhouse.provisioning_port, tls(place.ca, greenhouse.identity(A))),
        side(renewal_user("greenhouse", A), "wrong"),
        side(renewal_user("greenhouse", "stolen"), stolen_password),
        side(withdrawn.user, withdrawn.password),
        side(ended.user, ended.password),
        Member(greenhouse.provisioning_port, None, token.user, token.password),
    ]
    return dict(zip(OUTSIDERS, members, strict=True))


@pytest.mark.parametrize("version", VERSIONS)
def test_members_are_let_in(place: Place, version: ssl.TLSVersion) -> None:
    """With the same bytes as the outsiders send."""
    for role in ("A", "agg", "claim", "renew"):
        assert place.member(role).knock(version) == "CONNACK 0x0"


@pytest.mark.parametrize("who", OUTSIDERS)
def test_outsiders_are_not_let_in(outsiders: dict[str, Member], who: str) -> None:
    port, words = OUTSIDERS[who]
    assert re.search(words, outsiders[who].knock(ssl.TLSVersion.TLSv1_2))
    said = outsiders[who].knock(ssl.TLSVersion.TLSv1_3)
    assert said == REFUSED if port == 8884 and words == REFUSED else "CONNACK" not in said


# Taking over: a client id, a session, or a last word in another's name.


def test_nobody_takes_over_anothers_client_id_or_session(own_place: Place) -> None:
    place = own_place
    roles, _ = intended()
    names = {"agg": "greenhouse__aggregator", "B": identity("greenhouse", B)}
    victims = {role: place.member(role, keep_session=True) for role in names}
    with together(victims):
        for role in roles:
            if role in names:
                continue
            for name in names.values():
                with together({role: place.member(role, client_id=name, resumes=True)}) as attackers:
                    assert not attackers[role].session_present, role
                for victim in victims.values():
                    victim.catch_up()
        assert not any(victim.lost.is_set() for victim in victims.values())
        # The other way round it works, or this test would prove nothing.
        with together({"agg": place.member("agg", keep_session=True)}) as again:
            assert again["agg"].session_present
            assert victims["agg"].lost.wait(PATIENCE_S)


@pytest.mark.parametrize(
    ("role", "topic"),
    [
        ("A", "round"),
        ("A", "status/pi-b"),
        ("h-A", "status/pi-a"),
        ("claim", "status/pi-a"),
        ("obs", "service"),
    ],
)
def test_a_last_will_in_anothers_name_is_never_said(place: Place, role: str, topic: str) -> None:
    with spying(place) as spy:
        spy.subscribe(["#"])
        liar = place.member(role, will=f"fedge/v1/greenhouse/{topic}")
        honest = place.member("B", will=f"fedge/v1/greenhouse/status/{B}")
        for member in (liar, honest):
            try:
                member.open()
            except Refused:
                assert member is liar
                continue
            member.drop()
        spy.wait_for(b"will")
        spy.catch_up()
        said = {topic for topic, _, payload in spy.heard if payload == b"will"}
        assert said == {f"fedge/v1/greenhouse/status/{B}"}


# The page


TEXT = """\
# Who may do what

Which topics each identity may read and write, for whoever runs the broker or checks its access list. The
table was measured: on Mosquitto with the configuration of `fedge init`, every role tried to publish on every
topic, to publish retained, to receive what is published, and to receive what is retained, by the topic's name
and by wildcards. `tests/system/test_access_matrix.py` repeats this in every run. It compares the result with
the intended rights, which are written there by hand, and with this page, which `FEDGE_WRITE_DOCS=1` writes.
Mosquitto 2.0.11 and 2.1.2 gave the same result.

The roles:

{roles}

{table}

An empty cell means neither. `{{lane-a}}` is the lane of `pi-a` (first byte of its id's SHA-256), `{{claim}}`
the name of a token's claim. A device's identity belongs to version 1 of the protocol, so it may not publish
on `fedge/v2`.

## Not let in

Port 8883 requires a certificate, port 8884 a name and a password. These were refused:

| a client with | port |
|---|---|
{outsiders}

## Another's name

The broker takes the client id from the certificate, or from the user name. A client that asks for another
client id gets its own. Every role asked for the aggregator's and for a device's; their connections and
sessions stayed. The broker never publishes a last will on a topic that its client may not write.
"""


def page(seen: dict[str, dict[str, str]]) -> str:
    """docs/access.md."""
    roles, _ = intended()
    words = {"r": "reads", "w": "writes", "rw": "both", "-": ""}
    rows = [
        [f"`{topic}`", *(words.get(row[role], row[role]) for role in roles)] for topic, row in seen.items()
    ]
    table = [["topic", *roles], ["---"] * (1 + len(roles)), *rows]
    return TEXT.format(
        roles="\n".join(f"* **{role}** {MEANING[role]}" for role in roles),
        table="\n".join(f"| {' | '.join(row)} |" for row in table),
        outsiders="\n".join(f"| {who} | {port} |" for who, (port, _) in OUTSIDERS.items()),
    )
