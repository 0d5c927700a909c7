"""The bytes and the CPU of a masked round, and of the open one with the codec `int8`, in one process.

Counted is what a device and the server do besides training: rounding or encoding, masks, keys, shares,
signatures (ECDSA P-256, with the keys of certificates), packing, frames, and their inverses. The announcement
of the model is the same in both rounds and not counted. Devices have checked each other's certificates in an
earlier round; what that takes once is measured apart. No network and no disk is used, and the shells are not
run.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from time import process_time

import numpy as np
from numpy.typing import NDArray

from benchmarks.masked_cohort import Cohort, Mail, terms_of
from benchmarks.masked_identities import Certified
from fedge.algorithms.codecs.int8 import Int8
from fedge.algorithms.contribution import Contribution, order
from fedge.algorithms.rules import mean
from fedge.masking import device, server
from fedge.masking.device_state import Event, Received, Refuse, Send, UpdateReady, WantUpdate
from fedge.masking.messages import MaskingMessage, Terms
from fedge.masking.round_messages import Call
from fedge.masking.server_state import Arrived, Failed, Phase, PhaseOver, RefuseDevice, SendTo, Summed
from fedge.wire.frames import split
from fedge.wire.messages.fields import MAX_SIZE
from fedge.wire.messages.frame import Frame
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.update import Update

DISTINCT = 16
"""The number of updates that the devices share in turn."""
CLIP = 0.05


@dataclass(frozen=True)
class Side:
    """What a round costs, in seconds of CPU and bytes of whole frames."""

    device_s: float
    """The median of the devices."""
    server_s: float
    sent: int
    """The most that a device sends."""
    received: int
    """The most that a device receives, without the model."""


@dataclass(frozen=True)
class Cost:
    """A masked round beside the open one."""

    devices: int
    size: int
    lost: int
    """Devices that are lost after their shares."""
    neighbours: int
    bits: int
    """Of a masked value."""
    first_check_s: float
    """The CPU that a device takes once, to check the certificates of all."""
    masked: Side
    open: Side

    def cpu(self, training_s: float = 0.0) -> float:
        """The CPU of all devices and the server, by that of the open round."""
        masked_s, open_s = (
            self.devices * (training_s + side.device_s) + side.server_s for side in (self.masked, self.open)
        )
        return masked_s / open_s

    @property
    def sent(self) -> float:
        """The bytes that a device sends, by those of the open round."""
        return self.masked.sent / self.open.sent


def changes(size: int) -> list[NDArray[np.float32]]:
    """Some changes (p,), normally distributed, a few of their entries beyond ±CLIP."""
    rng = np.random.default_rng(7)
    return [rng.normal(0, CLIP / 4, size).astype(np.float32) for _ in range(DISTINCT)]


def framed(body: bytes) -> list[bytes]:
    """The frames of a message."""
    return list(split(body))


def whole(frames: Sequence[bytes]) -> bytes:
    """The message of frames in their order."""
    return b"".join(unpack(frame, Frame).data for frame in frames)


class Metered(Cohort):
    """A cohort that measures; each message travels in frames, and only what is needed is kept."""

    def __init__(self, terms: Terms) -> None:
        nothing = np.zeros(0, np.int8)
        certified = Certified(terms.federation, terms.cohort)
        super().__init__(terms, 0, certified, levels=dict.fromkeys(terms.cohort, nothing))
        self.first_check_s = certified.first_check_s()
        self.call = Call(terms=pack(terms), certificates=certified.certificates)
        self.checked = certified.checked
        self.changes = changes(terms.size)
        self.sent, self.received = Counter[str](), Counter[str]()
        self.device_s = dict.fromkeys(terms.cohort, 0.0)
        self.server_s = 0.0
        self.known: dict[int, list[bytes]] = {}
        """The frames of what the server sends to all: it packs them once."""

    def update(self, name: str) -> UpdateReady:
        """Round it, as the device does."""
        at = self.terms.cohort.index(name)
        return UpdateReady(self.server.ring.rounded(self.changes[at % DISTINCT], self.terms.clip, at))

    def expected(self, names: tuple[str, ...]) -> NDArray[np.int64]:
        """Rounded once more."""
        found = np.zeros(self.terms.size, np.int64)
        for name in names:
            found += self.update(name).levels
        return found

    def answer(self, mail: Mail, gone: object) -> None:
        """Each device takes its message, answers, and the server takes the answer."""
        assert isinstance(gone, set)
        for name, event in mail:
            if name not in gone:
                for frames, kind in self._device(name, event):
                    self._server(name, frames, kind)

    def _device(self, name: str, event: Event) -> list[tuple[list[bytes], type[MaskingMessage]]]:
        frames = self._told(event)
        self.received[name] += sum(map(len, frames))
        began_s, sent = process_time(), []
        if isinstance(event, Received):
            event = Received(unpack(whole(frames), type(event.message), max_bytes=MAX_SIZE))
        else:
            unpack(unpack(whole(frames), Call, max_bytes=MAX_SIZE).terms, Terms)
            self.checked()
        events = [event]
        while events:
            self.states[name], effects = device.step(self.states[name], events.pop(), self.identities(name))
            for effect in effects:
                match effect:
                    case Send(message):
                        sent.append((framed(pack(message)), type(message)))
                    case WantUpdate():
                        events.append(self.update(name))
                    case Refuse(refusal):
                        self.refused.append((name, refusal))
        self.device_s[name] += process_time() - began_s
        self.sent[name] += sum(len(frame) for frames, _ in sent for frame in frames)
        return sent

    def _told(self, event: Event) -> list[bytes]:
        """The frames in which an event arrives; what all get is packed once."""
        message = event.message if isinstance(event, Received) else self.call
        began_s = process_time()
        if id(message) not in self.known:
            self.known = {id(message): framed(pack(message))}
        self.server_s += process_time() - began_s
        return self.known[id(message)]

    def _server(self, name: str, frames: Sequence[bytes], kind: type[MaskingMessage]) -> None:
        began_s = process_time()
        message = unpack(whole(frames), kind, max_bytes=MAX_SIZE)
        self.server, effects = server.step(self.server, Arrived(name, message), self.verify)
        self.server_s += process_time() - began_s
        self.refused += [(each.device, each.refusal) for each in effects if isinstance(each, RefuseDevice)]

    def end_phase(self) -> Mail | Summed | Failed:
        """As the parent, with the time."""
        began_s = process_time()
        self.server, effects = server.step(self.server, PhaseOver(), self.verify)
        self.server_s += process_time() - began_s
        if isinstance(effects[-1], Summed | Failed):
            return effects[-1]
        return [(each.device, Received(each.message)) for each in effects if isinstance(each, SendTo)]


def masked(devices: int, size: int, lost: int) -> tuple[Metered, Side]:
    """Run a masked round; `lost` devices are gone before they send their masked updates.

    Raises:
        AssertionError: the sum is not exact, or a device or the server refused something.
    """
    cohort = Metered(terms_of(devices, size=size, clip=CLIP))
    found = cohort.run({Phase.INPUT: frozenset(range(lost))})
    assert isinstance(found, Summed), found
    assert not cohort.refused
    assert (found.levels == cohort.expected(found.devices)).all()
    kept = [cohort.device_s[name] for name in found.devices]
    return cohort, Side(
        median(kept), cohort.server_s, max(cohort.sent.values()), max(cohort.received.values())
    )


def unmasked(devices: int, size: int, lost: int) -> Side:
    """Run the same round with the codec `int8` and the rule `mean`, of as many updates."""
    terms, codec, drawn = terms_of(devices, size=size), Int8(), changes(size)
    device_s, sent, arrived = [], 0, dict[str, list[bytes]]()
    for at, name in enumerate(terms.cohort[lost:]):
        began_s = process_time()
        body, _ = codec.encode(drawn[at % DISTINCT], {}, at)
        update = Update(
            generation=1, round=1, base=terms.base, device=name, samples=100, steps=10,
            kind="delta", codec="int8", body=body, metrics={},
        )  # fmt: skip
        arrived[name] = framed(pack(update))
        device_s.append(process_time() - began_s)
        sent = max(sent, sum(map(len, arrived[name])))
    base, began_s = np.zeros(size, np.float32), process_time()

    def decoded(name: str) -> Contribution:
        update = unpack(whole(arrived[name]), Update, max_bytes=MAX_SIZE)
        return Contribution(name, update.samples, base + codec.decode(update.body, size, 0))

    mean.finish(mean.partial(decoded(name) for name in sorted(arrived, key=order)))
    return Side(median(device_s), process_time() - began_s, sent, 0)


def cost(devices: int, size: int, lost: int) -> Cost:
    """A masked and an open round."""
    cohort, found = masked(devices, size, lost)
    roster = cohort.server.roster
    assert roster is not None
    return Cost(
        devices=devices,
        size=size,
        lost=lost,
        neighbours=len(roster.graph.neighbours(0)),
        bits=cohort.server.ring.bits,
        first_check_s=cohort.first_check_s,
        masked=found,
        open=unmasked(devices, size, lost),
    )
