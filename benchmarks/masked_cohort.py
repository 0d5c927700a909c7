"""A cohort of devices and a server that aggregate securely in one process, message by message.

Each message is packed and unpacked on its way. Devices can be lost before any phase, and a subclass can
change what arrives.
"""

from collections.abc import Callable, Collection, Mapping
from copy import copy
from dataclasses import dataclass, field
from hashlib import sha256, sha512

import numpy as np
from numpy.typing import NDArray

from fedge.masking import device, server
from fedge.masking.device_state import (
    Announced,
    Device,
    Event,
    Identity,
    Received,
    Refuse,
    Send,
    UpdateReady,
    Wanted,
    WantUpdate,
)
from fedge.masking.keys import ring_for
from fedge.masking.messages import MaskingMessage, Terms
from fedge.masking.refusals import Refusal
from fedge.masking.server_state import Arrived, Failed, Phase, PhaseOver, RefuseDevice, SendTo, Summed
from fedge.masking.thresholds import default_threshold
from fedge.wire.messages.fields import MAX_SIZE
from fedge.wire.messages.message import pack, unpack

PHASES = (Phase.ADVERTISE, Phase.SHARE, Phase.INPUT, Phase.CONSISTENCY, Phase.UNMASK)
Identities = Callable[[str], Identity]
Mail = list[tuple[str, Event]]
"""Devices, and what each is told."""


def terms_of(devices: int, size: int = 16, **changes: object) -> Terms:
    """Terms for so many devices."""
    fields: dict[str, object] = {
        "federation": "pumps", "generation": 1, "round": 1, "attempt": 0, "base": sha256(b"model").digest(),
        "cohort": tuple(f"d{at:04d}" for at in range(devices)), "size": size, "value_bits": 8, "clip": 1.0,
        "max_weight": 1, "threshold": default_threshold(devices), "colluders": devices // 10,
        "dropouts": devices // 10, "server": "lying",
    }  # fmt: skip
    return Terms.model_validate({**fields, **changes})


def paper_identities(name: str) -> Identity:
    """Signatures that anybody could make: fast, for what does not depend on them."""
    return Identity(lambda data: sha512(name.encode() + data).digest(), _paper_verify)


def _paper_verify(name: str, data: bytes, signature: bytes) -> bool:
    return signature == sha512(name.encode() + data).digest()


@dataclass
class Cohort:
    """Devices, a server, and what passed between them."""

    terms: Terms
    seed: int = 0
    identities: Identities = paper_identities
    wanted: Wanted = field(default_factory=Wanted)
    levels: Mapping[str, NDArray[np.integer]] = field(default_factory=dict)
    """The rounded updates; those that are not given are drawn."""

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        names, most = self.terms.cohort, ring_for(self.terms).levels
        missing = [name for name in names if name not in self.levels]
        drawn = {name: rng.integers(-most, most + 1, self.terms.size) for name in missing}
        self.levels = {**drawn, **self.levels}
        self.weights = {name: int(rng.integers(1, self.terms.max_weight + 1)) for name in names}
        self.states = {name: Device(name, self.wanted) for name in names}
        self.entropy = {name: rng.bytes(32) for name in names}
        self.server = server.begin(self.terms)
        self.verify = self.identities(names[0]).verify
        self.seen: dict[tuple[str, str], MaskingMessage] = {}
        """What the server received, by device and type."""
        self.refused: list[tuple[str, Refusal]] = []

    def tell(self, name: str, event: Event) -> list[MaskingMessage]:
        """Let a device take an event; what it sends."""
        if isinstance(event, Received):
            event = Received(carried(event.message))
        self.states[name], effects = device.step(self.states[name], event, self.identities(name))
        sent: list[MaskingMessage] = []
        for effect in effects:
            match effect:
                case Send(message):
                    sent.append(message)
                case WantUpdate():
                    sent += self.tell(name, self.update(name))
                case Refuse(refusal):
                    self.refused.append((name, refusal))
        return sent

    def update(self, name: str) -> UpdateReady:
        """A device's update."""
        return UpdateReady(self.levels[name], self.weights[name])

    def receive(self, name: str, message: MaskingMessage) -> None:
        """Let the server take a message of a device."""
        message = carried(message)
        self.seen[name, message.TYPE] = message
        self.server, effects = server.step(self.server, Arrived(name, message), self.verify)
        self.refused += [(each.device, each.refusal) for each in effects if isinstance(each, RefuseDevice)]

    def changed(self, to: str, message: MaskingMessage) -> MaskingMessage:
        """What arrives instead of a message of the server."""
        return message

    def run(self, lost: Mapping[Phase, frozenset[int]] | None = None) -> Summed | Failed:
        """One attempt. `lost`: who is gone before it answers in a phase."""
        gone: set[str] = set()
        mail = self.announcements()
        for phase in PHASES:
            gone |= {self.terms.cohort[place] for place in (lost or {}).get(phase, ())}
            self.answer(mail, gone)
            found = self.end_phase()
            if isinstance(found, Summed | Failed):
                return found
            mail = found
        raise AssertionError("an attempt ends with its last phase")

    def announcements(self) -> Mail:
        """What begins the attempt."""
        return [(name, Announced(self.terms, self.entropy[name])) for name in self.terms.cohort]

    def answer(self, mail: Mail, gone: Collection[str]) -> None:
        """Let all devices but those that are gone take what they are sent, and the server their answers."""
        for name, event in mail:
            if name not in gone:
                for message in self.tell(name, event):
                    self.receive(name, message)

    def end_phase(self) -> Mail | Summed | Failed:
        """Let the server end its phase: what it sends, or the end of the attempt."""
        self.server, effects = server.step(self.server, PhaseOver(), self.verify)
        mail: Mail = []
        for effect in effects:
            match effect:
                case SendTo(name, message):
                    mail.append((name, Received(self.changed(name, message))))
                case Summed() | Failed():
                    return effect
        return mail

    def fork(self) -> "Cohort":
        """The same cohort at this point; what happens to one of both does not happen to the other."""
        made = copy(self)
        for name, value in vars(self).items():
            if isinstance(value, dict | list):
                setattr(made, name, copy(value))
        return made

    def expected(self, names: tuple[str, ...]) -> NDArray[np.int64]:
        """The sum that the masks hide."""
        found: NDArray[np.int64] = sum(
            (self.levels[name].astype(np.int64) * self.weights[name] for name in names),
            np.zeros(self.terms.size, np.int64),
        )
        return found


def carried(message: MaskingMessage) -> MaskingMessage:
    """The message as it arrives."""
    return unpack(pack(message), type(message), max_bytes=MAX_SIZE)
