"""A transport that is closed and opened again: what is left of the life before changes nothing."""

import threading

import pytest

from fedge.service.settings import BrokerSettings
from fedge.transport import LinkDown, LinkUp, Publication
from fedge.transport.mqtt import MqttTransport, transport

PATIENCE_S = 60.0


class Attempts:
    """Connections that come up and last until they are let go; the first is slow to be made."""

    def __init__(self) -> None:
        self.made: list[Attempt] = []
        self.slow, self.go_on = threading.Event(), threading.Event()
        self.here = threading.Semaphore(0)

    def __call__(
        self, _options: object, number: int, closed: threading.Event, inbox: object, *_: object
    ) -> "Attempt":
        if not self.made and not self.slow.is_set():
            self.slow.set()
            assert self.go_on.wait(PATIENCE_S)
        attempt = Attempt(number, closed, self.here)
        self.made.append(attempt)
        return attempt


class Attempt:
    """One connection; it has sent what is in `sent`."""

    lasted_s = None
    unanswered = False

    def __init__(self, number: int, closed: threading.Event, here: threading.Semaphore) -> None:
        self._here = here
        self.number, self._closed, self.sent = number, closed, list[Publication]()

    def run(self) -> LinkDown:
        self._here.release()
        self._closed.wait(PATIENCE_S)
        return LinkDown("", taken_over=False, unauthorized=False)

    def publish(self, publication: Publication) -> int:
        self.sent.append(publication)
        return len(self.sent)

    def disconnect(self, *, by_will: bool = False) -> None:
        pass


def test_a_thread_that_outlasts_its_life_is_not_taken_for_the_new_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    attempts = Attempts()
    monkeypatch.setattr(transport, "PahoConnection", attempts)
    link = MqttTransport(BrokerSettings(), "pi-1", lambda _event: None)
    link.open()
    assert attempts.slow.wait(PATIENCE_S)
    link.close(timeout_s=0.0)
    link.open()
    assert attempts.here.acquire(timeout=PATIENCE_S)
    new = attempts.made[0]
    attempts.go_on.set()  # only now the old thread has its connection
    assert attempts.here.acquire(timeout=PATIENCE_S)
    link.handle(LinkUp(new.number, session_present=False, max_packet=1_000))
    assert link.up
    link.send([Publication("t", b"x")])
    assert [publication.topic for publication in new.sent] == ["t"]
    link.close(timeout_s=PATIENCE_S)
