"""The size of an MQTT 5 PUBLISH packet, and the payload that fits into the largest one. Pure.

A broker's Maximum Packet Size counts the whole packet: fixed header, topic, packet identifier, properties and
payload (MQTT 5, sections 2.1, 3.1.2.11.4 and 3.3). We send one property, the Message Expiry Interval.
"""

LARGEST_PACKET = 5 + 268_435_455
"""The largest packet of MQTT: the longest header and the largest remaining length (section 1.5.5)."""
LEAST_PACKET = 4_200
"""The smallest Maximum Packet Size that Fedge works with: `LEAST_PAYLOAD` bytes of payload, the longest topic
of an update, receipt or status (87 bytes), and at most 13 bytes of headers and properties."""
EXPIRY_BYTES = 5
"""The property Message Expiry Interval: its identifier and four bytes (section 3.3.2.3.3)."""


def packet_bytes(topic: str, payload: int, *, expires: bool = False) -> int:
    """The bytes of a QoS 1 PUBLISH with `payload` bytes of payload."""
    remaining = _around(topic, expires=expires) + payload
    return 1 + _length_bytes(remaining) + remaining


def payload_room(topic: str, max_packet: int, *, expires: bool = False) -> int:
    """The most bytes of payload in a QoS 1 PUBLISH of at most `max_packet` bytes; negative if none fits."""
    around = _around(topic, expires=expires)
    # Each byte more of the length field holds seven bits more, so a longer field may fit where a shorter one
    # is not long enough.
    return max(min(max_packet - 1 - field, 128**field - 1) for field in (1, 2, 3, 4)) - around


def _around(topic: str, *, expires: bool) -> int:
    """The bytes of the variable header: topic, packet identifier, properties."""
    return 2 + len(topic.encode()) + 2 + 1 + (EXPIRY_BYTES if expires else 0)


def _length_bytes(remaining: int) -> int:
    """The bytes of the variable byte integer `remaining` (section 1.5.5)."""
    return 1 + (remaining > 127) + (remaining > 16_383) + (remaining > 2_097_151)


def connect_bytes(
    client_id: str, will: tuple[str, int] | None, username: str | None, password: str | None
) -> int:
    """The bytes of a CONNECT with a Session Expiry Interval (section 3.1).

    Args:
        client_id: of the client.
        will: topic and bytes of payload of the last will; None: it has none.
        username: to log in with, if there is one.
        password: goes with it.
    """
    remaining = 10 + 1 + 5 + 2 + len(client_id.encode())
    if will is not None:
        topic, payload = will
        remaining += 1 + 2 + len(topic.encode()) + 2 + payload
    remaining += sum(2 + len(text.encode()) for text in (username, password) if text is not None)
    return 1 + _length_bytes(remaining) + remaining
