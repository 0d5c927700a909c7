"""What stands in for a device that belongs no longer waits for a busy broker, and says what it missed."""

from queue import Empty
from types import SimpleNamespace
from typing import Any

import pytest

from fedge.transport import Answered, LinkEvent, LinkUp, MessageArrived, Publication, Sent
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.status import Status
from fleet.pki import kick
from fleet.pki.kick import Dismissed, StandIn, patience_s
from tests.wording import assert_tells

TOPIC = "fedge/1/greenhouse/status/pi-1"
ONLINE = pack(Status(device="pi-1", online=True, boot=b"b" * 16, connection=1, version="0.3.0", samples=100))


class Broker:
    """A link and its inbox: each answer comes so long after it was asked for, on a clock of its own."""

    def __init__(self, slow_s: float, status: bytes | None = ONLINE, deaf: int = 0) -> None:
        self.now_s, self.slow_s, self.status, self.deaf = 0.0, slow_s, status, deaf
        self.coming: list[tuple[float, LinkEvent]] = [(slow_s, LinkUp(1, False, 0))]
        self.sent: list[Publication] = []

    def get(self, timeout: float) -> LinkEvent:
        if self.coming and self.coming[0][0] <= self.now_s + timeout:
            due_s, event = self.coming.pop(0)
            self.now_s = max(self.now_s, due_s)
            return event
        self.now_s += timeout
        raise Empty

    def subscribe(self, topic: str) -> None:
        due_s = self.now_s + self.slow_s
        self.coming.append((due_s, Answered(1, None, subscription=True)))
        if self.status is not None and self.deaf == 0:
            self.coming.append((due_s, MessageArrived(topic, self.status, True, None, 1, 2)))
        self.deaf = max(self.deaf - 1, 0)

    def send(self, publications: list[Publication], token: object) -> None:
        self.sent += publications
        self.coming.append((self.now_s + self.slow_s, Sent(token, None)))

    def handle(self, _event: LinkEvent) -> None: ...


def stand_in(broker: Any, patience: float, patch: pytest.MonkeyPatch) -> StandIn:
    patch.setattr(kick, "time", SimpleNamespace(monotonic=lambda: broker.now_s))
    return StandIn(broker, broker, patience)


@pytest.mark.parametrize("slow_s", [0.01, 1.0, 8.0, 30.0])
def test_the_status_is_replaced_however_long_the_broker_reads(
    slow_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of members: it answers nobody for seconds."""
    broker = Broker(slow_s)
    device = stand_in(broker, patience_s(10_000), monkeypatch)
    assert device.waits_for(LinkUp)
    assert device.says_offline(TOPIC)
    (said,) = broker.sent
    assert (said.topic, said.retain) == (TOPIC, True)
    assert not unpack(said.payload, Status).online


def test_an_access_list_that_is_not_read_yet_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker(2.0, deaf=2)
    assert stand_in(broker, 35.0, monkeypatch).says_offline(TOPIC)
    (said,) = broker.sent
    assert not unpack(said.payload, Status).online


def test_a_device_that_never_told_a_status_costs_little_and_counts_as_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = Broker(0.0, status=None)
    assert stand_in(broker, 35.0, monkeypatch).says_offline(TOPIC)
    assert broker.sent == []
    assert broker.now_s <= 1.0


def test_a_broker_that_never_answers_is_said_not_to_have_done_it(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker(1e9)
    device = stand_in(broker, patience_s(0), monkeypatch)
    assert not device.waits_for(LinkUp)
    assert not device.says_offline(TOPIC)
    assert broker.now_s == pytest.approx(2 * patience_s(0))


def test_patience_grows_with_the_members() -> None:
    assert patience_s(0) == 5
    assert patience_s(10_000) == 35


def test_what_was_not_seen_is_said() -> None:
    assert Dismissed.DONE
    assert Dismissed.DONE.unseen("pi-1") == ""
    assert not Dismissed.NOT_REACHED
    assert_tells(Dismissed.NOT_REACHED.unseen("pi-1"), "connection of pi-1", "open", "status", "online")
    assert_tells(Dismissed.NOT_SAID.unseen("pi-1"), "status of pi-1", "online")
    assert "connection of" not in Dismissed.NOT_SAID.unseen("pi-1")
