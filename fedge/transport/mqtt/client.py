"""A paho client with short ways for what an ingesting program does most: QoS 1 messages and their PUBACKs.

paho takes some 150 µs for a publication that arrives and 100 µs for one that it sends, because it makes
objects for properties, results and waiting threads of each, and it reads four times from the socket for each
packet. With a lock that all threads share (the GIL), each call into the system is also a moment when another
thread may take over for 5 ms. Here bytes are read in blocks, packets that wait are sent as one, and a packet
without properties is taken as it is. Whatever looks different goes paho's own way.

The short ways replace methods of paho that are not public. If a later paho calls others, its own ways serve.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import MessageType, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

BLOCK = 65_536
"""The most bytes read ahead."""
BLOCKS = 16
"""The most blocks read in one turn of the loop, so that sending and the keep-alive have theirs."""
MERGED = 65_536
"""The most bytes of waiting packets that are sent as one."""
_RETAIN, _QOS, _QOS_1 = 0x01, 0x06, 0x02
_PUBLISH, _PUBACK = int(MessageType.PUBLISH), int(MessageType.PUBACK)


class Client(mqtt.Client):
    """As paho's, for MQTT 5.

    Without `arrives` and `answers` everything goes paho's way.
    """

    arrives: Callable[[bytes, bytes, bool, int], None] | None = None
    """Called with topic, payload, the retain flag and packet identifier of a publication of QoS 1."""
    answers: Callable[[int, str | None], None] | None = None
    """Called with the broker's answer to a publication of `send`: packet identifier, and the refusal."""

    def __init__(self, *values: Any, **options: Any) -> None:
        super().__init__(*values, **options)
        self._ahead = memoryview(b"")
        """Bytes that were read and not used yet."""
        self._blocks = 0
        """How many more blocks may be read in this turn."""
        self._woken = False
        """The network thread has been woken up, and has not begun to write since."""

    def end(self) -> None:
        """Close all sockets and drop the callbacks, after the last turn of the loop.

        The owner's thread may go on calling: nothing is sent then.
        """
        self.arrives = self.answers = None
        self.on_socket_open = self.on_connect = self.on_disconnect = None
        self.on_message = self.on_publish = self.on_subscribe = None
        self._reset_sockets()

    # ── called by the owner's thread ───────────────────────────────────────────────────────────────

    def send(self, topic: bytes, payload: bytes, *, retain: bool, properties: bytes = b"\0") -> int:
        """Publish at QoS 1; returns the packet identifier. `properties`: packed, with their length."""
        mid = self._mid_generate()
        head = bytearray([_PUBLISH | _QOS_1 | (_RETAIN if retain else 0)])
        self._pack_remaining_length(head, 2 + len(topic) + 2 + len(properties) + len(payload))
        parts = (head, len(topic).to_bytes(2, "big"), topic, mid.to_bytes(2, "big"), properties, payload)
        self._put(_PUBLISH, b"".join(parts), mid)
        return mid

    def acknowledge(self, mid: int) -> None:
        """Send the PUBACK of a publication of QoS 1; with `manual_ack` alone."""
        if self._manual_ack:
            self._put(_PUBACK, b"\x40\x02" + mid.to_bytes(2, "big"), mid)

    def _put(self, command: int, packet: bytes, mid: int) -> None:
        self._packet_queue(command, packet, mid, 1)

    def _packet_queue(
        self, command: int, packet: bytes | bytearray, mid: int, qos: int, info: Any = None
    ) -> MQTTErrorCode:
        """Let the network thread send a packet.

        The packet is there before the flag is read, and `loop_write` clears the flag before it looks for
        packets. So either that one is seen, or the thread is woken up again.
        """
        self._out_packet.append(_queued(command, packet, mid, qos, info))
        pair = self._sockpairW
        if not self._woken and pair is not None:
            self._woken = True
            with suppress(OSError):  # it has enough to be woken up by, or has ended
                pair.send(b"\0")
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    # ── the network thread ─────────────────────────────────────────────────────────────────────────

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """As paho's, and on while there are bytes ahead, because `select` does not tell of them."""
        self._blocks = BLOCKS
        found = super().loop_read(max_packets)
        while found == MQTTErrorCode.MQTT_ERR_SUCCESS and self._ahead and self._sock is not None:
            found = super().loop_read(max_packets)
        return found

    def loop_write(self) -> MQTTErrorCode:
        """As paho's; small packets that wait are sent together."""
        self._woken = False
        waiting, packets, size = self._out_packet, list[bytes](), 0
        while len(waiting) > (0 if packets else 1) and size < MERGED and _may_be_merged(waiting[0]):
            packets.append(bytes(waiting.popleft()["packet"]))
            size += len(packets[-1])
        if packets:
            waiting.appendleft(_queued(_PUBACK, b"".join(packets), 0))
        return super().loop_write()

    def _sock_recv(self, bufsize: int) -> bytes:
        if not self._ahead:
            if bufsize >= BLOCK:
                return super()._sock_recv(bufsize)
            if self._blocks == 0:
                raise BlockingIOError
            self._blocks -= 1
            self._ahead = memoryview(super()._sock_recv(BLOCK))
        piece, self._ahead = self._ahead[:bufsize], self._ahead[bufsize:]
        return piece  # type: ignore[return-value] # paho takes its bytes and its length

    def _handle_publish(self) -> MQTTErrorCode:
        packet, flags = self._in_packet["packet"], self._in_packet["command"]
        at = 2 + int.from_bytes(packet[:2], "big")
        mid = int.from_bytes(packet[at : at + 2], "big")
        plain = flags & _QOS == _QOS_1 and len(packet) > at + 2 and mid > 0 and packet[at + 2] == 0
        if not plain or self.arrives is None:
            return super()._handle_publish()
        with memoryview(packet) as view:
            self.arrives(bytes(view[2:at]), bytes(view[at + 3 :]), bool(flags & _RETAIN), mid)
        return MQTTErrorCode.MQTT_ERR_SUCCESS if self._manual_ack else self._send_puback(mid)

    def _handle_pubackcomp(self, cmd: Any) -> MQTTErrorCode:
        packet = self._in_packet["packet"]
        mid = int.from_bytes(packet[:2], "big")
        if cmd != "PUBACK" or len(packet) < 2 or mid in self._out_messages or self.answers is None:
            return super()._handle_pubackcomp(cmd)
        self.answers(mid, _refusal(packet[2]) if len(packet) > 2 else None)
        return MQTTErrorCode.MQTT_ERR_SUCCESS


def _may_be_merged(queued: Any) -> bool:
    """Whether paho does no more with a queued packet once it is sent, and nothing of it is sent yet."""
    return queued["command"] & 0xF0 in (_PUBLISH, _PUBACK) and queued["qos"] > 0 and queued["pos"] == 0


def _queued(command: int, packet: bytes | bytearray, mid: int, qos: int = 1, info: Any = None) -> Any:
    """A packet in the form of paho's queue, where one of QoS 0 is called published once it is sent."""
    return {
        "command": command,
        "mid": mid,
        "qos": qos,
        "pos": 0,
        "to_process": len(packet),
        "packet": packet,
        "info": info,
    }


def _refusal(code: int) -> str | None:
    """What a broker says by a reason code of 128 or more; codes below are no failures."""
    if code < 0x80:
        return None
    try:
        return str(ReasonCode(PacketTypes.PUBACK, identifier=code))
    except (KeyError, ValueError):
        return f"reason code {code}"
