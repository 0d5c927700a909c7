"""A transport with its inbox, handled as the programs' loops do."""

import queue
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from fedge.transport import Answered, LinkEvent, LinkUp, MessageArrived, Publication, Sent, Transport

PATIENCE_S = 60.0
E = TypeVar("E", bound=LinkEvent)


class Peer:
    """One client; `take` waits so many seconds by `now_s` for its next event, or raises `queue.Empty`."""

    def __init__(
        self, link: Transport, take: Callable[[float], LinkEvent], now_s: Callable[[], float]
    ) -> None:
        self.link = link
        self._take, self._now_s = take, now_s
        self._early: deque[MessageArrived] = deque()
        """Messages that came while something else was waited for."""

    def next(self, *, timeout_s: float = PATIENCE_S) -> LinkEvent:
        event = self._take(timeout_s)
        self.link.handle(event)
        return event

    def wait_for(self, kind: type[E]) -> E:
        if self._early and isinstance(early := self._early[0], kind):
            self._early.popleft()
            return early
        deadline_s = self._now_s() + PATIENCE_S
        while (left_s := deadline_s - self._now_s()) > 0:
            event = self.next(timeout_s=left_s)
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
        while not self.wait_for(Answered).subscription:
            pass

    def send(self, *publications: Publication, token: object = "all") -> Sent:
        self.link.send(publications, token)
        return self.wait_for(Sent)

    def quiet(self, seconds: float = 0.2) -> None:
        """Nothing comes but the broker's answers: as good as a short wait can tell."""
        assert not self._early
        with suppress(queue.Empty):
            while True:
                event = self.next(timeout_s=seconds)
                assert isinstance(event, Answered), event
