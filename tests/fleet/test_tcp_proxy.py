"""What a relay does to connections, and that it leaves nothing behind."""

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from fleet.demo.tcp_proxy import Relay

PATIENCE_S = 90.0


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that sends everything back; its port."""

    def serve(connection: socket.socket) -> None:
        with connection:
            while data := connection.recv(65_536):
                connection.sendall(data)

    def accept() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def connect(relay: Relay) -> socket.socket:
    return socket.create_connection(("127.0.0.1", relay.port), timeout=PATIENCE_S)


def through(relay_end: socket.socket, data: bytes) -> bytes:
    relay_end.sendall(data)
    return receive(relay_end, len(data))


def receive(connection: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size and (data := connection.recv(65_536)):
        received += data
    return received


def silent(connection: socket.socket) -> bool:
    """Whether nothing arrives for a while, not even the end."""
    connection.settimeout(0.3)
    try:
        connection.recv(1)
    except TimeoutError:
        return True
    else:
        return False
    finally:
        connection.settimeout(PATIENCE_S)


def until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_what_goes_in_comes_out_in_order_and_the_end_too(echo: int) -> None:
    with Relay("127.0.0.1", echo) as relay, connect(relay) as one:
        data = bytes(range(256)) * 8_000  # more than a relay holds
        sender = threading.Thread(target=one.sendall, args=(data,))
        sender.start()
        assert receive(one, len(data)) == data
        sender.join()
        assert relay.accepted == 1
        one.close()
        until(lambda: not relay._live)


def test_delay_and_rate_take_their_time(echo: int) -> None:
    with Relay("127.0.0.1", echo, delay_s=0.1, jitter_s=0.02) as relay, connect(relay) as one:
        began_s = time.monotonic()
        assert through(one, b"x") == b"x"
        assert time.monotonic() - began_s >= 2 * 0.08
    with Relay("127.0.0.1", echo, rate_bps=400e3) as relay, connect(relay) as one:
        began_s = time.monotonic()
        assert len(through(one, b"x" * 10_000)) == 10_000
        assert time.monotonic() - began_s >= 0.2


def test_a_partition_holds_everything_back_until_it_is_healed(echo: int) -> None:
    with Relay("127.0.0.1", echo) as relay, connect(relay) as one:
        assert through(one, b"before") == b"before"
        relay.part()
        one.sendall(b"during")
        with connect(relay) as new:
            new.sendall(b"new")
            assert silent(one)
            assert silent(new)
            relay.heal()
            assert receive(one, 6) == b"during"
            assert receive(new, 3) == b"new"


def test_a_forgotten_connection_is_silent_and_a_new_one_is_not(echo: int) -> None:
    with Relay("127.0.0.1", echo) as relay, connect(relay) as one:
        assert through(one, b"before") == b"before"
        relay.forget()
        until(lambda: all(wire.dead for wire in relay._live))
        one.sendall(b"lost")
        assert silent(one)
        with connect(relay) as new:
            assert through(new, b"heard") == b"heard"
        assert silent(one)


def test_a_forgotten_connection_is_given_up_when_both_ends_have_closed() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        Relay("127.0.0.1", server.getsockname()[1]) as relay,
        connect(relay) as near,
    ):
        far, _ = server.accept()
        with far:
            until(lambda: bool(relay._live))
            relay.forget()
            until(lambda: all(wire.dead for wire in relay._live))
            near.close()
            assert silent(far)
            assert relay._live
        until(lambda: not relay._live)


def test_a_share_of_the_connections_is_forgotten(echo: int) -> None:
    with Relay("127.0.0.1", echo) as relay:
        ends = [connect(relay) for _ in range(40)]
        until(lambda: len(relay._live) == 40)
        relay.forget(0.25)
        until(lambda: any(wire.dead for wire in relay._live))
        assert 1 <= sum(wire.dead for wire in relay._live) <= 25
        for end in ends:
            end.close()


def test_a_target_that_is_not_there_closes_the_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with Relay("127.0.0.1", port) as relay, connect(relay) as one:
        assert one.recv(1) == b""


def test_a_port_in_use_is_told_and_leaves_no_thread(echo: int) -> None:
    with pytest.raises(OSError, match="in use"), Relay("127.0.0.1", echo, port=echo):
        pass
    assert not [thread for thread in threading.enumerate() if thread.name == "relay"]
