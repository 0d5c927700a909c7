"""Messages of a lying device in which one or two fields have extreme values."""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from aggregator.core.claims import MORE_ROUNDS
from fedge.data.moments import Moments
from fedge.errors import ProtocolError
from fedge.transport import Publication
from fedge.wire import encoding
from fedge.wire.capabilities import can
from fedge.wire.frames import split
from fedge.wire.freshness import RoundId, round_of
from fedge.wire.messages.fields import MAX_SIZE
from fedge.wire.messages.frame import Frame
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.message import VERSION, Message, pack, unpack
from fedge.wire.messages.status import Status
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.update import Update
from fedge.wire.topics import Topics
from fleet.simulator.boasts import further
from fleet.simulator.extremes import Extreme, extremes, frames
from fleet.simulator.oracle import Made
from fleet.simulator.updates import update

KINDS: tuple[type[Message], ...] = (Status, Update, Survey, Frame)
MORE = (1, MORE_ROUNDS, MORE_ROUNDS + 1)
"""Distances from the open round at which the aggregator just accepts, or no longer accepts, a claim."""


@dataclass(frozen=True)
class Exaggeration:
    """A message with extreme values; `inside`: its decoder accepts them."""

    device: str
    kind: type[Message]
    extremes: tuple[Extreme, ...]
    payload: bytes
    frame_of: bytes = b""
    """The update that a frame belongs to; None for other messages."""

    @property
    def inside(self) -> bool:
        """Whether all extreme values are within the limits of the messages."""
        return all(extreme.inside for extreme in self.extremes)

    @property
    def digest(self) -> bytes:
        """The digest that identifies the update or survey."""
        return hashlib.sha256(self.frame_of or self.payload).digest()

    @property
    def made(self) -> Made | None:
        """What the oracle records if the message may count; for a frame, the update that it belongs to."""
        kind: type[Update | Survey] = Survey if self.kind is Survey else Update
        if self.kind is Status:
            return None
        try:
            said = unpack(self.frame_of or self.payload, kind, max_bytes=MAX_SIZE)
        except ProtocolError:
            return None
        return Made(said.device, RoundId(said.generation, said.round), said)

    @property
    def _whole(self) -> bytes:
        """The bytes that may count; for a frame, those of its update, which an extreme may not change."""
        if self.kind is not Frame:
            return self.payload
        try:
            return unpack(self.payload, Frame).data
        except ProtocolError:
            return b""

    def publications(self, topics: Topics) -> Iterator[Publication]:
        """The publications that send it, on the topics that a device may write."""
        if self.kind is Status:
            yield Publication(topics.status(self.device), self.payload, retain=True)
        elif self.kind is Frame:
            yield Publication(topics.update(self.device), self.payload)
        else:
            pieces = split(self.payload)
            yield from (Publication(topics.update(self.device), pieces[i]) for i in range(len(pieces)))


def draw(
    device: str,
    manifest: Manifest | None,
    rng: random.Random,
    kinds: tuple[type[Message], ...] = KINDS,
    only: tuple[str, ...] = (),
) -> Exaggeration:
    """Draw a message with an extreme value for the round of `manifest`; one in three has two such fields.

    `only`: the fields to choose from; empty: any field.
    """
    kind = rng.choice(kinds)
    honest = _honest(kind, device, manifest)
    known = _extremes(honest)
    fields = sorted(only or {extreme.field for extreme in known})
    wanted = rng.sample(fields, 1 if kind is Frame or rng.random() < 2 / 3 else 2)
    return _say(device, honest, *(rng.choice([e for e in known if e.field == field]) for field in wanted))


def every(device: str, manifest: Manifest | None) -> Iterator[Exaggeration]:
    """Yield one message for each extreme value of each field."""
    for kind in KINDS:
        honest = _honest(kind, device, manifest)
        for extreme in _extremes(honest):
            yield _say(device, honest, extreme)


def _extremes(honest: Message) -> list[Extreme]:
    if isinstance(honest, Frame):
        return list(frames(honest))
    here = honest.model_dump(include=set(RoundId._fields))
    return [*extremes(type(honest)), *(Extreme(f, n + more, True) for f, n in here.items() for more in MORE)]


def _say(device: str, honest: Message, *said: Extreme) -> Exaggeration:
    fields: dict[str, Any] = honest.model_dump(exclude_none=True)
    fields.update({extreme.field: extreme.value for extreme in said})
    payload = encoding.encode({"v": VERSION, "type": honest.TYPE, **fields})
    return Exaggeration(
        device, type(honest), said, payload, honest.data if isinstance(honest, Frame) else b""
    )


def _honest(kind: type[Message], device: str, manifest: Manifest | None) -> Message:
    """A message that an honest device could send, and that would be accepted."""
    here = round_of(manifest) if manifest is not None else RoundId(1, 0)
    task = manifest.task.digest if manifest is not None else bytes(32)
    model = manifest.model.digest if manifest is not None and manifest.model is not None else bytes(32)
    where: dict[str, Any] = {"generation": here.generation, "round": here.round, "device": device}
    if kind is Status:
        return Status(
            online=True,
            boot=bytes(16),
            connection=1,
            version="0",
            generation=here.generation,
            round=here.round,
            can=_asked(manifest),
        )
    if kind is Survey:
        moments = Moments.from_bytes(_COLUMN, 1)
        return Survey(**where, base=task, samples=100, features=moments.to_bytes())
    more = {name: np.ones(4, np.float32) for name in further(manifest)} if manifest is not None else {}
    honest = update(here, model, device, 100, np.ones(4, np.float32), {}, vectors=more)
    if kind is Update:
        return honest
    payload = pack(honest)
    digest = hashlib.sha256(payload).digest()
    return Frame(id=digest, i=0, n=1, size=len(payload), data=payload)


def _asked(manifest: Manifest | None) -> tuple[str, ...] | None:
    """What a device says that it can do, so that it may take part in a round that a newer program needs."""
    plan = None if manifest is None else manifest.plan
    newer = plan is not None and ({plan.local, plan.max_gradient, plan.personal} != {None})
    return tuple(sorted(can())) if newer else None


_COLUMN = b"".join(bytes.fromhex(double) for double in ("0000000000005940", "0" * 16, "000000000000f03f"))
