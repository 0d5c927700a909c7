"""A turn of the network thread reads several packets, and is woken for what other threads hand over."""

import select
import socket
from collections.abc import Callable, Iterator
from threading import Thread
from typing import Any, cast

import paho.mqtt.client as mqtt
import pytest

from fedge.transport.mqtt import turns
from fedge.transport.mqtt.turns import MOST_READ, Turns

TURN_S = 0.05
"""How long a turn waits that nothing wakes."""


class Client:
    """Counts what a loop asks of paho's client, of which packets of one byte come and go."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.ours.setblocking(False)
        self.on_socket_register_write: Callable[..., None] | None = None
        self.came: Callable[[], None] = lambda: None
        self.waiting: list[bytes] = []
        self.reported = False
        self.read = self.written = 0

    def socket(self) -> socket.socket | None:
        return self.ours if self.ours.fileno() >= 0 else None

    def want_write(self) -> bool:
        return bool(self.waiting)

    def hand_over(self) -> None:
        """As paho does when a packet is published: told once, until all is written."""
        self.waiting.append(b"p")
        if not self.reported:
            self.reported = True
            assert self.on_socket_register_write is not None
            self.on_socket_register_write(self, None, self.ours)

    def loop_read(self) -> int:
        try:
            packet = self.ours.recv(1)
        except BlockingIOError:
            return mqtt.MQTT_ERR_SUCCESS
        if not packet:
            return mqtt.MQTT_ERR_CONN_LOST
        self.read += 1
        self.came()
        return mqtt.MQTT_ERR_SUCCESS

    def loop_write(self) -> int:
        self.written += len(self.waiting)
        self.waiting.clear()
        self.reported = False
        return mqtt.MQTT_ERR_SUCCESS

    def loop_misc(self) -> int:
        return mqtt.MQTT_ERR_SUCCESS if self.socket() is not None else mqtt.MQTT_ERR_NO_CONN


@pytest.fixture
def client() -> Iterator[Client]:
    made = Client()
    yield made
    made.ours.close()
    made.theirs.close()


@pytest.fixture
def loop(client: Client, monkeypatch: pytest.MonkeyPatch) -> Iterator[Turns]:
    monkeypatch.setattr(turns, "TURN_S", TURN_S)
    made = Turns(cast("Any", client))
    client.came = made.came
    yield made
    made.end()


def test_a_turn_reads_what_has_come_but_not_without_end(client: Client, loop: Turns) -> None:
    client.theirs.send(b"p" * (MOST_READ + 3))
    assert loop.turn()
    assert client.read == MOST_READ
    assert loop.turn()
    assert client.read == MOST_READ + 3


def test_a_turn_writes_between_reads(client: Client, loop: Turns) -> None:
    client.theirs.send(b"p" * (2 * MOST_READ))
    client.hand_over()
    assert loop.turn()
    assert (client.read, client.written) == (MOST_READ, 1)


def test_another_thread_that_hands_over_packets_wakes_the_turn(
    client: Client, loop: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits, woken = select.select, []

    def waiting(*lists: Any) -> Any:
        """Wait, after another thread has handed over packets when the loop had found none to write."""
        other = Thread(target=lambda: [client.hand_over() for _ in range(100)])
        other.start()
        other.join()
        found = waits(*lists)
        woken.append(bool(found[0]))
        return found

    monkeypatch.setattr(turns.select, "select", waiting)
    for _ in range(3):
        assert loop.turn()
    assert woken == [True] * 3
    assert client.written == 300


def test_a_packet_of_which_nothing_was_reported_is_written_in_the_next_turn(
    client: Client, loop: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """paho forgets to report a packet that is handed over just when it has written all others."""
    waits, ready = select.select, []

    def waiting(*lists: Any) -> Any:
        found = waits(*lists)
        ready.extend(found[1])
        return found

    monkeypatch.setattr(turns.select, "select", waiting)
    client.waiting.append(b"p")
    assert loop.turn()
    assert client.written == 1
    assert ready == [client.ours], "it is not written only because the turn has ended"


def test_a_connection_that_ends_ends_the_loop(client: Client, loop: Turns) -> None:
    client.theirs.close()
    assert not loop.turn()
    client.ours.close()
    assert not loop.turn()


def test_what_comes_after_the_end_is_ignored(client: Client, loop: Turns) -> None:
    reports = client.on_socket_register_write
    assert reports is not None
    loop.end()
    reports(client, None, client.ours)
    client.hand_over()
    assert client.written == 0
