"""The registrar's loop: what the broker still holds of requests, whatever comes of them."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedge.errors import StateError
from fedge.transport import LinkEvent, LinkUp, MessageArrived
from fedge.transport.mqtt import MqttTransport
from fleet.pki.folder import FederationFolder
from fleet.pki.init_federation import found
from fleet.pki.init_options import Founding
from fleet.pki.service import Loop


class Broker:
    """In the place of the link: keeps what is acknowledged."""

    up = True

    def __init__(self) -> None:
        self.acknowledged: list[int] = []

    def handle(self, _event: LinkEvent) -> None:
        """Connected, or told what has come."""

    def subscribe(self, *_filters: str) -> None:
        """As many as there are federations."""

    def acknowledge(self, message: MessageArrived) -> None:
        self.acknowledged.append(message.mid)


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    folder = FederationFolder(tmp_path / "greenhouse")
    found(folder, Founding("greenhouse", ["broker.example"]))
    loop = Loop(folder)
    yield loop
    loop._register.close()
    os.close(loop._lock)


def request(mid: int, topic: str = "fedge/v1/greenhouse/provision/pi-1/request") -> MessageArrived:
    return MessageArrived(topic, b"garbage", False, None, 1, mid)


def test_what_is_not_judged_yet_waits_at_the_broker(loop: Loop) -> None:
    """It sends no more than a few without an acknowledgement, so a flood fills no memory here."""
    assert isinstance(loop._link, MqttTransport)
    assert loop._link.manual_ack
    loop._link = broker = Broker()  # type: ignore[assignment]
    loop._turn([LinkUp(1, False, 2**28), *(request(mid) for mid in range(1, 65))])
    assert broker.acknowledged == list(range(1, 65)), "in the order in which they came"


def test_who_is_not_answered_leaves_nothing_behind_that_makes_the_registrar_deaf(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop._link = broker = Broker()  # type: ignore[assignment]

    def full(*_: object) -> None:
        raise StateError("registrar.db cannot be written: the disk is full")

    monkeypatch.setattr(loop._registrar, "turn", full)
    with pytest.raises(StateError):
        loop._turn([request(1), request(2, "elsewhere")])
    assert broker.acknowledged == [1, 2]
