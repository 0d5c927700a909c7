"""Decodes and authenticates messages from the broker, and turns them into events of the core."""

from collections.abc import Callable

from agent.core import events as on
from agent.core.conditions import Readings
from agent.core.device import Device, Fetching
from agent.core.events import Event
from agent.shell.downloads import Downloads
from fedge.identity import ed25519
from fedge.identity.trust import authenticate
from fedge.transport import MessageArrived
from fedge.wire.freshness import seconds_left
from fedge.wire.messages.envelope import Signed
from fedge.wire.messages.frame import Frame
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.message import unpack, unpack_one_of
from fedge.wire.messages.receipt import Receipt
from fedge.wire.messages.status import Status
from fedge.wire.topics import Address, Topics


class Inbox:
    """Turns each message into the event that it is for the core, or refuses it.

    Args:
        topics: the federation's topics.
        downloads: assembles the frames of the task and of the model.
        readings: measures the conditions that the owner sets.
        now_s: monotonic seconds.
    """

    def __init__(
        self,
        topics: Topics,
        downloads: Downloads,
        readings: Callable[[], Readings],
        now_s: Callable[[], float],
    ) -> None:
        self._topics = topics
        self._downloads = downloads
        self._readings = readings
        self._now_s = now_s

    def event(self, message: MessageArrived, address: Address, state: Device) -> Event | None:
        """Return the event of a message; None: the message does not concern this device now.

        Args:
            message: the message as it arrived.
            address: its parsed topic.
            state: the core's current state, with the keys to trust and the round that is fetched.

        Raises:
            ProtocolError: the message or its signature is invalid.
        """
        now_s = self._now_s()
        match address.kind:
            case "round":
                return self._announcement(message, state)
            case "task" | "model" | "key":
                return self._frame(address, unpack(message.payload, Frame), state)
            case "receipt":
                found = unpack_one_of(message.payload, (Receipt, Frame))
                if isinstance(found, Frame):
                    return on.MaskingArrived(found)
                assert isinstance(found, Receipt)
                return on.ReceiptArrived(now_s, found)
            case "status":
                status = unpack(message.payload, Status)
                return on.StatusSeen(now_s, status, live=not message.retained)
            case _:
                return None

    def _announcement(self, message: MessageArrived, state: Device) -> Event:
        """Decode an announcement; if a key is pinned, accept only one signed by that key or its successor."""
        envelope, signers = unpack(message.payload, Signed), state.signers
        if signers:
            signers = authenticate(envelope, "round", self._topics, signers, ed25519.verify)
        manifest = unpack(envelope.body, Manifest)
        left_s = seconds_left(manifest.seconds_left, message.expiry_left_s)
        return on.RoundAnnounced(self._now_s(), manifest, left_s, signers, self._readings())

    def _frame(self, address: Address, frame: Frame, state: Device) -> Event | None:
        """Take a frame of the task or model that is being fetched. Others belong to earlier requests."""
        if not isinstance(state.work, Fetching):
            return None
        return self._downloads.offer(address.kind, frame, state.manifest, self._now_s())
