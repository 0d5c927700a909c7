"""Where transports are checked: each network has a broker that can die, and lines that can be cut."""

import queue
import random
import signal
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from pathlib import Path

from fedge.service.settings import BrokerSettings
from fedge.transport import LinkEvent, Publication
from fedge.transport.mqtt import MqttTransport
from fleet.demo import broker as brokers
from fleet.demo.tcp_proxy import Relay
from fleet.simulator.broker import Broker
from fleet.simulator.clock import Clock
from fleet.simulator.crash import Power
from fleet.simulator.link import VirtualLink
from fleet.simulator.place import Place, Weather
from tests.transport.peer import Peer

Will = Callable[[int], Publication]
QUEUE_LIMIT = 1_000


class Network(ABC):
    """A broker, and those who speak to it."""

    @abstractmethod
    def peer(
        self, name: str, *, will: Will | None = None, keep_session_s: int = 0, manual_ack: bool = False
    ) -> Peer:
        """A client with this id, not opened."""

    @abstractmethod
    def cut(self, peer: Peer) -> None:
        """End the connection of a peer, as a network does; the next one is possible."""

    @abstractmethod
    def freeze(self) -> None:
        """Until it is killed the broker reads nothing any more."""

    @abstractmethod
    def stop(self) -> None:
        """Kill the broker."""

    @abstractmethod
    def start(self) -> None:
        """Start it again."""

    @abstractmethod
    def close(self) -> None:
        """End everything."""


class MqttNetwork(Network):
    """Mosquitto, and a relay in front of it for each client."""

    def __init__(self, folder: Path) -> None:
        started = brokers.start("mosquitto", folder)
        assert isinstance(started, brokers.LocalBroker)
        self._broker = started
        self._relays: dict[Peer, Relay] = {}

    def peer(
        self, name: str, *, will: Will | None = None, keep_session_s: int = 0, manual_ack: bool = False
    ) -> Peer:
        relay = self._relay().__enter__()
        inbox: queue.SimpleQueue[LinkEvent] = queue.SimpleQueue()
        settings = BrokerSettings(url=f"mqtt://{relay.host}:{relay.port}")
        link = MqttTransport(settings, name, inbox.put, will, keep_session_s, manual_ack)
        peer = Peer(link, lambda timeout_s: inbox.get(timeout=timeout_s), time.monotonic)
        self._relays[peer] = relay
        return peer

    def cut(self, peer: Peer) -> None:
        self._relays[peer].__exit__(None, None, None)
        self._relays[peer] = self._relay(self._relays[peer].port).__enter__()

    def freeze(self) -> None:
        assert self._broker._program is not None
        self._broker._program.process.send_signal(signal.SIGSTOP)

    def stop(self) -> None:
        self._broker.kill()

    def start(self) -> None:
        self._broker.restart()

    def close(self) -> None:
        for peer, relay in self._relays.items():
            peer.link.close(timeout_s=0.2)
            relay.__exit__(None, None, None)
        self._broker.stop()

    def _relay(self, port: int = 0) -> Relay:
        return Relay("127.0.0.1", int(self._broker.url.rsplit(":", 1)[1]), port=port)


class VirtualNetwork(Network):
    """The simulated world's broker; time passes while somebody waits for an event."""

    def __init__(self) -> None:
        self.clock = Clock()
        self._broker = Broker(lambda: self.clock.now_s, self.clock.after, lambda _: None, QUEUE_LIMIT)
        self._links: dict[Peer, VirtualLink] = {}

    def peer(
        self, name: str, *, will: Will | None = None, keep_session_s: int = 0, manual_ack: bool = False
    ) -> Peer:
        inbox: deque[LinkEvent] = deque()

        def take(timeout_s: float) -> LinkEvent:
            due_s = self.clock.now_s + timeout_s
            while not inbox:
                if self.clock.now_s > due_s or not self.clock.step():
                    raise queue.Empty
            return inbox.popleft()

        place = Place(
            clock=self.clock,
            broker=self._broker,
            weather=Weather(),
            power=Power(),
            rng=random.Random(1),
            said=lambda _: None,
            handed=lambda _: None,
            acknowledging=lambda _: None,
        )
        link = VirtualLink(place, name, inbox.append, will, keep_session_s, manual_ack=manual_ack)
        peer = Peer(link, take, lambda: self.clock.now_s)
        self._links[peer] = link
        return peer

    def cut(self, peer: Peer) -> None:
        wire = self._links[peer].wire
        assert wire is not None
        wire.reset()

    def freeze(self) -> None:
        """Time passes only while somebody waits for an event."""

    def stop(self) -> None:
        self._broker.stop()

    def start(self) -> None:
        self._broker.start(None)

    def close(self) -> None:
        pass
