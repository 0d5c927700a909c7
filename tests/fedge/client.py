"""A client over MQTT with its inbox, for tests that talk to a broker."""

import queue
import time
from collections.abc import Callable
from pathlib import Path

from fedge.service.settings import BrokerSettings
from fedge.transport import LinkEvent, Publication
from fedge.transport.mqtt import MqttTransport
from tests.transport.peer import PATIENCE_S, Peer

__all__ = ["PATIENCE_S", "Client"]


class Client(Peer):
    def __init__(
        self,
        url: str,
        name: str,
        *,
        will: Callable[[int], Publication] | None = None,
        username: str | None = None,
        password_file: Path | None = None,
        keep_session_s: int = 0,
        manual_ack: bool = False,
        keepalive_s: int = 30,
    ) -> None:
        self.inbox: queue.SimpleQueue[LinkEvent] = queue.SimpleQueue()
        settings = BrokerSettings(
            url=url,
            username=username,
            password_file=password_file,
            insecure=True,
            keepalive_s=keepalive_s,
        )
        link = MqttTransport(settings, name, self.inbox.put, will, keep_session_s, manual_ack)
        super().__init__(link, lambda timeout_s: self.inbox.get(timeout=timeout_s), time.monotonic)
