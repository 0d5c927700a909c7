"""A device's part in secure aggregation: takes the aggregator's messages, and sends its own.

`fedge.masking.device` decides. State and mark are on the disk before a message that they allow is sent. The
mark lies in a file beside the memory: a memory that is restored from a copy does not take it back.
"""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from agent.config import AgentSettings
from agent.core.device import Device as Agent
from agent.core.protection import noise_promised
from agent.core.state import MaskedUpdate
from agent.settings.trust import TrustSettings
from agent.shell import masking_state, own_group
from agent.shell.cohort_keys import CohortKeys
from agent.shell.memory import Memory
from agent.shell.refusals import Refusals
from fedge.errors import ConfigError, DamagedState, ProtocolError, StateError
from fedge.identity import ed25519
from fedge.identity.certified_keys import OwnKey, read_own, verifier
from fedge.identity.pinned_roster import PinnedRoster
from fedge.masking import device, statements
from fedge.masking.device_state import (
    AllowUnmasked,
    Announced,
    Device,
    Event,
    Identity,
    Mark,
    RaiseMark,
    Received,
    Refuse,
    SaveState,
    Send,
    SendAgain,
    Stage,
    UpdateReady,
    Wanted,
    WantUpdate,
)
from fedge.masking.messages import Agreement, Delivery, MaskingMessage, Roster, Survivors, Terms
from fedge.masking.refusals import Refusal, Why
from fedge.masking.round_messages import Call, Objection
from fedge.service.failpoints import after as after_effect
from fedge.service.failpoints import before
from fedge.storage.atomic_files import atomic_write
from fedge.wire.assembly import Assembler, Limits
from fedge.wire.freshness import RoundId, round_of
from fedge.wire.messages.fields import MAX_SIZE, detail_of
from fedge.wire.messages.frame import Frame
from fedge.wire.messages.message import Message, unpack, unpack_one_of
from fedge.wire.reasons import Rejection

log = logging.getLogger("fedge.agent")

MARK = "masking.mark"
"""The file's name in the state folder."""
ROOM = 4 * 2**20
"""The most bytes held for messages that are not complete."""
KINDS: tuple[type[Message], ...] = (Call, Roster, Delivery, Survivors, Agreement)
PHASE = "phase:masked"
"""The capability to take part, as a name of `fedge.wire.capabilities`."""


def can_mask(settings: AgentSettings) -> bool:
    """Whether this device has what masked rounds need: a certificate, its authority, and `cryptography`."""
    broker = settings.broker
    if broker.ca is None or broker.certificate is None or broker.key is None:
        return False
    try:
        ed25519.require("secure aggregation", "secure")
    except ConfigError:
        return False
    return True


class MaskedRounds:
    """Takes part in secure aggregation.

    Args:
        settings: the configuration.
        memory: holds the promised update and the state.
        mark: the file of the mark.
        agent: returns the state of the agent's core.
        send: sends a message to the aggregator.
        refusals: logs what is refused; None: one of its own.
        now_s: monotonic seconds.
    """

    def __init__(
        self,
        settings: AgentSettings,
        memory: Memory,
        mark: Path,
        agent: Callable[[], Agent],
        send: Callable[[Message], None],
        refusals: Refusals | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._refusals, self._now_s = refusals or Refusals(), now_s
        self._settings, self._memory, self._mark_file = settings, memory, mark
        self._agent, self._send = agent, send
        self._assembler = Assembler(Limits(ROOM, ROOM))
        self._state: Device | None = None
        self._keys: dict[str, bytes] = {}
        self._cohort = CohortKeys(settings)
        self._own: OwnKey | None = None

    def take(self, frame: Frame) -> None:
        """Take a frame of a message of the aggregator.

        Raises:
            ProtocolError: the frame or the message is invalid.
            DamagedState: the memory is damaged.
            StateError: the disk failed; nothing was sent.
        """
        found = self._assembler.offer("", frame)
        if isinstance(found, Rejection):
            raise ProtocolError(found.detail, found.reason)
        if found is None or not can_mask(self._settings):
            return
        message = unpack_one_of(found, KINDS, max_bytes=MAX_SIZE)
        if isinstance(message, Call):
            self._called(message)
        elif isinstance(message, MaskingMessage):
            self._step(SendAgain() if self._answered(message) else Received(message))

    def _answered(self, message: MaskingMessage) -> bool:
        """Whether the masked update has answered this: it is sent again, because it may have been lost."""
        attempt = self._loaded().attempt
        if attempt is None or attempt.digest != message.terms:
            return False
        return isinstance(message, Delivery) and attempt.stage is Stage.MASKED

    def begin_connection(self) -> None:
        """Send the newest message of the announced round again."""
        self._assembler.drop("")
        manifest = self._agent().manifest
        if manifest is None or manifest.kind != "masked" or not can_mask(self._settings):
            return
        attempt = self._loaded().attempt
        if attempt is not None and (attempt.terms.generation, attempt.terms.round) == round_of(manifest):
            self._step(SendAgain())

    def _called(self, call: Call) -> None:
        terms = unpack(call.terms, Terms)
        digest = statements.digest(terms)
        if self._agent().manifest is None:
            return  # it will be announced, and the call will be repeated
        if (why := self._unfit(terms, call)) is not None:
            self._refuse(why, digest)
            return
        attempt = self._loaded().attempt
        keys = (
            self._keys if attempt is not None and attempt.digest == digest else self._cohort.of(terms, call)
        )
        if not isinstance(keys, Refusal) and not self._signs_as(keys):
            text = "its certificate was renewed since it promised its update; it takes part in the next round"
            keys = Refusal(Why.OWN_KEY_CHANGED, text)
        if isinstance(keys, Refusal):
            self._refuse(keys, digest)
            return
        self._step(Announced(terms, os.urandom(32)), keys)

    def _unfit(self, terms: Terms, call: Call) -> Refusal | None:
        """Why these terms are not those of the promised update and of the announced round."""
        manifest, update = self._agent().manifest, self._memory.masked()
        asked = (
            manifest.protection.masked if manifest is not None and manifest.protection is not None else None
        )
        where = (terms.federation, terms.generation, terms.round)
        if manifest is None or asked is None or where != (self._settings.federation, *round_of(manifest)):
            return Refusal(Why.OTHER_TERMS, "no masked round with this number is announced")
        if update is None or update.round != round_of(manifest) or update.base != terms.base:
            return Refusal(Why.OTHER_TERMS, "this device has promised no update of this round and model")
        told = (terms.value_bits, terms.clip, terms.max_weight, terms.server)
        if told != (asked.value_bits, asked.clip, asked.max_weight or 1, asked.server):
            return Refusal(Why.OTHER_TERMS, "the terms are not those that the announcement promised")
        if (update.value_bits, update.clip) != told[:2]:
            return Refusal(Why.OTHER_TERMS, "the update was rounded for other terms")
        if update.promised != noise_promised(manifest.protection):
            return Refusal(
                Why.OTHER_TERMS, "this device added its share of noise that was promised otherwise"
            )
        if len(terms.cohort) < asked.cohort or terms.threshold < asked.threshold:
            few = f"{len(terms.cohort)} devices with a threshold of {terms.threshold}"
            return Refusal(Why.LOW_THRESHOLD, f"{few}; {asked.cohort} and {asked.threshold} were promised")
        # A larger cohort needs as large a part of it: t / n > (t₀ - 1) / n₀, since t₀ was rounded up.
        if terms.threshold * asked.cohort <= (asked.threshold - 1) * len(terms.cohort):
            part = f"{asked.threshold} of {asked.cohort} devices"
            few = f"a threshold of {terms.threshold} of {len(terms.cohort)} devices"
            return Refusal(Why.LOW_THRESHOLD, f"{few}; {part} were promised, and the same part of more")
        if len(call.certificates) != len(terms.cohort):
            return Refusal(Why.MALFORMED, "the certificates are not those of the cohort")
        return own_group.unfit(terms, call, asked, update, self._settings.device)

    def _step(self, event: Event, keys: dict[str, bytes] | None = None) -> None:
        state = self._loaded()
        keys = self._keys if keys is None else keys  # after the state is loaded, with which they come
        if keys and not self._signs_as(keys):
            why = "its certificate was renewed in the middle of the attempt, and others know the former key"
            self._refuse(Refusal(Why.OWN_KEY_CHANGED, why), _digest_of(state, event))
            return
        after, effects = device.step(state, event, Identity(self._sign, verifier(keys)))
        for effect in effects:
            before(effect)
            match effect:
                case SaveState(saved):
                    self._memory.save_masking(masking_state.to_bytes(saved, keys))
                case RaiseMark(mark):
                    self._write_mark(mark)
                case Send(message):
                    self._state, self._keys = after, keys
                    self._send(message)
                case Refuse(refusal):
                    self._refuse(refusal, _digest_of(after, event))
                case WantUpdate():
                    self._state, self._keys = after, keys
                    self._give_update()
                case AllowUnmasked():
                    pass
            after_effect(effect)

    def _give_update(self) -> None:
        """Mask the update that was promised for this attempt; one of a later round is not for its terms."""
        update, attempt = self._memory.masked(), self._loaded().attempt
        if update is None or attempt is None:
            return
        terms = attempt.terms
        if (update.round, update.base) == (RoundId(terms.generation, terms.round), terms.base):
            self._step(_ready(update))
        else:
            why = "this device has promised an update of another round since then"
            self._refuse(Refusal(Why.OTHER_TERMS, why), attempt.digest)

    def _refuse(self, refusal: Refusal, digest: bytes | None) -> None:
        """Log a refusal, and tell it to the aggregator. A server that repeats itself fills no log."""
        self._refusals.tell_masking(refusal, self._now_s())
        if digest is not None and refusal.why not in (Why.WRONG_PHASE, Why.ALTERED_SHARE, Why.OTHER_ATTEMPT):
            self._send(
                Objection(
                    terms=digest,
                    device=self._settings.device,
                    why=refusal.why.value,
                    detail=detail_of(refusal.detail),
                )
            )

    def _signs_as(self, keys: dict[str, bytes]) -> bool:
        """Whether we have the key by which others know us. Once renewed, a certificate's former key is kept
        until this program ends: attempts that began with it can go on."""
        wanted = keys.get(self._settings.device)
        if self._own is None or self._own.public != wanted:
            certificate, key = self._settings.broker.certificate, self._settings.broker.key
            assert certificate is not None
            assert key is not None
            self._own = read_own(certificate, key)
        return self._own.public == wanted

    def _sign(self, data: bytes) -> bytes:
        assert self._own is not None
        return self._own.sign(data)

    def _loaded(self) -> Device:
        """The state, read from the memory at first."""
        if self._state is None:
            saved, mark = self._memory.masking(), self._read_mark()
            kept, self._keys = _kept(saved)
            if (stranger := self._cohort.stranger(self._keys)) is not None:
                log.warning("this device leaves the attempt that it was in: %s", stranger.detail)
                kept, self._keys = None, {}
            asked = wanted(self._settings.trust, self._settings.device, self._cohort.roster)
            self._state, effects = device.resumed(kept, mark, name=self._settings.device, wanted=asked)
            for effect in effects:
                if isinstance(effect, RaiseMark):
                    self._write_mark(effect.mark)
        return self._state

    def _read_mark(self) -> Mark:
        return read_mark(self._mark_file)

    def _write_mark(self, mark: Mark) -> None:
        words = (mark.generation, mark.round, mark.attempt, int(mark.stage))
        atomic_write(self._mark_file, " ".join(map(str, words)).encode("ascii"), mode=0o600)


def _kept(saved: bytes | None) -> tuple[Device | None, dict[str, bytes]]:
    """What was saved, with the cohort's keys; None: nothing, or what this program cannot read.

    Without it the device leaves the attempt: the mark keeps it from answering anew.
    """
    if saved is None:
        return None, {}
    try:
        return masking_state.from_bytes(saved)
    except DamagedState as error:
        log.error("%s; this device leaves the attempt that it was in", error)
        return None, {}


def wanted(trust: TrustSettings, device: str, roster: PinnedRoster | None = None) -> Wanted:
    """What the owner of a device asks of secure aggregation. The device knows itself.

    An owner who does not require masks would send the update without them, so any server is good enough.
    """
    required = "masked" in trust.require
    return Wanted(
        always=required,
        trusts_server=not required,
        least_devices=trust.min_cohort or 0,
        known=None if roster is None else roster.devices | {device},
    )


def read_mark(path: Path) -> Mark:
    """The newest mark; the least one if there is none.

    Raises:
        StateError: the file cannot be read, or holds something else.
    """
    try:
        return Mark(*map(int, path.read_text(encoding="ascii").split()))
    except FileNotFoundError:
        return Mark()
    except OSError as error:
        raise StateError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, TypeError):
        text = "is damaged; remove it once the round that is open now has closed"
        raise StateError(f"{path}: {text}") from None


def masked_in(path: Path) -> RoundId | None:
    """The newest round in which this device took part in secure aggregation; None: there is none.

    Raises:
        StateError: as `read_mark`.
    """
    mark = read_mark(path)
    return RoundId(mark.generation, mark.round) if mark != Mark() else None


def _digest_of(state: Device, event: Event) -> bytes | None:
    """The digest of the terms that a refusal is about; None: of no attempt."""
    if isinstance(event, Announced):
        return statements.digest(event.terms)
    return None if state.attempt is None else state.attempt.digest


def _ready(update: MaskedUpdate) -> UpdateReady:
    return UpdateReady(np.frombuffer(update.levels, "<i2").astype(np.int32), update.weight)
