"""AWS IoT Core's limits on a connection, which a proxy enforces before Mosquitto.

Sources: "AWS IoT Core endpoints and quotas" in the AWS General Reference (message broker and protocols), and
"MQTT" in the AWS IoT Core Developer Guide. What is over a limit is treated as they say: publications
beyond the rate are discarded, and the connection stays; bytes beyond the throughput are delayed; what may not
be at all ends the connection, here with the reason code that MQTT 5 has for it. The SDK's
`AwsIotCoreDefaults` has the same limits on topics, subscriptions and rates.
"""

import asyncio
from collections import deque
from typing import Any

from tests.system.mqtt_proxy import (
    CONNACK,
    PUBACK,
    PUBLISH,
    SUBSCRIBE,
    UNSUBSCRIBE,
    DisconnectError,
    Line,
    MqttProxy,
    Packet,
    filters,
    published,
)

PAYLOAD, SLASHES, UNACKNOWLEDGED, PER_REQUEST, PER_CONNECTION = 131_072, 7, 100, 8, 50
PUBLISHES_PER_S, BYTES_PER_S = 100, 512 * 1_024
RECEIVE_MAXIMUM_EXCEEDED, TOO_LARGE, QUOTA, TOPIC, FILTER, QOS = 0x93, 0x95, 0x97, 0x90, 0x8F, 0x9B
"""Reason codes of DISCONNECT (MQTT 5, section 3.14.2.1)."""


class IotCoreLine(Line):
    """One connection, and what of it was over a limit."""

    def __init__(self, proxy: MqttProxy) -> None:
        super().__init__(proxy)
        self.exceeded: list[str] = []
        self.most: dict[str, int] = {}
        """The highest value of each limited quantity so far."""
        self._publishes: deque[float] = deque()
        self._bytes: deque[tuple[float, int]] = deque()
        self._unacknowledged: set[int] = set()
        self._subscribed: set[str] = set()
        self._free_s = {"up": 0.0, "down": 0.0}
        """When each direction may carry the next packet."""

    async def up(self, packet: Packet) -> Packet | None:
        now_s = asyncio.get_running_loop().time()
        match packet.kind:
            case _ if packet.kind == PUBLISH:
                if not self._takes(packet, now_s):
                    return None
            case _ if packet.kind == SUBSCRIBE:
                wanted = filters(packet)
                self._subscribed |= set(wanted)
                self._limit("filters in a SUBSCRIBE", len(wanted), PER_REQUEST, QUOTA)
                self._limit("slashes", max(each.count("/") for each in wanted), SLASHES, FILTER)
                self._limit("subscriptions", len(self._subscribed), PER_CONNECTION, QUOTA)
            case _ if packet.kind == UNSUBSCRIBE:
                gone = filters(packet)
                self._subscribed -= set(gone)
                self._limit("filters in an UNSUBSCRIBE", len(gone), PER_REQUEST, QUOTA)
        await self._throttle("up", packet, now_s)
        return packet

    async def down(self, packet: Packet) -> Packet | None:
        if packet.kind == CONNACK:
            # Receive Maximum and Maximum QoS; nothing is said of sizes.
            granted = bytes([0x21, 0, UNACKNOWLEDGED, 0x24, 1])
            return Packet(packet.first, packet.body[:2] + bytes([len(granted)]) + granted)
        if packet.kind == PUBACK:
            self._unacknowledged.discard(int.from_bytes(packet.body[:2], "big"))
        await self._throttle("down", packet, asyncio.get_running_loop().time())
        return packet

    def _takes(self, packet: Packet, now_s: float) -> bool:
        """Whether a publication is forwarded; it may also end the connection."""
        message = published(packet)
        self._limit("QoS", message.qos, 1, QOS)
        self._limit("payload", message.payload, PAYLOAD, TOO_LARGE)
        self._limit("slashes", message.topic.count("/"), SLASHES, TOPIC)
        self._publishes.append(now_s)
        while self._publishes[0] <= now_s - 1:
            self._publishes.popleft()
        rate = len(self._publishes)
        self._note("publishes in a second", rate, PUBLISHES_PER_S)
        if rate > PUBLISHES_PER_S:
            self._publishes.pop()
            return False
        if message.qos:
            self._unacknowledged.add(message.mid)
            self._limit("unacknowledged", len(self._unacknowledged), UNACKNOWLEDGED, RECEIVE_MAXIMUM_EXCEEDED)
        return True

    async def _throttle(self, way: str, packet: Packet, now_s: float) -> None:
        size = len(packet.packed)
        if way == "up":
            self._bytes.append((now_s, size))
            while self._bytes[0][0] <= now_s - 1:
                self._bytes.popleft()
            self._note("bytes in a second", sum(each for _, each in self._bytes), BYTES_PER_S)
        free_s = self._free_s[way] = max(self._free_s[way], now_s - 1) + size / BYTES_PER_S
        await asyncio.sleep(max(0.0, free_s - now_s))

    def _limit(self, what: str, found: int, most: int, code: int) -> None:
        if not self._note(what, found, most):
            raise DisconnectError(code)

    def _note(self, what: str, found: int, most: int) -> bool:
        """Note a quantity; whether it is within its limit."""
        self.most[what] = max(self.most.get(what, 0), found)
        if found > most:
            self.exceeded.append(f"{self.client}: {found} {what}, at most {most}")
        return found <= most


class IotCore(MqttProxy):
    """The proxy before a Mosquitto on `port` that takes 100 unacknowledged publications itself."""

    lines: list[Any]

    def __init__(self, port: int) -> None:
        super().__init__(port, IotCoreLine)

    @property
    def exceeded(self) -> list[str]:
        """What was over a limit, of all connections."""
        return [said for line in self.lines for said in line.exceeded]

    @property
    def most(self) -> dict[str, int]:
        """The highest value of each limited quantity, of all connections."""
        found: dict[str, int] = {}
        for line in self.lines:
            for what, value in line.most.items():
                found[what] = max(found.get(what, 0), value)
        return found
