"""A TCP relay that simulates a bad link: it delays, throttles, holds back, or goes silent.

Lost packets have the effect that they have on TCP: bytes arrive late, in order, or never. The relay does not
inspect the bytes, so TLS passes through it from end to end.
"""

import asyncio
import random
import threading
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

CHUNK = 4_096
PIECES_UNDER_WAY = 256
"""The most pieces that are held in one direction (1 MiB); then the sender has to wait, as on a real line."""
STOP_S = 60.0


@dataclass
class Relay:
    """Listens while its context is entered, and forwards each connection to a target.

    Args:
        target_host: name or address of the server; looked up for each connection.
        target_port: of the server.
        host: the address to listen on.
        port: to listen on; 0: any free port; the attribute `port` has it then.
        delay_s: the delay of each piece of data, in each direction.
        jitter_s: the largest deviation from that; pieces never overtake each other.
        rate_bps: bits per second, in each direction of each connection; 0: unlimited.
        seed: determines the jitter, and which connections `forget` takes.

    Raises:
        OSError: on entering: the address cannot be listened on.
    """

    target_host: str
    target_port: int
    host: str = "127.0.0.1"
    port: int = 0
    delay_s: float = 0.0
    jitter_s: float = 0.0
    rate_bps: float = 0.0
    seed: int = 1
    accepted: int = field(default=0, init=False)
    """The number of connections of clients so far."""
    _live: set["_Wire"] = field(default_factory=set, init=False)
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set, init=False)

    def __enter__(self) -> Self:
        self._random = random.Random(self.seed)  # noqa: S311 # jitter, not a secret
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)
        self._thread.start()
        try:
            self._server = self._do(self._begin())
        except OSError:
            self._end_loop()
            raise
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._do(self._end())
        self._end_loop()

    def forget(self, share: float = 1.0) -> None:
        """Make a share of the connections half-open: nothing is forwarded any more, not even a close."""
        self._loop.call_soon_threadsafe(self._forget, share)

    def part(self) -> None:
        """Begin a partition: hold back all data, also of new connections, until `heal`."""
        self._loop.call_soon_threadsafe(self._open.clear)

    def heal(self) -> None:
        """End a partition: forward the data that was held back, then new data."""
        self._loop.call_soon_threadsafe(self._open.set)

    def _do(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(STOP_S)

    async def _begin(self) -> asyncio.Server:
        self._open = asyncio.Event()
        self._open.set()
        return await asyncio.start_server(self._serve, self.host, self.port)

    async def _end(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _forget(self, share: float) -> None:
        for wire in self._live:
            wire.dead = wire.dead or self._random.random() < share

    async def _serve(self, near: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        outs = [near_out]
        try:
            with suppress(OSError, asyncio.CancelledError):
                far, far_out = await asyncio.open_connection(self.target_host, self.target_port)
                outs.append(far_out)
                wire = _Wire(self)
                self._live.add(wire)
                try:
                    await asyncio.gather(wire.carry(near, far_out), wire.carry(far, near_out))
                finally:
                    self._live.discard(wire)
        finally:
            for out in outs:
                out.close()


@dataclass(eq=False)
class _Wire:
    """One connection; it ends when both its ends have closed."""

    relay: Relay
    dead: bool = False

    async def carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        """Read in one task and write in another, so that a delay does not limit the rate."""
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(PIECES_UNDER_WAY)
        writing = asyncio.create_task(self._write(pieces, sink))
        due_s = 0.0
        relay, now = self.relay, asyncio.get_running_loop().time
        try:
            data = b"?"
            while data:
                try:
                    data = await source.read(CHUNK)
                except OSError:
                    data = b""
                jitter_s = relay._random.uniform(-relay.jitter_s, relay.jitter_s)
                due_s = max(due_s, now() + relay.delay_s + jitter_s)
                if relay.rate_bps:
                    due_s += len(data) * 8 / relay.rate_bps
                await pieces.put((due_s, data))
            await writing
        finally:
            writing.cancel()

    async def _write(self, pieces: "asyncio.Queue[tuple[float, bytes]]", sink: asyncio.StreamWriter) -> None:
        now = asyncio.get_running_loop().time
        while True:
            due_s, data = await pieces.get()
            if not self.dead:
                await asyncio.sleep(max(0.0, due_s - now()))
                await self.relay._open.wait()
            if not data:
                if not self.dead:
                    sink.close()
                return
            if not self.dead:
                with suppress(OSError):
                    sink.write(data)
                    await sink.drain()
