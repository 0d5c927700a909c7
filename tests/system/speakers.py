"""Clients at a broker with certificates that say something all the time."""

import threading
import time
from collections.abc import Callable

import paho.mqtt.client as mqtt

PATIENCE_S = 60.0


class Speaker:
    """A client that publishes to its own topic as fast as it is acknowledged, until it is stopped."""

    def __init__(self, client: mqtt.Client, topic: str, port: int) -> None:
        self.refused = threading.Event()
        self.accepted = 0
        self.last_accepted_s = 0.0
        self.lost = threading.Event()
        self._client, self._topic = client, topic
        client.on_connect = lambda *_: self._say()
        client.on_publish = self._answered
        client.on_disconnect = lambda *_: self.lost.set()
        client.connect("127.0.0.1", port)
        client.loop_start()

    def _say(self) -> None:
        self._client.publish(self._topic, b"x", qos=1)

    def _answered(self, _client: object, _data: object, _mid: int, code: object, _properties: object) -> None:
        if getattr(code, "is_failure", False):
            self.refused.set()
        else:
            self.accepted += 1
            self.last_accepted_s = time.monotonic()
        self._say()

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until something is true; fail if it does not come."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, f"this did not happen: {what}"
        time.sleep(0.005)
