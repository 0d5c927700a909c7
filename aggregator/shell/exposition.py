"""An HTTP server for metrics that limits the number and the duration of its connections.

Whoever reaches the address may connect. Without limits, idle connections could use up the files that the
process may have open, and it could not connect to the broker again (seen with 1,020, each with a thread).
"""

import socket
from contextlib import suppress
from io import StringIO
from socketserver import ThreadingMixIn
from threading import Lock, Thread
from types import TracebackType
from typing import Any, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, make_wsgi_app
from prometheus_client.registry import Collector

from fedge.errors import ConfigError

MOST_CONNECTIONS = 16
"""The largest number of connections; one more closes the oldest."""
SILENT_S = 10.0
"""A connection that is silent for this long is closed."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 128  # with the usual 5, silent connections make others wait for seconds

    def __init__(self, *arguments: Any) -> None:
        self._open: dict[socket.socket, None] = {}
        self._lock = Lock()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open[request] = None
            oldest = next(iter(self._open)) if len(self._open) > MOST_CONNECTIONS else None
            if oldest is not None:
                del self._open[oldest]
        if oldest is not None:
            with suppress(OSError):
                oldest.shutdown(socket.SHUT_RDWR)  # its thread notices, and closes it
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """End all connections."""
        with self._lock:
            left = list(self._open)
        for connection in left:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log nothing when a client disconnects early: there may be thousands."""


class _Handler(WSGIRequestHandler):
    timeout = SILENT_S

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 # the parent's name
        """Log nothing: scrapes come every few seconds."""

    def get_stderr(self) -> Any:
        """Log nothing: requests of clients must not fill the log."""
        return StringIO()


class Exposition:
    """Serves the metrics while its context is entered.

    Args:
        listen: address and port.
        collectors: what is shown, besides this process's own figures.

    Raises:
        ConfigError: on entering, if it cannot listen on the address.
    """

    def __init__(self, listen: tuple[str, int], *collectors: Collector) -> None:
        self._host, self._port = listen
        registry = CollectorRegistry()
        PlatformCollector(registry)
        ProcessCollector(registry=registry)
        for collector in collectors:
            registry.register(collector)
        self._app = make_wsgi_app(registry)

    def __enter__(self) -> Self:
        try:
            self._server = self._made()
        except (OSError, UnicodeError) as error:  # UnicodeError: the host cannot be a name
            what = getattr(error, "strerror", None) or error
            raise ConfigError(
                f"[metrics] listen: cannot listen on {self._host}:{self._port}: {what}; set another address"
            ) from None
        self._thread = Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self._thread.start()
        return self

    def _made(self) -> _Server:
        listen = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, *_, address = listen[0]

        class Server(_Server):
            address_family = family  # IPv6, too

        return make_server(str(address[0]), self._port, self._app, Server, _Handler)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.hang_up()
        self._server.server_close()
        self._thread.join()
