"""The short ways of the MQTT client: what comes and goes is the same as paho's own way, byte for byte."""

import random
import socket
import threading
import time
from collections.abc import Iterator

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from fedge.transport.mqtt import client as module
from fedge.transport.mqtt.client import Client

CONNACK = b"\x20\x03\x00\x00\x00"
EXPIRES = b"\x05\x02\x00\x00\x00\x07"
"""The properties of a message that expires in 7 s."""


def publish(topic: bytes, payload: bytes, mid: int, properties: bytes = b"\0", retain: bool = False) -> bytes:
    """A PUBLISH of QoS 1, by section 3.3 of MQTT 5."""
    rest = len(topic).to_bytes(2, "big") + topic + mid.to_bytes(2, "big") + properties + payload
    length, left = bytearray(), len(rest)
    while True:
        length.append(left % 128 + (128 if left >= 128 else 0))
        left //= 128
        if not left:
            return bytes([0x32 | retain]) + bytes(length) + rest


class Line:
    """A client, and the other end of its connection."""

    def __init__(self, *, manual_ack: bool = True) -> None:
        self.client = Client(CallbackAPIVersion.VERSION2, "c", protocol=mqtt.MQTTv5, manual_ack=manual_ack)
        self.client.on_socket_register_write = lambda *_: None
        self.came: list[tuple[bytes, bytes, bool, int]] = []
        self.came_pahos_way: list[tuple[bytes, bytes, bool, int]] = []
        self.answered: list[tuple[int, str | None]] = []
        self.client.arrives = lambda *message: self.came.append(message)
        self.client.answers = lambda *answer: self.answered.append(answer)
        self.client.on_message = lambda _client, _data, m: self.came_pahos_way.append(
            (m.topic.encode(), m.payload, m.retain, m.mid)
        )
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.client.connect("127.0.0.1", server.getsockname()[1])
            self.broker, _ = server.accept()
        self.broker.settimeout(20.0)
        self.turn()
        assert self.broker.recv(1_000)[:1] == b"\x10"
        self.tell(CONNACK)

    def close(self) -> None:
        self.broker.close()
        self.client.end()

    def turn(self) -> None:
        assert self.client.loop(0.05) == mqtt.MQTT_ERR_SUCCESS

    def tell(self, data: bytes) -> None:
        self.broker.sendall(data)
        self.turn()

    def heard(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            found += self.broker.recv(size - len(found))
        return found


@pytest.fixture
def line() -> Iterator[Line]:
    line = Line()
    yield line
    line.close()


@pytest.mark.parametrize("seed", range(6))
def test_publications_arrive_however_their_bytes_are_cut(line: Line, seed: int) -> None:
    rng = random.Random(seed)
    sent = [
        (b"t/%d" % k, rng.randbytes(rng.choice([0, 1, 100, 9_000, 150_000])), rng.random() < 0.3, k)
        for k in range(1, 40)
    ]
    plain = {message[3] for message in sent if rng.random() < 0.7}
    data = b"".join(publish(t, p, m, b"\0" if m in plain else EXPIRES, r) for t, p, r, m in sent)
    while data:
        cut = rng.choice([1, 3, 700, 20_000, 200_000])
        line.broker.sendall(data[:cut])
        data = data[cut:]
        line.turn()
    for _ in range(100):
        if len(line.came) + len(line.came_pahos_way) < len(sent):
            line.turn()
    assert line.came == [message for message in sent if message[3] in plain]
    assert line.came_pahos_way == [message for message in sent if message[3] not in plain]


def test_what_was_read_ahead_does_not_wait_for_more(line: Line) -> None:
    began_s = time.monotonic()
    line.broker.sendall(b"".join(publish(b"a", b"x", mid) for mid in range(1, 201)))
    while len(line.came) < 200:
        assert line.client.loop(20.0) == mqtt.MQTT_ERR_SUCCESS
    assert time.monotonic() - began_s < 15.0


def test_a_reading_turn_ends_though_bytes_come_without_end(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, reads = publish(b"a", b"x" * 9, 7), list[bytes]()
    assert len(data) == 17

    def block(_self: object, _size: int) -> bytes:
        """20 bytes more, so that a packet is cut at the end of each of the first 16 blocks."""
        at = 20 * len(reads) % 17
        reads.append((data * 3)[at : at + 20])
        return reads[-1]

    monkeypatch.setattr(mqtt.Client, "_sock_recv", block)
    line.client.loop_read()
    assert len(reads) == module.BLOCKS
    assert len(line.came) == 20 * module.BLOCKS // 17


def test_the_brokers_answer_names_its_refusal(line: Line) -> None:
    for answer in (
        b"\x40\x02\x00\x01",
        b"\x40\x03\x00\x02\x10",
        b"\x40\x04\x00\x03\x87\x00",
        b"\x40\x03\0\4\xf0",
    ):
        line.tell(answer)
    assert line.answered == [(1, None), (2, None), (3, "Not authorized"), (4, "reason code 240")]


def test_an_answer_to_what_went_pahos_way_goes_pahos_way(line: Line) -> None:
    info = line.client.publish("t", b"last", 1)
    line.turn()
    assert line.heard(len(publish(b"t", b"last", info.mid))) == publish(b"t", b"last", info.mid)
    line.tell(b"\x40\x02" + info.mid.to_bytes(2, "big"))
    assert info.is_published()
    assert line.answered == []


def test_waiting_packets_are_sent_in_order_and_as_one(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    writes = list[bytes]()
    send = mqtt.Client._sock_send
    monkeypatch.setattr(
        mqtt.Client, "_sock_send", lambda self, data: writes.append(bytes(data)) or send(self, data)
    )
    expected = b""
    for number in range(1, 11):
        mid = line.client.send(b"r/%d" % number, b"said", retain=number == 4, properties=EXPIRES)
        line.client.acknowledge(number)
        expected += publish(b"r/%d" % number, b"said", mid, EXPIRES, retain=number == 4)
        expected += b"\x40\x02" + number.to_bytes(2, "big")
    line.turn()
    assert line.heard(len(expected)) == expected
    assert writes == [expected]


def test_without_manual_ack_each_publication_is_acknowledged_as_it_comes() -> None:
    line = Line(manual_ack=False)
    line.tell(publish(b"a", b"x", 9))
    line.client.acknowledge(9)  # the owner's word does nothing
    line.client.send(b"b", b"", retain=False)
    line.turn()
    assert line.heard(4 + len(publish(b"b", b"", 1))) == b"\x40\x02\x00\x09" + publish(b"b", b"", 1)
    line.close()


def test_a_client_that_has_ended_takes_what_it_is_given(line: Line) -> None:
    line.client.end()
    assert line.client.socket() is None
    line.client.send(b"a", b"x", retain=False)
    line.client.acknowledge(1)
    line.client._packet_queue(0x30, b"\x30\0", 1, 0)


def test_the_network_thread_wakes_up_for_each_packet(line: Line) -> None:
    """One second is lost for each wake-up that is lost."""
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            line.client.loop(1.0)

    thread = threading.Thread(target=serve)
    thread.start()
    began_s = time.monotonic()
    for mid in range(1, 301):
        line.client.acknowledge(mid)
        if mid % 3 == 0:  # else it is still busy with the one before
            assert line.heard(12)[-2:] == mid.to_bytes(2, "big")
    took_s = time.monotonic() - began_s
    ended.set()
    line.client.acknowledge(1)
    thread.join()
    assert took_s < 50.0
