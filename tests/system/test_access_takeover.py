"""Nobody takes over a client id, a session, or a last word in another's name."""

from collections.abc import Iterator

import pytest

from fedge.identity.provisioning import identity
from tests.system.access import B, Place, a_place, intended, spying, together
from tests.system.probes import PATIENCE_S, Refused
from tests.system.production import needs_mosquitto

pytestmark = [pytest.mark.system, needs_mosquitto]


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with a_place() as place:
        yield place


@pytest.fixture
def own_place() -> Iterator[Place]:
    """For a test that leaves sessions behind: Mosquitto 2.0.11 may not survive what other tests do next."""
    with a_place() as place:
        yield place


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
