"""What is not acknowledged is bounded in bytes: the broker keeps the rest until there is room."""

import queue
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from fedge.transport import LinkEvent, MessageArrived, Publication
from fedge.transport.mqtt import connection
from fedge.transport.mqtt.turns import Turns
from fleet.demo import broker as brokers
from tests.transport.networks import MqttNetwork
from tests.transport.peer import Peer

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not brokers._find_mosquitto(), reason="mosquitto is not installed"),
]
COUNT = 15
MOST_HELD = 8_000


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MqttNetwork]:
    monkeypatch.setattr(connection, "MOST_HELD", MOST_HELD)
    monkeypatch.setattr(connection, "LONGEST_STOP_S", 60.0)
    network = MqttNetwork(tmp_path)
    yield network
    network.close()


def reader_of(network: MqttNetwork, *, manual_ack: bool) -> Peer:
    """Subscribed to 15 messages of 1,001 or 1,002 bytes, which are published."""
    writer, reader = network.peer("writer"), network.peer("reader", manual_ack=manual_ack)
    writer.open()
    reader.open()
    reader.subscribe("a")
    writer.send(*(Publication("a", b"%d" % n + bytes(1_000)) for n in range(COUNT)))
    return reader


def taken(reader: Peer, seconds: float = 2.0) -> list[MessageArrived]:
    came, end_s = list[MessageArrived](), time.monotonic() + seconds
    while len(came) < COUNT and time.monotonic() < end_s:
        with suppress(queue.Empty):
            event = reader.next(timeout_s=0.1)
            came += [event] if isinstance(event, MessageArrived) else []
    return came


def test_nothing_more_is_read_while_too_much_is_not_acknowledged(network: MqttNetwork) -> None:
    reader = reader_of(network, manual_ack=True)
    held = taken(reader)
    assert len(held) == 4, "three take 3 · (1,024 + 1 + 1,001) bytes, and the fourth is over 8,000"
    reader.link.acknowledge(held[0])
    held += taken(reader)
    assert len(held) == 5
    for message in held[1:]:
        reader.link.acknowledge(message)
    while len(held) < COUNT:
        held += reader.messages(1)
        reader.link.acknowledge(held[-1])
    assert [message.payload.rstrip(b"\0") for message in held] == [b"%d" % n for n in range(COUNT)]


def test_empty_messages_are_bounded_too(network: MqttNetwork) -> None:
    """They take memory as well, here 1,024 + 1 bytes each: the eighth is over 8,000."""
    writer, reader = network.peer("writer"), network.peer("reader", manual_ack=True)
    writer.open()
    reader.open()
    reader.subscribe("a")
    writer.send(*(Publication("a", b"") for _ in range(COUNT)))
    held = taken(reader)
    assert len(held) == 8
    while len(held) < COUNT:
        reader.link.acknowledge(held[-1])
        held += reader.messages(1)


def test_what_is_acknowledged_as_it_comes_is_not_bounded(network: MqttNetwork) -> None:
    assert len(taken(reader_of(network, manual_ack=False), 30.0)) == COUNT


def test_reading_goes_on_after_a_while_so_that_the_connection_stays(
    network: MqttNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "LONGEST_STOP_S", 0.2)
    assert len(taken(reader_of(network, manual_ack=True), 30.0)) == COUNT


def test_beyond_the_bound_one_message_is_read_in_a_turn(
    network: MqttNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a whole turn of large messages would come with each stop that ends."""
    monkeypatch.setattr(connection, "LONGEST_STOP_S", 0.1)
    turn, tell = Turns.turn, connection.PahoConnection._tell
    turns, came = 0, list[int]()

    def counted(self: Turns) -> bool:
        nonlocal turns
        turns += threading.current_thread() is reading
        return turn(self)

    def noted(self: connection.PahoConnection, event: LinkEvent) -> None:
        if isinstance(event, MessageArrived):
            came.append(turns)
        tell(self, event)

    writer, reader = network.peer("writer"), network.peer("reader", manual_ack=True)
    writer.open()
    reader.open()
    reader.subscribe("a")
    reading = reader.link._life.thread  # type: ignore[attr-defined]
    monkeypatch.setattr(Turns, "turn", counted)
    monkeypatch.setattr(connection.PahoConnection, "_tell", noted)
    writer.send(*(Publication("a", b"%d" % n + bytes(1_000)) for n in range(COUNT)))
    assert len(taken(reader, 60.0)) == COUNT
    beyond = came[3:]
    assert len(set(beyond)) == len(beyond) == COUNT - 3, "the fourth message is over the bound"


def test_a_transport_that_holds_too_much_closes_in_time(network: MqttNetwork) -> None:
    reader = reader_of(network, manual_ack=True)
    assert len(taken(reader)) == 4
    began_s = time.monotonic()
    reader.link.close(Publication("status", b"offline"), timeout_s=3.0)
    assert time.monotonic() - began_s < 20.0
    threads = reader.link._life.thread  # type: ignore[attr-defined]
    threads.join(20.0)
    assert not threads.is_alive()
