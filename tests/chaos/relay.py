"""A bad link between a client and the broker: a TCP relay that delays, throttles, holds back, or goes silent.

What TCP makes of lost packets is what a relay can show of them: bytes come late, in order, or never.
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


@dataclass
class Relay:
    """Listens on `port` of all interfaces while its context is entered, and forwards to `target_port`.

    Args:
        target_port: of 127.0.0.1.
        delay_s: each piece of data arrives so much later, in each direction.
        jitter_s: give or take up to so much; pieces never overtake each other.
        rate_bps: bits per second, in each direction of each connection; 0: unlimited.
    """

    target_port: int
    delay_s: float = 0.0
    jitter_s: float = 0.0
    rate_bps: float = 0.0
    port: int = 0
    accepted: int = 0
    """Connections that clients have made so far."""
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _live: set["_Wire"] = field(default_factory=set)
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)
    _random: random.Random = field(default_factory=lambda: random.Random(1))

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)
        self._thread.start()
        self._open = self._do(self._make_gate())
        server = self._do(asyncio.start_server(self._serve, "0.0.0.0", 0))
        self._server = server
        self.port = server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def forget(self) -> None:
        """Never forward another byte of the connections there are, and do not close them: half-open TCP."""
        self._loop.call_soon_threadsafe(self._forget)

    def part(self) -> None:
        """Hold everything back, of new connections too, until `heal`: a partition."""
        self._loop.call_soon_threadsafe(self._open.clear)

    def heal(self) -> None:
        """Forward again, first what was held back."""
        self._loop.call_soon_threadsafe(self._open.set)

    def _do(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _make_gate(self) -> asyncio.Event:
        gate = asyncio.Event()
        gate.set()
        return gate

    def _forget(self) -> None:
        for wire in self._live:
            wire.dead = True

    async def _end(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, near: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        outs = [near_out]
        try:
            with suppress(OSError, asyncio.CancelledError):
                far, far_out = await asyncio.open_connection("127.0.0.1", self.target_port)
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
    relay: Relay
    dead: bool = False

    async def carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        """Read in one task and write in another, so that a delay is no limit of the rate."""
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
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
                pieces.put_nowait((due_s, data))
            await writing
        finally:
            writing.cancel()

    async def _write(self, pieces: "asyncio.Queue[tuple[float, bytes]]", sink: asyncio.StreamWriter) -> None:
        now = asyncio.get_running_loop().time
        while True:
            due_s, data = await pieces.get()
            await asyncio.sleep(max(0.0, due_s - now()))
            await self.relay._open.wait()
            if self.dead:
                await asyncio.Event().wait()  # for ever: neither data nor its end arrives
            if not data:
                sink.close()
                return
            with suppress(OSError):
                sink.write(data)
                await sink.drain()
