"""What an aggregator hears over a real broker before it begins."""

from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from threading import Thread, Timer
from typing import Any

import pytest

from aggregator.core import presence, takeover
from aggregator.core.claims import Known
from aggregator.shell import leader_check
from aggregator.shell.startup import open_federation
from fedge.errors import ConfigError, Conflict
from fedge.identity import ed25519
from fedge.identity.trust import Signer, succession
from fedge.service.liveness import Pulse
from fedge.service.settings import BrokerSettings
from fedge.transport import Answered, LinkUp, MessageArrived, Publication, Sent
from fedge.transport.mqtt import MqttTransport
from fedge.wire.freshness import RoundId
from fedge.wire.messages.envelope import seal
from fedge.wire.messages.message import pack
from fedge.wire.topics import Topics
from fleet.demo import broker as brokers
from tests.aggregator.startup.places import INSTANCE, UNWATCHED, Place
from tests.aggregator.stories import (
    SMALLER,
    service,
    status,
)
from tests.aggregator.test_presence import manifest
from tests.wording import assert_tells

# ── watching, at a real broker ─────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[brokers.Broker]:
    with brokers.start("auto", tmp_path_factory.mktemp("broker")) as broker:
        yield broker


@pytest.fixture
def town(tmp_path: Path, broker: brokers.Broker, request: pytest.FixtureRequest) -> Iterator[Place]:
    place = Place(tmp_path, name=f"f-{abs(hash(request.node.name)) % 10**9}", url=broker.url)
    yield place
    place.ledger.close()


def retain(town: Place, *publications: tuple[str, bytes], expiry_s: int | None = None) -> None:
    """Publish retained messages, and wait until the broker has them."""
    inbox: SimpleQueue[Any] = SimpleQueue()
    link = MqttTransport(BrokerSettings(url=str(town.values["url"])), "publisher", inbox.put)
    link.open()
    try:
        while True:
            match inbox.get(timeout=60):
                case LinkUp() as up:
                    link.handle(up)
                    link.send((Publication(t, p, True, expiry_s) for t, p in publications), "all")
                case Answered() as answer:
                    link.handle(answer)
                case Sent():
                    return
    finally:
        link.close()


@pytest.mark.system
def test_the_retained_messages_of_a_federation_are_seen(town: Place) -> None:
    topics = town.topics
    retain(
        town,
        (topics.round, seal(manifest(RoundId(1, 4)))),
        *[(topics.status(f"pi-{i}"), pack(status(i % 2 == 0, RoundId(1, 3)))) for i in range(50)],
        (topics.status("liar"), b"garbage"),
        (Topics("elsewhere").status("pi-1"), pack(status(seen=RoundId(9, 9)))),
    )
    ledger = Known(RoundId(1, 4))
    watch = leader_check.watch(town.settings(), ledger, town.inbox, UNWATCHED).watch
    assert (watch.announced, watch.devices["pi-7"]) == ((1, 4), (1, 3))
    assert (len(watch.devices), len(watch.online)) == (50, 25)
    with pytest.raises(ConfigError, match=r"round 1\.4 .*new"):
        town.open()
    assert town.open(new_generation=True).round == (2, 0)


def test_fault_72_with_a_signing_key_only_its_own_announcements_are_believed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A forged one could name a round that no ledger has, and the aggregator would not start."""
    topics, old, new, thief = Topics("lab"), ed25519.generate(), ed25519.generate(), ed25519.generate()
    before = Signer(topics, old.public, old.sign)
    ours = Signer(topics, new.public, new.sign, (succession(topics, old.public, old.sign, new.public),))
    ahead = manifest(RoundId(9, 9))
    for payload in (
        seal(ahead),
        Signer(topics, thief.public, thief.sign).seal(ahead, "round"),
        ours.seal(ahead, "export"),
        before.seal(ahead, "round"),
    ):
        caplog.clear()
        heard = MessageArrived(topics.round, payload, True, None, 1, 1)
        assert leader_check.understood(topics, heard, 1.0, ours) is None
        (line,) = caplog.messages
        assert_tells(line, "fedge/v1/lab/round: ")
    heard = MessageArrived(topics.round, ours.seal(manifest(RoundId(1, 4)), "round"), True, None, 1, 1)
    assert leader_check.understood(topics, heard, 1.0, ours) == takeover.ManifestSeen(
        1.0, manifest(RoundId(1, 4))
    )


@pytest.mark.system
def test_a_beat_that_moves_makes_us_give_way(town: Place) -> None:
    retain(town, (town.topics.service, pack(service(SMALLER, beat=1))))
    alive = Thread(
        target=lambda: [
            retain(town, (town.topics.service, pack(service(SMALLER, beat)))) for beat in range(2, 40)
        ]
    )
    alive.start()
    with pytest.raises(Conflict, match=f"{town.values['name']}.*instance {SMALLER.hex()[:8]}"):
        town.open()
    alive.join()


@pytest.mark.system
def test_a_beat_that_stands_still_is_not_waited_for_for_ever(
    town: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "PATIENCE_S", 0.6)
    retain(town, (town.topics.service, pack(service(SMALLER, beat=1))))
    assert town.open().round == (1, 0)


@pytest.mark.system
def test_what_was_said_long_ago_is_not_waited_for(town: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker says how old it is: without that, this would take a day."""
    monkeypatch.setattr(presence, "PATIENCE_S", 86_400.0)
    monkeypatch.setattr(leader_check, "SERVICE_EXPIRY_S", 100_000)
    retain(town, (town.topics.service, pack(service(SMALLER, beat=1))), expiry_s=100_000 - 86_400)
    assert town.open().round == (1, 0)


def test_on_a_slow_line_silence_begins_with_the_brokers_answer(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a wiped ledger would begin over the memory of a fleet that it did not wait for."""
    monkeypatch.setattr(presence, "QUIET_S", 0.05)

    class SlowLink:
        pulse = Pulse("the network thread")

        def __init__(self, _broker: object, _name: str, inbox: Callable[[object], None]) -> None:
            self.inbox = inbox

        def open(self) -> None:
            self.inbox(LinkUp(1, False, 10**6))

        def subscribe(self, *_filters: str) -> None:
            Timer(0.3, self.answer).start()

        def answer(self) -> None:
            known = pack(status(seen=RoundId(1, 7)))
            self.inbox(Answered(1, None, subscription=True))
            self.inbox(MessageArrived(place.topics.status("a"), known, True, None, 1, 1))

        def handle(self, _event: object) -> None: ...
        def close(self) -> None: ...

    monkeypatch.setattr(leader_check, "MqttTransport", SlowLink)
    ledger = Known(RoundId(1, 7), frozenset("a"), young=False)
    found = leader_check.watch(place.settings(), ledger, place.inbox, UNWATCHED)
    assert found.watch.devices == {"a": (1, 7)}


@pytest.mark.system
def test_a_request_to_stop_ends_the_watching(town: Place) -> None:
    town.inbox.put("stop")
    opened = open_federation(
        town.settings(), town.ledger, INSTANCE, town.inbox, UNWATCHED, new_generation=False
    )
    assert opened is None
    assert town.ledger.meta() is None


@pytest.mark.system
def test_what_is_asked_meanwhile_is_kept_for_the_loop(town: Place) -> None:
    """A signal that comes in the last moment of watching must not be lost with the link's own events."""
    for event in (LinkUp(1, False, 100), "stop", Answered(1, None)):
        town.inbox.put(event)
    leader_check._drain(town.inbox)
    assert town.inbox.get_nowait() == "stop"
    assert town.inbox.empty()
