"""A link with its inbox, for tests that talk to a broker."""

import queue
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from fedge.settings import BrokerSettings
from fedge.transport import Answered, LinkEvent, LinkUp, MessageArrived, Publication, Sent
from fedge.transport.mqtt import MqttTransport

PATIENCE_S = 60.0
E = TypeVar("E", bound=LinkEvent)


class Client:
    """A link with its inbox, handled as the programs' loops do."""

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
    ) -> None:
        self.inbox: queue.SimpleQueue[LinkEvent] = queue.SimpleQueue()
        self._early: deque[MessageArrived] = deque()
        """Messages that came while something else was waited for."""
        settings = BrokerSettings(url=url, username=username, password_file=password_file, insecure=True)
        self.link = MqttTransport(
            settings,
            name,
            self.inbox.put,
            will=will,
            keep_session_s=keep_session_s,
            manual_ack=manual_ack,
        )

    def next(self, *, timeout_s: float = PATIENCE_S) -> LinkEvent:
        event = self.inbox.get(timeout=timeout_s)
        self.link.handle(event)
        return event

    def wait_for(self, kind: type[E]) -> E:
        if self._early and isinstance(early := self._early[0], kind):
            self._early.popleft()
            return early
        deadline_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline_s:
            event = self.next(timeout_s=max(0.0, deadline_s - time.monotonic()))
            if isinstance(event, kind):
                return event
            if isinstance(event, MessageArrived):
                self._early.append(event)
        raise AssertionError(f"no {kind.__name__} came")

    def messages(self, count: int) -> list[MessageArrived]:
        return [self.wait_for(MessageArrived) for _ in range(count)]

    def open(self) -> LinkUp:
        self.link.open()
        return self.wait_for(LinkUp)

    def subscribe(self, *filters: str) -> None:
        """Subscribe, and return when the broker has agreed."""
        self.link.subscribe(*filters)
        while not (isinstance(event := self.wait_for(Answered), Answered) and event.subscription):
            pass

    def send(self, *publications: Publication, token: object = "all") -> Sent:
        self.link.send(publications, token)
        return self.wait_for(Sent)

    def quiet(self, seconds: float = 0.2) -> None:
        """Nothing comes but the broker's answers: as good as a short wait can tell."""
        with suppress(queue.Empty):
            while True:
                event = self.next(timeout_s=seconds)
                assert isinstance(event, Answered), event
