"""Explain why a connection failed or ended: name the broker, the cause, and the remedy. Pure.

It recognises a port of another kind. A TLS server that gets plain MQTT answers with an alert or closes the
connection; a server without TLS closes it during the handshake. A broker that only speaks MQTT 3.1.1 answers
a client of MQTT 5 with CONNACK 1 (MQTT 3.1.1, section 3.2.2.3), closes the connection, or does not answer;
real brokers do each of these.

`Losses` decides which of these texts are logged. A broker that is away for a day, or closes each connection
at once, causes some thirty warnings and not thousands.
"""

import re
import ssl
from collections import OrderedDict
from dataclasses import dataclass

from fedge.transport.packets import LEAST_PACKET

UNSUPPORTED_VERSION = 0x84
NOT_AUTHORIZED = 0x87
PACKET_TOO_LARGE = 0x95
RAISE_IT = "raise the maximum packet size in the broker's configuration (Mosquitto: max_packet_size)"
_UNSAID = ("Unspecified error", "Success", "Normal disconnection")
"""Texts of paho that give no reason."""
_TLS_RECORDS = (b"\x15\x03", b"\x16\x03")
"""The first byte of a TLS record: an alert or a handshake (RFC 8446, section 5.1)."""
LARGE = 16_384
"""A last packet of at least this size may have exceeded a limit that the broker does not announce."""
AGAIN_S, LONGEST_AGAIN_S = 30.0, 3_600.0
"""A reason is repeated after the first of these times, then after twice as long, up to the longest."""
RETURNS, RETURN_AGAIN_S = 20, 600.0
"""How many reconnections without a logged loss are logged at first, and the time until one more is logged."""
KINDS = 16
"""The most reasons that are remembered."""


@dataclass(frozen=True)
class Peer:
    """The broker that we wanted to connect to, and how."""

    host: str
    port: int
    tls: bool
    certificate: str | None = None
    """The file of our own certificate, if we show one."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def refused(peer: Peer, code: int, name: str) -> str:
    """The broker refused the CONNECT with this reason code (MQTT 5, section 3.2.2.2)."""
    if code == UNSUPPORTED_VERSION or name == "Unsupported protocol version":
        return f"{peer} speaks only an older MQTT ({name}): Fedge needs a broker with MQTT 5"
    return f"{peer} refuses this client: {name}"


def unanswered(peer: Peer, first: bytes | None, name: str, patience_s: float) -> str:
    """The connection ended before the broker answered the CONNECT.

    Args:
        peer: the broker.
        first: the first bytes that arrived, if they were inspected; empty: the broker closed the connection.
        name: the client library's name of the reason.
        patience_s: how long we waited for an answer.
    """
    if not peer.tls and first is not None and first.startswith(_TLS_RECORDS):
        return f"{peer} speaks TLS: [broker] url is mqtts:// for this port, or the port is another"
    if name == "Keep alive timeout":
        return (
            f"{peer} accepted the connection and sent nothing for {patience_s:.0f} s: does it speak MQTT 5, "
            f"and is {'TLS right for this port' if peer.tls else 'this its port for mqtt://, not for TLS'}?"
        )
    if peer.certificate is not None:
        return (
            f"{peer} closed the connection without a reason: does it trust our certificate "
            f"{peer.certificate}? It may be revoked, or expired, or not yet valid by the broker's clock"
        )
    if first and not peer.tls:
        return f"{peer} answered with something else than MQTT ({first[:8].hex(' ')}): is it a broker's port?"
    if peer.tls:
        return (
            f"{peer} closed the connection without a reason: does it speak MQTT 5, or ask for a certificate?"
        )
    return (
        f"{peer} closed the connection without a reason: does it speak MQTT 5, and is this its port for "
        "mqtt:// and not for TLS (mqtts://)?"
    )


def too_small(peer: Peer, max_packet: int) -> str:
    """The broker accepted the CONNECT, and takes smaller packets than Fedge needs (section 3.2.2.3.6)."""
    return (
        f"{peer} takes packets of at most {max_packet:,} bytes, and Fedge needs {LEAST_PACKET:,}: {RAISE_IT}"
    )


def connect_too_large(peer: Peer, size: int, max_packet: int) -> str:
    """The broker did not answer a CONNECT of `size` bytes, which is over its limit."""
    return (
        f"{peer} takes packets of at most {max_packet:,} bytes, and the CONNECT with this program's last "
        f"will has {size:,}: {RAISE_IT}"
    )


def no_handshake(peer: Peer, error: ssl.SSLError | OSError) -> str:
    """The TLS handshake failed, for another reason than the server's certificate."""
    reason = getattr(error, "reason", None) or ""
    what = getattr(error, "strerror", None) or str(error)
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"):
        return f"{peer} speaks no TLS: [broker] url is mqtt:// for this port, or the port is another"
    if isinstance(error, ssl.SSLEOFError | ConnectionError) or reason == "UNEXPECTED_EOF_WHILE_READING":
        return (
            f"{peer} closed the connection before TLS began: is this its port for mqtts://, or one "
            "without TLS (mqtt://)?"
        )
    return f"{peer}: the TLS handshake failed: {what}"


def lost(peer: Peer, name: str, patience_s: float, last_bytes: int, *, said: bool) -> str:
    """A connection that the broker had accepted ended.

    Args:
        peer: the broker.
        name: the client library's name of the reason.
        patience_s: the time without a packet from the broker after which a connection counts as lost.
        last_bytes: the size of the last packet that was sent.
        said: the broker itself gave the reason (MQTT 5, section 3.14).
    """
    if name == "Keep alive timeout" and not said:
        return f"{peer} sent nothing for {patience_s:.0f} s: is the broker or the network down?"
    if name not in _UNSAID:
        return f"{peer} closed the connection: {name}"
    if said:
        return f"{peer} closed the connection and gave no reason"
    large = (
        f"; the last packet sent had {last_bytes:,} bytes: is that over its limit?"
        if last_bytes >= LARGE
        else ""
    )
    return f"the connection to {peer} was lost without a reason{large}"


@dataclass
class _Told:
    due_s: float
    pause_s: float
    unsaid: int = 0


class Losses:
    """Decides which losses are logged: each reason once, then at growing intervals with a count.

    A reason that has not occurred for the longest interval counts as new.
    """

    def __init__(self) -> None:
        self._told: OrderedDict[str, _Told] = OrderedDict()
        """By reason, without its numbers."""
        self._silent = False
        self._returns, self._counted_s = float(RETURNS), 0.0

    def text(self, reason: str, now_s: float) -> str | None:
        """The text to log for a loss; None: it was logged recently, and is only counted."""
        kind = re.sub(r"\d+", "#", reason)
        told = self._told.get(kind)
        if told is None or now_s >= told.due_s + LONGEST_AGAIN_S:
            told = self._told[kind] = _Told(now_s, AGAIN_S / 2)
        self._told.move_to_end(kind)
        while len(self._told) > KINDS:
            self._told.popitem(last=False)
        self._silent = now_s < told.due_s
        if self._silent:
            told.unsaid += 1
            return None
        more = f" (and {told.unsaid:,} more times since this was last logged)" if told.unsaid else ""
        told.pause_s = min(LONGEST_AGAIN_S, 2 * told.pause_s)
        told.due_s, told.unsaid = now_s + told.pause_s, 0
        return reason + more

    def tells_return(self, now_s: float) -> bool:
        """Whether to log a reconnection: if the loss was logged, and otherwise now and then."""
        if not self._silent:
            return True
        self._returns = min(float(RETURNS), self._returns + (now_s - self._counted_s) / RETURN_AGAIN_S)
        self._counted_s = now_s
        if self._returns < 1:
            return False
        self._returns -= 1
        return True
