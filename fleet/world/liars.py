"""A client with a device's name and nothing of a device: it says what no honest one does."""

import hashlib
import random
import struct
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fedge.frames import split
from fedge.freshness import RoundId, round_of
from fedge.link import Answered, LinkDown, LinkEvent, LinkUp, Publication, Sent
from fedge.messages import Frame, Manifest, Status, Survey, Update, pack
from fedge.topics import Topics
from fleet.world.exaggerations import draw
from fleet.world.link import Place, VirtualLink
from fleet.world.oracle import LIAR, Made

NAME = LIAR
SILENT = "silent"
EXAGGERATIONS = 30
CLAIMS: tuple[dict[str, float], ...] = (
    {"accuracy_before": 1.0, "held_loss_before": 0.0, "held_out": 2.0**31 - 1, "received_bytes": 2.0**50},
    {"accuracy_before": 1e9, "held_out": 10.0},
    {"accuracy_before": 0.0, "held_loss_before": 1e308, "loss_before": 1e308, "held_out": 2.0**31 - 1},
    {"held_loss_before": -1e300, "held_out": 1.0},
)
"""Figures that would end learning, or keep it from ending, if they were believed."""
COLUMNS = ((100.0, 1e30, 0.0), (100.0, -1e30, 1e62), (20.0, 0.0, 1e-20), (100.0, 0.0, 1e62))
"""Count, mean and M2 of a column that would be useless, if they were believed."""
Lies = Literal["known", "all"]
"""Which ones are told: those whose influence the invariants bound, or anything in any field."""


class Silent:
    """Connects, says that it is online, and never anything else; again, whenever its connection was lost."""

    def __init__(self, place: Place, topics: Topics) -> None:
        self._topics = topics
        self._link = VirtualLink(place, SILENT, self._hear)

    def start(self) -> None:
        """Connect."""
        self._link.open()

    def _hear(self, event: LinkEvent) -> None:
        if isinstance(event, LinkUp):
            self._link.handle_up(event)
            status = Status(online=True, boot=bytes(16), connection=1, version="0")
            self._link.send([Publication(self._topics.status(SILENT), pack(status), retain=True)])
        elif isinstance(event, Answered):
            self._link.settle(event)
        elif isinstance(event, LinkDown):
            self._link.handle_down()


class Liar:
    """Connects, says a number of lies on its own topic, and leaves."""

    def __init__(
        self, place: Place, topics: Topics, rng: random.Random, made: Callable[[bytes, Made], None]
    ) -> None:
        self._topics, self._rng, self._made = topics, rng, made
        self._lies: list[bytes] = []
        self._forgeries: list[bytes] = []
        self._extremes: list[Publication] = []
        self._link = VirtualLink(place, NAME, self._hear)

    def lie(self, manifest: Manifest | None, heard: list[bytes], number: int, forgeries: list[bytes]) -> None:
        """Say lie `number` about the round of `manifest`, and announce what is forged.

        `heard` are frames of others.
        """
        self._forgeries = forgeries
        self._lies = self._invent(manifest, heard, number) + self._brag(manifest, number)
        self._link.open()

    def exaggerate(self, manifest: Manifest | None) -> None:
        """Say so many extreme things of itself and of its work in the round of `manifest`."""
        drawn = [draw(NAME, manifest, self._rng) for _ in range(EXAGGERATIONS)]
        for lie in drawn:
            if lie.made is not None:
                self._made(lie.digest, lie.made)
        self._extremes = [piece for lie in drawn for piece in lie.publications(self._topics)]
        self._link.open()

    def _hear(self, event: LinkEvent) -> None:
        if isinstance(event, LinkUp) and self._extremes:
            self._link.handle_up(event)
            self._link.send(self._extremes, self)
        elif isinstance(event, Answered):
            self._link.settle(event)
        elif isinstance(event, Sent):
            self._link.close()
        elif isinstance(event, LinkUp):
            self._link.handle_up(event)
            self._link.send(Publication(self._topics.update(NAME), lie) for lie in self._lies)
            if self._forgeries:
                self._link.send(Publication(self._topics.round, forgery) for forgery in self._forgeries)
            self._link.close()
        elif isinstance(event, LinkDown):
            self._link.handle_down()

    def _invent(self, manifest: Manifest | None, heard: list[bytes], number: int) -> list[bytes]:
        rng = self._rng
        if manifest is None or manifest.model is None or number % 8 == 0:
            return [rng.randbytes(rng.randrange(1, 200)) for _ in range(5)]
        if number % 8 == 1 and heard:
            return [rng.choice(heard) for _ in range(5)]  # a replay of what another device said
        if number % 8 == 2:  # frames of a message that is not their digest's
            return [pack(Frame(id=rng.randbytes(32), i=0, n=1, size=9, data=b"not so it"))]
        if number % 8 == 3:  # a message that never ends
            whole = rng.randbytes(32)
            return [pack(Frame(id=whole, i=i, n=40, size=400, data=bytes(10))) for i in range(39)]
        here = round_of(manifest)
        samples = (2**62, 0, -5, 100)[number % 4]
        device = "d0" if number % 8 == 4 else NAME
        far = number % 8 == 7 and here.round % 2 == 0
        weights = np.full(4, np.nan if number % 8 == 5 else 3e38 if far else 1.0, np.float32)
        if number % 8 == 6:
            here = here._replace(round=max(0, here.round - 1))
        return self._frames(here, manifest.model.digest, device, samples, weights, {})

    def _brag(self, manifest: Manifest | None, number: int) -> list[bytes]:
        """A survey or update that can count, with figures that cannot be true."""
        if manifest is None:
            return []
        if manifest.model is None:
            return self._survey(manifest, COLUMNS[number % len(COLUMNS)])
        weights, claims = np.full(4, 1.0, np.float32), CLAIMS[number % len(CLAIMS)]
        return self._frames(round_of(manifest), manifest.model.digest, NAME, 100, weights, claims)

    def _survey(self, manifest: Manifest, column: tuple[float, float, float]) -> list[bytes]:
        here = round_of(manifest)
        survey = Survey(
            generation=here.generation,
            round=here.round,
            base=manifest.task.digest,
            device=NAME,
            samples=100,
            features=struct.pack("<3d", *column),
        )
        return self._pieces(survey, here)

    def _frames(
        self,
        here: RoundId,
        base: bytes,
        device: str,
        samples: int,
        weights: NDArray[np.float32],
        claims: dict[str, float],
    ) -> list[bytes]:
        update = Update(
            generation=here.generation,
            round=here.round,
            base=base,
            device=device,
            samples=samples,
            steps=1,
            kind="weights",
            codec="float32",
            body=weights.astype("<f4").tobytes(),
            metrics=claims,
        )
        return self._pieces(update, here)

    def _pieces(self, message: Update | Survey, here: RoundId) -> list[bytes]:
        payload = pack(message)
        self._made(hashlib.sha256(payload).digest(), Made(message.device, RoundId(*here), message))
        pieces = split(payload)
        return [pieces[i] for i in range(len(pieces))]
