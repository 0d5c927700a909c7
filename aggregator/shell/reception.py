"""Messages from the broker: bounded, read, and turned into events of the core."""

import hashlib
import logging
import time
from collections.abc import Callable, Iterable

from aggregator.aggregation.models import vector_of
from aggregator.aggregation.updates import read_update
from aggregator.core import events as on
from aggregator.core.buffering import base_of
from aggregator.core.events import Event
from aggregator.core.federation import Federation
from aggregator.core.verdicts import KeptVerdict
from aggregator.ledger.writing import Ledger
from aggregator.shell.certificates import Certificates
from aggregator.shell.intake import Intake, allowance_of
from aggregator.shell.reports import Reports
from aggregator.shell.saved_exchange import read_masking
from fedge.errors import ProtocolError
from fedge.masking.round_messages import Promise
from fedge.service.failpoints import after, before
from fedge.transport import MessageArrived
from fedge.wire.freshness import RoundId, round_of
from fedge.wire.messages.frame import Frame, id_of, unpack_frame
from fedge.wire.messages.message import Message, unpack
from fedge.wire.messages.service import Service
from fedge.wire.messages.status import Status
from fedge.wire.messages.update import Update, unpack_update
from fedge.wire.reasons import Rejection
from fedge.wire.topics import Address, Topics


class Reception:
    """Turns each message into at most one event.

    Args:
        topics: of the federation.
        ledger: holds the verdicts and the frames of updates.
        intake: bounds how much of each device is worked on.
        reports: logs what devices do wrong.
        now_s: monotonic seconds.
        certificates: checks those of devices; None: no promise is admitted.
    """

    def __init__(
        self,
        topics: Topics,
        ledger: Ledger,
        intake: Intake,
        reports: Reports,
        now_s: Callable[[], float] = time.monotonic,
        certificates: Certificates | None = None,
    ) -> None:
        self._certificates = certificates or Certificates("", None)
        self._topics, self._ledger, self._intake, self._reports = topics, ledger, intake, reports
        self._now_s = now_s

    def look_ahead(self, state: Federation, messages: Iterable[MessageArrived]) -> None:
        """Look up the verdicts on the updates that these messages seem to be frames of, all at once."""
        updates = set()
        for message in messages:
            digest = id_of(message.payload)
            if digest is not None:
                device = message.topic.rpartition("/")[2]
                begun = state.partials.get(device)
                if begun is None or begun.id != digest:
                    updates.add((device, digest))
        if len(updates) > 1:
            self._ledger.look_up(updates)

    def read(self, state: Federation, message: MessageArrived) -> Event | on.WholeUpdate | None:
        """Turn a message into an event; None: it is dropped, waits, or does not concern the core.

        An update of the open round that came whole is a part of an event.
        """
        address = self._topics.parse(message.topic)
        if address is None or not message.payload:
            return None
        if address.device is not None and not self._is_taken(state, address.kind, address.device, message):
            return None
        return self._understand(state, address, message)

    def status(self, state: Federation, message: MessageArrived) -> Event | None:
        """Turn a status that has waited into an event."""
        address = self._topics.parse(message.topic)
        found = self._understand(state, address, message) if address is not None else None
        assert not isinstance(found, on.WholeUpdate)
        return found

    def read_update(self, state: Federation, device: str, digest: bytes) -> Event:
        """Put the frames of a complete update together, and read it."""
        now_s = self._now_s()
        try:
            message = read_update(self._ledger, device, digest)
        except ProtocolError as error:
            message = Rejection(error.reason, str(error))
        key = None
        if isinstance(message, Promise):
            checked = self._certificates.key_of(device, message.certificate)
            key, message = (None, checked) if isinstance(checked, Rejection) else (checked, message)
        remembered = isinstance(message, Rejection) or self._remembers(state, round_of(message))
        start = None
        if isinstance(message, Update) and round_of(message) < state.round:
            base = base_of(state, message.round)
            if base is not None and message.generation == state.round.generation:
                start = vector_of(self._ledger, base, state.weights)
        return on.UpdateRead(now_s, device, digest, message, remembered, start, key)

    def read_masking(self, device: str, digest: bytes) -> Event:
        """Put the frames of a message of secure aggregation together, and read it."""
        try:
            message: Message | Rejection = read_masking(self._ledger, device, digest)
        except ProtocolError as error:
            message = Rejection(error.reason, str(error))
        return on.MaskingRead(self._now_s(), device, digest, message)

    def report(self, state: Federation, level: int, device: str, cause: str, text: str) -> None:
        """Log what a device causes, within the allowance of that device."""
        self._reports.tell(level, allowance_of(state, device), cause, text, self._now_s())

    def _is_taken(self, state: Federation, kind: str, device: str, message: MessageArrived) -> bool:
        """Whether a device's message is processed now."""
        now_s = self._now_s()
        if kind == "status":
            return self._intake.takes_status(device, message, now_s)
        if kind != "update" or self._intake.takes_update(state, device, len(message.payload), now_s):
            return True
        text = f"{device} sends more than any update needs: its messages beyond that are dropped"
        self.report(state, logging.WARNING, device, "too much", text)
        return False

    def _understand(
        self, state: Federation, address: Address, message: MessageArrived
    ) -> Event | on.WholeUpdate | None:
        try:
            return self._event(state, address, message)
        except ProtocolError as error:
            if address.kind == "update" and address.device is not None:
                digest = hashlib.sha256(message.payload).digest()
                return on.GarbageArrived(address.device, digest, error.reason, str(error))
            text = f"ignored a message on {message.topic}: {error}"
            cause = f"{address.kind} {error.reason}"
            self.report(state, logging.WARNING, address.device or "", cause, text)
            return None

    def _event(
        self, state: Federation, address: Address, message: MessageArrived
    ) -> Event | on.WholeUpdate | None:
        now_s = self._now_s()
        match address.kind:
            case "update" if address.device is not None:
                frame = unpack_frame(message.payload)
                verdict = self._verdict(state, address.device, frame.id)
                if (whole := _whole(state, address.device, frame, verdict)) is not None:
                    return whole
                kept = frame.asks is None or self._remembers(state, round_of(frame.asks))
                return on.FrameArrived(now_s, address.device, frame, verdict, kept)
            case "status" if address.device is not None:
                if address.version != "v1":
                    text = f"{address.device} speaks {address.version} of the protocol, and this program v1"
                    text = f"{text}: the device cannot take part"
                    self.report(state, logging.WARNING, address.device, "version", text)
                    return None
                return on.StatusSeen(now_s, address.device, unpack(message.payload, Status))
            case "service":
                return on.ServiceSeen(unpack(message.payload, Service))
            case _:
                return None

    def _verdict(self, state: Federation, device: str, digest: bytes) -> KeptVerdict | None:
        """The ledger's verdict on an update; None for the one in the spool, which has no verdict yet."""
        begun = state.partials.get(device)
        if begun is not None and begun.id == digest:
            return None
        return self._ledger.verdict(device, digest)

    def _remembers(self, state: Federation, round_id: RoundId) -> bool:
        return round_id >= state.round or self._ledger.remembers(round_id)


def _whole(
    state: Federation, device: str, frame: Frame, verdict: KeptVerdict | None
) -> on.WholeUpdate | None:
    """The update of a frame, if it came whole and is of the open round; None: its frame is kept first."""
    if frame.n != 1 or len(frame.data) != frame.size or frame.asks is not None or verdict is not None:
        return None
    before("ReadUpdate")
    message = unpack_update(frame.data) if hashlib.sha256(frame.data).digest() == frame.id else None
    after("ReadUpdate")
    if message is None or round_of(message) != state.round:
        return None
    return on.WholeUpdate(device, frame, message)
