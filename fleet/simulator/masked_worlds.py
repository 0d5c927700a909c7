"""Simulated worlds of secure aggregation: the cores of `fedge.masking` with a virtual network and disks.

One number, the seed, decides everything. Until the faults end, messages are lost, duplicated and reordered,
devices drop out in every phase, devices and server die between any two effects, and devices come back with an
older copy of their state, or with none. A device's mark survives, as
`fedge.masking.device_state.Mark` demands. Signatures are a hash that anybody could make:
no program of a masked world forges any.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256, sha512
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from fedge.masking import device, server
from fedge.masking.device_state import (
    Announced,
    Device,
    Effect,
    Event,
    Identity,
    Mark,
    RaiseMark,
    Received,
    SaveState,
    Send,
    SendAgain,
    UpdateReady,
    WantUpdate,
)
from fedge.masking.keys import ring_for
from fedge.masking.messages import MaskedInput, MaskingMessage, Terms, Unmask
from fedge.masking.server_state import Arrived, Failed, Phase, PhaseOver, SendTo, Summed
from fedge.masking.sharing import SHARE_BYTES
from fedge.masking.thresholds import default_threshold
from fedge.wire.messages.fields import MAX_SIZE
from fedge.wire.messages.message import pack, unpack

SIZE = 8
"""Entries of an update."""
ROUNDS = 3
"""Attempts with faults; those after them have none."""
CALM = 2
"""Attempts without faults within which a sum must come: the first may still belong to a spent round."""

Step = Callable[[Device, Event, Identity], tuple[Device, list[Effect]]]
Resume = Callable[[Device | None, Mark, str], tuple[Device, list[Effect]]]


class Broken(StrEnum):
    """What must hold in a masked world."""

    SUM = "the sum is exactly that of the updates that the survivors masked"
    MASK_ONCE = "a device masks one update per attempt"
    SHARE = "a device reveals the self-mask's share of survivors, and the key's share of the others alone"
    PLAIN = "no update leaves a device without its mask"
    DURABLE = "state and mark are durable before the message that they allow"
    ENDS = "a round without faults ends with a sum"


class ViolationError(Exception):
    """An invariant does not hold."""

    def __init__(self, broken: Broken, seed: int, where: str) -> None:
        super().__init__(f"masked world {seed}, {where}: it does not hold that {broken}")
        self.broken = broken


def resume(kept: Device | None, mark: Mark, name: str) -> tuple[Device, list[Effect]]:
    """Production's own restart."""
    return device.resumed(kept, mark, name=name)


def identity(name: str) -> Identity:
    """A device's signatures in a masked world."""
    return Identity(
        lambda data: sha512(name.encode() + data).digest(),
        lambda other, data, signature: signature == sha512(other.encode() + data).digest(),
    )


@dataclass
class Host:
    """A device with its disk."""

    name: str
    state: Device
    saved: list[Device] = field(default_factory=list)
    """Every state that was ever durable: copies for a restore."""
    disk: Device | None = None
    mark: Mark = field(default_factory=Mark)


@dataclass
class World:
    """One world; `run` raises `ViolationError`."""

    seed: int
    step: Step = device.step
    resume: Resume = resume

    def __post_init__(self) -> None:
        self.rng = random.Random(f"masked world {self.seed}")  # noqa: S311 # a simulation, not a secret
        self.names = tuple(f"d{at:04d}" for at in range(self.rng.randint(4, 7)))
        self.hosts = {name: Host(name, Device(name)) for name in self.names}
        self.faults = True
        self.mail: list[tuple[str, MaskingMessage | Event]] = []
        """To "server:NAME", from that device, or to the device with this name."""
        self.late: list[tuple[str, MaskingMessage | Event]] = []
        self.made: dict[bytes, NDArray[np.int64]] = {}
        """The update in each masked one that was made, whether it was sent or not."""
        self.masked: dict[tuple[bytes, str], bytes] = {}
        """The masked update that each device has sent in an attempt."""
        self.told: dict[str, list[MaskingMessage]] = {}
        """What the server has sent to each device in the open attempt."""
        self.sums = self.failures = 0
        self.round, self.attempt = 1, 0

    def run(self) -> None:
        """Attempts with faults, then some without."""
        for _ in range(ROUNDS):
            self.one()
        self.faults = False
        if not any(self.one() for _ in range(CALM)):
            self.broken(Broken.ENDS, "after the faults")

    def broken(self, what: Broken, where: str) -> NoReturn:
        """End the world with a violation."""
        raise ViolationError(what, self.seed, f"round {self.round}, attempt {self.attempt}, {where}")

    def chance(self, share: float) -> bool:
        """Whether a fault happens here."""
        return self.faults and self.rng.random() < share

    def one(self) -> bool:
        """One attempt; whether it ended with a sum."""
        self.terms = Terms(
            federation="pumps", generation=1, round=self.round, attempt=self.attempt,
            base=sha256(f"model {self.round}".encode()).digest(), cohort=self.names, size=SIZE, value_bits=8,
            clip=1.0, max_weight=1, threshold=default_threshold(len(self.names)), colluders=0, dropouts=0,
            server="lying",
        )  # fmt: skip
        self.ring, self.server = ring_for(self.terms), server.begin(self.terms)
        self.told = {name: [] for name in self.names}
        self.mail += [(name, self.announced()) for name in self.names]
        end: Summed | Failed | None = None
        while end is None:
            self.deliver()
            spent = self.server.phase in (Phase.CONSISTENCY, Phase.UNMASK)
            if self.chance(0.03):  # the server dies: nothing of an open attempt is kept
                self.next(spent=spent)
                return False
            self.server, effects = server.step(self.server, PhaseOver(), identity("server").verify)
            for effect in effects:
                match effect:
                    case SendTo(name, message):
                        self.told[name].append(message)
                        self.post(name, message)
                    case Summed() | Failed():
                        end = effect
        if isinstance(end, Failed):
            self.failures += 1
            self.next(spent=end.spent)
            return False
        self.check_sum(end)
        self.sums += 1
        self.next(spent=True)
        return True

    def announced(self) -> Announced:
        """The announcement of the attempt, with new random bytes each time that a device takes it."""
        return Announced(self.terms, self.rng.randbytes(32))

    def next(self, *, spent: bool) -> None:
        """Go on to the next attempt, or to the next round if devices may have signed survivors."""
        self.round, self.attempt = (self.round + 1, 0) if spent else (self.round, self.attempt + 1)

    def post(self, to: str, what: MaskingMessage | Event) -> None:
        """Put something on its way: lost, delayed beyond the phase, or twice."""
        if self.chance(0.02):
            return
        (self.late if self.chance(0.04) else self.mail).append((to, what))
        if self.chance(0.1):
            (self.late if self.rng.random() < 0.3 else self.mail).append((to, what))

    def deliver(self) -> None:
        """Deliver what is on its way, in any order, and let hosts fail in between."""
        self.mail, self.late = self.mail + self.late, []
        while self.mail:
            to, what = self.mail.pop(self.rng.randrange(len(self.mail)) if self.faults else 0)
            if to.startswith("server:"):
                assert not isinstance(what, Event)
                name, message = to.removeprefix("server:"), unpack(pack(what), type(what), max_bytes=MAX_SIZE)
                self.server, _ = server.step(self.server, Arrived(name, message), identity(name).verify)
                continue
            if self.chance(0.03):
                self.restart(self.hosts[to])
            if not self.chance(0.01):
                event = what if isinstance(what, Event) else Received(what)
                self.take(self.hosts[to], event)
            if self.chance(0.05):
                self.take(self.hosts[to], SendAgain())

    def take(self, host: Host, event: Event) -> None:
        """Let a device take an event."""
        levels = event.levels.astype(np.int64) if isinstance(event, UpdateReady) else None
        held = host.state.attempt.held if host.state.attempt is not None else {}
        host.state, effects = self.step(host.state, event, identity(host.name))
        for effect in effects:
            if isinstance(effect, Send) and isinstance(effect.message, Unmask) and held:
                self.check_shares(host, effect.message, held)
            if isinstance(effect, Send) and isinstance(effect.message, MaskedInput) and levels is not None:
                self.made[pack(effect.message)] = levels
        self.perform(host, effects)

    def perform(self, host: Host, effects: Sequence[Effect]) -> None:
        """Perform effects in their order; the power may fail before each."""
        for effect in effects:
            if self.chance(0.01):
                self.restart(host)
                return
            match effect:
                case SaveState(state):
                    host.disk = state
                    host.saved.append(state)
                case RaiseMark(mark):
                    host.mark = max(host.mark, mark)
                case WantUpdate():  # training again gives another update
                    update = [self.rng.randint(-self.ring.levels, self.ring.levels) for _ in range(SIZE)]
                    self.take(host, UpdateReady(np.array(update)))
                    return
                case Send(message):
                    self.check_message(host, message)
                    self.post(f"server:{host.name}", message)

    def restart(self, host: Host) -> None:
        """Come back with the newest state, with any older copy, or with none."""
        kind = self.rng.random()
        if kind < 0.4 and host.saved:
            host.disk = self.rng.choice(host.saved[-4:] if self.rng.random() < 0.5 else host.saved)
        elif kind < 0.5:
            host.disk = None
        host.state, effects = self.resume(host.disk, host.mark, host.name)
        self.perform(host, effects)
        again: list[MaskingMessage | Event] = [self.announced(), *self.told[host.name]]
        for what in again:  # the server tells it the attempt again
            self.post(host.name, what)

    def check_message(self, host: Host, message: MaskingMessage) -> None:
        """Compare a message that leaves a device with its disk and with what it has sent before."""
        kept = host.disk.attempt if host.disk is not None else None
        if (
            kept is None
            or pack(kept.sent) != pack(message)
            or host.disk is None
            or host.mark < host.disk.mark
        ):
            self.broken(Broken.DURABLE, f"{host.name} sends {message.TYPE}")
        if not isinstance(message, MaskedInput):
            return
        assert message.terms is not None
        sent = pack(message)
        if self.masked.setdefault((message.terms, host.name), sent) != sent:
            self.broken(Broken.MASK_ONCE, host.name)
        values, levels = self.ring.unpacked(message.values, SIZE), self.made[sent]
        if values is None or (values == self.ring.elements(levels)).all():
            self.broken(Broken.PLAIN, host.name)

    def check_shares(self, host: Host, message: Unmask, held: object) -> None:
        """Compare with the shares that the device had before, and with whom the server named."""
        assert isinstance(held, dict)
        roster = self.server.roster
        if roster is None or message.terms != self.server.digest:
            return
        of = [
            each for each in roster.graph.holders(self.names.index(host.name)) if each in self.server.sharers
        ]
        for at, other in enumerate(of):
            piece = message.shares[at * SHARE_BYTES : (at + 1) * SHARE_BYTES]
            start = 0 if other in self.server.alive else SHARE_BYTES
            if other in held and piece != held[other][start : start + SHARE_BYTES]:
                self.broken(Broken.SHARE, f"{host.name} of {self.names[other]}")

    def check_sum(self, end: Summed) -> None:
        """Compare the sum with what the survivors masked."""
        each = [self.masked.get((self.server.digest, name)) for name in end.devices]
        known = [self.made[found] for found in each if found is not None]
        if len(known) < len(each) or not (np.sum(known, axis=0) == end.levels).all():
            self.broken(Broken.SUM, f"{len(each)} survivors")
