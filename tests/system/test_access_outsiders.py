"""Who is not let in at all, on either listener of Mosquitto with the configuration of `fedge init`."""

import re
import ssl
from collections.abc import Iterator
from datetime import timedelta

import pytest

from fedge.identity import bundle
from fedge.identity.provisioning import identity, renewal_user
from fleet.pki.authority import Authority
from fleet.pki.certificates import utc_now
from fleet.pki.keys import make_key
from fleet.pki.publication import publish
from fleet.pki.register import Register
from fleet.pki.revocation import revoke
from fleet.pki.tokens import promise, withdraw
from tests.system.access import OUTSIDERS, REFUSED, A, Place, a_place, authority_of, own_certificate
from tests.system.probes import Member, tls
from tests.system.production import needs_mosquitto

pytestmark = [pytest.mark.system, needs_mosquitto]


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with a_place() as place:
        yield place


VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


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
