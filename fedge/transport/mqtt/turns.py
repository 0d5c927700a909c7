"""The turns of the network thread, with what paho offers for a loop of one's own.

`Client.loop` reads one packet in a turn, and is woken by one system call for each packet that another thread
hands over. With many small messages that takes as long as the messages do. Here a turn reads several packets
and writes all that wait, and a thread that hands over many packets wakes the loop once.
"""

import select
import socket
import threading
from contextlib import suppress

import paho.mqtt.client as mqtt

TURN_S = 1.0
"""The longest turn without a packet: then it is looked whether the keep-alive is due."""
MOST_READ = 16
"""The most reads in a turn; then waiting packets are written, and the keep-alive is looked at."""


class Turns:
    """Reads and writes what one client receives and sends, until its connection ends.

    Args:
        client: connects and gets its callbacks from its owner, who must call `came` in those for packets, and
            must not call its `loop`. Any thread may publish and acknowledge.
    """

    def __init__(self, client: mqtt.Client) -> None:
        self._client = client
        self._came = False
        """A packet came since the last read."""
        self._thread: int | None = None
        self._pair: tuple[socket.socket, socket.socket] | None = None
        """What wakes the loop: it reads the first, others write to the second; None: it does not turn."""
        client.on_socket_register_write = self._has_something_to_write

    def came(self) -> None:
        """Note that a packet came: more of them may wait."""
        self._came = True

    def turn(self) -> bool:
        """Wait for something to read or write, and do that; False: the connection has ended."""
        self._thread = threading.get_ident()
        client = self._client
        connection = client.socket()
        if connection is None:
            return False
        woken, _ = self._pair = self._pair or _pair()
        # paho reports that something is to be written only if nothing was before. So what another thread
        # hands over at the end of a turn may go unreported; it is seen here.
        writes = client.want_write()
        # TLS may hold bytes that were read with others, and of which the socket tells nothing.
        held = getattr(connection, "pending", int)() > 0
        try:
            ready, *_ = select.select(
                [connection, woken], [connection] if writes else [], [], 0.0 if held else TURN_S
            )
        except (OSError, ValueError):  # it was closed
            return False
        if woken in ready:
            woken.recv(4_096)
        if (held or connection in ready) and not self._read():
            return False
        if client.want_write() and client.loop_write() != mqtt.MQTT_ERR_SUCCESS:
            return False
        return client.loop_misc() == mqtt.MQTT_ERR_SUCCESS

    def _read(self) -> bool:
        for _ in range(MOST_READ):
            self._came = False
            if self._client.loop_read() != mqtt.MQTT_ERR_SUCCESS:
                return False
            if not self._came:
                break
        return True

    def end(self) -> None:
        """Close what woke the loop, and leave the client."""
        self._client.on_socket_register_write = _nothing
        pair, self._pair = self._pair, None
        for end in pair or ():
            end.close()

    def _has_something_to_write(self, *_: object) -> None:
        """Wake the loop if another thread has handed over a packet, which is written there alone."""
        pair = self._pair
        if pair is not None and threading.get_ident() != self._thread:
            with suppress(OSError):  # so many wait that the loop wakes anyway, or the connection has ended
                pair[1].send(b"0")


def _pair() -> tuple[socket.socket, socket.socket]:
    pair = socket.socketpair()
    for end in pair:
        end.setblocking(False)
    return pair


def _nothing(*_: object) -> None:
    """Keep paho from writing on the thread that publishes."""
