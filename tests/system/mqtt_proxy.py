"""A proxy that reads MQTT 5 packets, between clients and a broker: tests count with it and set limits."""

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, UNSUBSCRIBE, DISCONNECT = 1, 2, 3, 4, 8, 10, 14
STOP_S = 30.0


@dataclass(frozen=True)
class Packet:
    """One control packet (MQTT 5, section 2.1)."""

    first: int
    """Its first byte: type and flags."""
    body: bytes
    """What comes after the fixed header."""

    @property
    def kind(self) -> int:
        return self.first >> 4

    @property
    def packed(self) -> bytes:
        return bytes([self.first]) + varint(len(self.body)) + self.body


@dataclass(frozen=True)
class Published:
    """A PUBLISH, read."""

    topic: str
    qos: int
    mid: int
    payload: int
    """Its size in bytes."""


def varint(number: int) -> bytes:
    """A variable byte integer (section 1.5.5)."""
    found = bytearray()
    while True:
        number, digit = number >> 7, number & 0x7F
        found.append(digit | (0x80 if number else 0))
        if not number:
            return bytes(found)


def read_varint(body: bytes, at: int) -> tuple[int, int]:
    """A variable byte integer and the place behind it."""
    number = shift = 0
    while True:
        number |= (body[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if not body[at - 1] & 0x80:
            return number, at


def published(packet: Packet) -> Published:
    """Read a PUBLISH (section 3.3)."""
    length = int.from_bytes(packet.body[:2], "big")
    topic, at, mid = packet.body[2 : 2 + length].decode(), 2 + length, 0
    qos = packet.first >> 1 & 3
    if qos:
        mid, at = int.from_bytes(packet.body[at : at + 2], "big"), at + 2
    properties, at = read_varint(packet.body, at)
    return Published(topic, qos, mid, len(packet.body) - at - properties)


def filters(packet: Packet) -> list[str]:
    """The topic filters of a SUBSCRIBE or UNSUBSCRIBE (sections 3.8 and 3.10)."""
    properties, at = read_varint(packet.body, 2)
    at += properties
    found = []
    while at < len(packet.body):
        length = int.from_bytes(packet.body[at : at + 2], "big")
        found.append(packet.body[at + 2 : at + 2 + length].decode())
        at += 2 + length + (packet.kind == SUBSCRIBE)
    return found


def client_id(packet: Packet) -> str:
    """The client id of a CONNECT (section 3.1): it comes first in the payload."""
    _, at = properties_of_connect(packet)
    length = int.from_bytes(packet.body[at : at + 2], "big")
    return packet.body[at + 2 : at + 2 + length].decode()


def properties_of_connect(packet: Packet) -> tuple[bytes, int]:
    length, begin = read_varint(packet.body, 10)
    return packet.body[begin : begin + length], begin + length


class DisconnectError(Exception):
    """The proxy ends a connection; `code`: the reason of its DISCONNECT, if it says one."""

    def __init__(self, code: int | None = None) -> None:
        super().__init__(code)
        self.code = code


class Line:
    """One connection. A test's own proxy overrides `up` and `down`."""

    def __init__(self, proxy: "MqttProxy") -> None:
        self.proxy = proxy
        self.client = ""
        self.bytes_up = self.bytes_down = 0
        """The bytes of packets that were forwarded."""

    async def up(self, packet: Packet) -> Packet | None:
        """Handle a packet of the client; returns what is forwarded.

        Raises:
            DisconnectError: the connection is ended.
        """
        return packet

    async def down(self, packet: Packet) -> Packet | None:
        """The same for a packet of the broker."""
        return packet


class MqttProxy:
    """Listens while its context is entered.

    Args:
        port: the broker's.
        line: the class of its connections.
    """

    def __init__(self, port: int, line: type[Line] = Line) -> None:
        self.target, self._line = port, line
        self.lines: list[Line] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="mqtt proxy", daemon=True)
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._serve, "127.0.0.1", self.port))
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_S)
        self._loop.close()

    def _do(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(STOP_S)

    async def _end(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, near: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        line = self._line(self)
        self.lines.append(line)
        outs = [near_out]
        ways: list[asyncio.Task[None]] = []
        try:
            far, far_out = await asyncio.open_connection("127.0.0.1", self.target)
            outs.append(far_out)
            ways = [
                asyncio.create_task(self._carry(line, near, far_out, up=True)),
                asyncio.create_task(self._carry(line, far, near_out, up=False)),
            ]
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                error = each.exception()
                if isinstance(error, DisconnectError) and error.code is not None:
                    near_out.write(Packet(DISCONNECT << 4, bytes([error.code, 0])).packed)
                elif error is not None and not isinstance(error, DisconnectError | OSError | EOFError):
                    raise error
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for way in ways:
                way.cancel()
            for out in outs:
                with suppress(OSError):
                    out.close()

    async def _carry(
        self, line: Line, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, up: bool
    ) -> None:
        while True:
            packet = await self._read(source)
            if packet.kind == CONNECT:
                line.client = client_id(packet)
            forwarded = await (line.up if up else line.down)(packet)
            if forwarded is not None:
                data = forwarded.packed
                sink.write(data)
                await sink.drain()
                if up:
                    line.bytes_up += len(data)
                else:
                    line.bytes_down += len(data)

    async def _read(self, source: asyncio.StreamReader) -> Packet:
        first = (await source.readexactly(1))[0]
        length = shift = 0
        while True:
            digit = (await source.readexactly(1))[0]
            length |= (digit & 0x7F) << shift
            shift += 7
            if not digit & 0x80:
                return Packet(first, await source.readexactly(length))
