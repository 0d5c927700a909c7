"""A subscriber that records when each message arrives, so that benchmarks can measure times at the broker."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

CONNECT_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Arrival:
    """A message and its time of arrival, in seconds of the monotonic clock."""

    at_s: float
    topic: str
    payload: bytes


class Observer:
    """Subscribes to topics of the broker at `url`; `arrivals` has all messages so far.

    Raises:
        RuntimeError: on entering: the broker does not accept the subscription within `CONNECT_TIMEOUT_S`.
    """

    def __init__(self, url: str, filters: Sequence[str]) -> None:
        self.arrivals: list[Arrival] = []
        self._subscribed = False
        self._filters = filters
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self._client.on_connect = lambda client, *_: client.subscribe([(name, 1) for name in self._filters])
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        address = urlsplit(url)
        self._client.connect(address.hostname or "", address.port or 1883)

    def __enter__(self) -> Self:
        self._client.loop_start()
        deadline_s = time.monotonic() + CONNECT_TIMEOUT_S
        while not self._subscribed:
            if time.monotonic() > deadline_s:
                raise RuntimeError("the broker did not accept the observer's subscription")
            time.sleep(0.01)
        return self

    def retain(self, topic: str, payload: bytes) -> None:
        """Publish a retained message; return when the broker has acknowledged it."""
        self._client.publish(topic, payload, qos=1, retain=True).wait_for_publish(CONNECT_TIMEOUT_S)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_subscribe(self, *_: object) -> None:
        self._subscribed = True

    def _on_message(self, _client: object, _userdata: object, message: mqtt.MQTTMessage) -> None:
        self.arrivals.append(Arrival(time.monotonic(), message.topic, bytes(message.payload)))
