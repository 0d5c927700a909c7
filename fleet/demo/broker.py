"""An MQTT broker: Mosquitto or the embedded one as a child process, or one that runs elsewhere.

    with start("auto", folder) as broker:
        ...  # agents and aggregator connect to broker.url

A broker started here listens on the loopback interface only.
"""

import getpass
import importlib.util
import os
import secrets
import shutil
import socket
import sys
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import ValidationError

from fedge.errors import ConfigError, FedgeError
from fedge.service.settings import BrokerSettings
from fleet.demo.processes import Program, spawn, stop

LOOPBACK = "127.0.0.1"
LOWEST_PORT, FIRST_DYNAMIC_PORT = 10_000, 49_152
"""The ports to choose from, and the first dynamic port (RFC 6335, section 6)."""
START_S, SAVE_S = 60.0, 30.0
"""How long a broker may take until it listens, and to save its database before it ends."""

# `persistence` alone saves every 30 minutes; only what is saved at every change survives a SIGKILL. With its
# default limits of queues and packets Mosquitto drops messages silently, so every limit is set here.
MOSQUITTO = """\
listener {port} 127.0.0.1
allow_anonymous true
user {user}
persistence true
persistence_location {folder}/
autosave_on_changes true
autosave_interval 1
set_tcp_nodelay true
max_connections -1
max_inflight_messages 20
max_queued_messages 100000
max_queued_bytes 0
max_packet_size 2000000
persistent_client_expiration 1d
log_dest stderr
log_type error
log_type warning
log_type notice
connection_messages false
"""

# Without [v5.1] rumqttd speaks MQTT 3.1.1 only, with payloads of at most 20,480 bytes. It keeps the log of a
# filter in RAM and drops the oldest segment when all are full, read or not. All segments together hold
# several rounds of updates.
IOTCORE = """\
id = 0

[router]
id = 0
max_connections = 10000
max_outgoing_packet_count = 200
max_segment_size = 8388608
max_segment_count = 8

[v5.1]
name = "v5"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 0

[v5.1.connections]
connection_timeout_ms = 60000
max_payload_size = 2000000
max_inflight_count = 100
dynamic_filters = true
"""


class Broker(ABC):
    """A broker that accepts connections; leaving the context ends it if it was started here."""

    name: str
    """A description of the broker for the user."""
    url: str
    """`mqtt://host:port`."""

    @abstractmethod
    def kill(self) -> None:
        """End it as a power cut would, with SIGKILL."""

    @abstractmethod
    def restart(self) -> None:
        """Start it again on the same port and with the same folder, and wait until it accepts connections."""

    @abstractmethod
    def stop(self) -> None:
        """End it; a broker that was not started here runs on."""

    @abstractmethod
    def check(self) -> None:
        """Raise a FedgeError if it is known to have ended."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class LocalBroker(Broker):
    """A child process on this machine."""

    def __init__(self, name: str, command: list[str], port: int, log: Path) -> None:
        self.name = name
        self.url = f"mqtt://{LOOPBACK}:{port}"
        self._command = command
        self._port = port
        self._log = log
        self._program: Program | None = None
        self.restart()

    def kill(self) -> None:  # noqa: D102 (see Broker)
        if self._program is not None:
            self._program.process.kill()
            self._program.process.wait()

    def restart(self) -> None:  # noqa: D102
        self.stop()
        if _answers(LOOPBACK, self._port):
            raise FedgeError(f"the broker ({self.name}) cannot start: port {self._port} is in use")
        self._program = spawn(f"the broker ({self.name})", self._command, self._log)
        try:
            self._wait_until_it_listens(self._program)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:  # noqa: D102
        if self._program is not None:
            stop([self._program], patience_s=SAVE_S)
            self._program = None

    def check(self) -> None:  # noqa: D102
        if self._program is not None and self._program.exit_code is not None:
            raise self._program.died()

    def _wait_until_it_listens(self, program: Program) -> None:
        deadline_s = time.monotonic() + START_S
        while program.exit_code is None:
            if _answers(LOOPBACK, self._port):
                return
            if time.monotonic() > deadline_s:
                raise FedgeError(f"{program.name} does not listen on port {self._port} after {START_S:.0f} s")
            time.sleep(0.02)
        raise program.died()


class ExternalBroker(Broker):
    """A broker that somebody else runs."""

    def __init__(self, url: str) -> None:
        try:
            settings = BrokerSettings(url=url, insecure=True)
        except ValidationError:
            raise ConfigError(
                f"--broker {url}: expected mqtt://host[:port], 'auto', 'mosquitto' or 'iotcore'"
            ) from None
        if not _answers(settings.host, settings.port, timeout_s=5.0):
            raise ConfigError(f"--broker {url}: no broker answers at {settings.host} port {settings.port}")
        self.name = url
        self.url = url

    def kill(self) -> None:  # noqa: D102
        raise FedgeError(f"{self.url} was not started here and cannot be killed from here")

    def restart(self) -> None:  # noqa: D102
        raise FedgeError(f"{self.url} was not started here and cannot be restarted from here")

    def stop(self) -> None:  # noqa: D102
        return

    def check(self) -> None:  # noqa: D102
        return


def start(kind: str, folder: Path, port: int | None = None) -> Broker:
    """Start a broker, or find the named one, and return when it accepts connections.

    Args:
        kind: "mosquitto", "iotcore" (embedded), "auto" (Mosquitto where there is one, else the embedded
            one), or the URL of a broker that runs already.
        folder: for its configuration, log and database; created if necessary.
        port: of 127.0.0.1; by default a free one.

    Raises:
        ConfigError: this broker is not installed, or nothing answers at the URL.
        FedgeError: it ended while it was starting; the text has the last lines of its log.
    """
    if "://" in kind:
        return ExternalBroker(kind)
    mosquitto = _find_mosquitto()
    embedded = importlib.util.find_spec("iotcore") is not None
    if kind == "auto" and not mosquitto and not embedded:
        raise ConfigError("there is no broker: apt install mosquitto, or pip install 'fedge[demo]'")
    if kind == "mosquitto" and not mosquitto:
        raise ConfigError("--broker mosquitto: it is not on the PATH nor in /usr/sbin: apt install mosquitto")
    if kind == "iotcore" and not embedded:
        raise ConfigError("--broker iotcore needs the extra 'demo': pip install 'fedge[demo]'")
    if kind not in ("auto", "mosquitto", "iotcore"):
        raise ConfigError(f"--broker {kind}: expected 'auto', 'mosquitto', 'iotcore' or mqtt://host:port")
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    if mosquitto and kind != "iotcore":
        config = folder / "mosquitto.conf"
        text = MOSQUITTO.format(port=port, user=getpass.getuser(), folder=folder.resolve())
        name, command = "mosquitto", [mosquitto, "-c", str(config)]
    else:
        config = folder / "rumqttd.toml"
        text = IOTCORE.format(port=port)
        name, command = "iotcore", [sys.executable, "-m", "fleet.demo.embedded_broker", str(config)]
    config.write_text(text, encoding="utf-8")
    return LocalBroker(name, command, port, folder / "broker.log")


def _find_mosquitto() -> str | None:
    return shutil.which("mosquitto", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin")))


def free_port() -> int:
    """Return a free port of the loopback interface.

    If possible it is below the ports for outgoing connections: a connection of any program could take one of
    those before the broker listens there.
    """
    for _ in range(100):
        below = _first_outgoing_port() - LOWEST_PORT
        if below < 1_000:
            break
        with socket.socket() as probe, suppress(OSError):
            port = LOWEST_PORT + secrets.randbelow(below)
            probe.bind((LOOPBACK, port))
            return port
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _first_outgoing_port() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return FIRST_DYNAMIC_PORT


def _answers(host: str, port: int, timeout_s: float = 0.5) -> bool:
    try:
        socket.create_connection((host, port), timeout=timeout_s).close()
    except OSError:
        return False
    return True
