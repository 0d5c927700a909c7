"""An attacker with a device's identity, who sends messages that no honest device sends."""

import hashlib
import random
from collections.abc import Callable

import numpy as np

from fedge.transport import LinkEvent, LinkUp, Publication, Sent
from fedge.wire.frames import split
from fedge.wire.freshness import round_of
from fedge.wire.messages.frame import Frame
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.message import pack
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.update import Update
from fedge.wire.topics import Topics
from fleet.simulator.boasts import boast
from fleet.simulator.exaggerations import draw
from fleet.simulator.link import VirtualLink
from fleet.simulator.oracle import LIAR, Made
from fleet.simulator.place import Place
from fleet.simulator.updates import update

NAME = LIAR
EXAGGERATIONS = 20
"""The number of extreme messages in each connection."""


class Liar:
    """Connects, sends several false messages on its own topics, and disconnects."""

    def __init__(
        self, place: Place, topics: Topics, rng: random.Random, made: Callable[[bytes, Made], None]
    ) -> None:
        self._topics, self._rng, self._made = topics, rng, made
        self._lies: list[Publication] = []
        self._link = VirtualLink(place, NAME, self._hear)

    def lie(self, manifest: Manifest | None, heard: list[bytes], number: int, forgeries: list[bytes]) -> None:
        """Send false messages about the round of `manifest`, extremes in any field, and forged announcements.

        `number` determines their kind; `heard` are frames of other devices.
        """
        pieces = self._invent(manifest, heard, number) + self._brag(manifest, number)
        self._lies = [Publication(self._topics.update(NAME), piece) for piece in pieces]
        self._lies += [Publication(self._topics.round, forgery) for forgery in forgeries]
        for _ in range(EXAGGERATIONS):
            said = draw(NAME, manifest, self._rng)
            if said.made is not None:
                self._made(said.digest, said.made)
            self._lies += said.publications(self._topics)
        self._link.open()

    def _hear(self, event: LinkEvent) -> None:
        self._link.handle(event)
        if isinstance(event, LinkUp):
            self._link.send(self._lies, self)
        elif isinstance(event, Sent):
            self._link.close()

    def _invent(self, manifest: Manifest | None, heard: list[bytes], number: int) -> list[bytes]:
        rng = self._rng
        if manifest is None or manifest.model is None or number % 8 == 0:
            return [rng.randbytes(rng.randrange(1, 200)) for _ in range(5)]
        if number % 8 == 1 and heard:
            return [rng.choice(heard) for _ in range(5)]  # a replay of another device's frames
        if number % 8 == 2:  # frames whose content does not match their digest
            return [pack(Frame(id=rng.randbytes(32), i=0, n=1, size=9, data=b"not so it"))]
        if number % 8 == 3:  # a message whose last frame never comes
            whole = rng.randbytes(32)
            return [pack(Frame(id=whole, i=i, n=40, size=400, data=bytes(10))) for i in range(39)]
        here = round_of(manifest)
        samples = (2**62, 0, -5, 100)[number % 4]
        device = "d0" if number % 8 == 4 else NAME
        far = number % 8 == 7 and here.round % 2 == 0
        weights = np.full(4, np.nan if number % 8 == 5 else 3e38 if far else 1.0, np.float32)
        if number % 8 == 6:
            here = here._replace(round=max(0, here.round - 1))
        return self._pieces(update(here, manifest.model.digest, device, samples, weights, {}))

    def _brag(self, manifest: Manifest | None, number: int) -> list[bytes]:
        return [] if manifest is None else self._pieces(boast(NAME, manifest, number, self._rng))

    def _pieces(self, message: Update | Survey) -> list[bytes]:
        payload = pack(message)
        self._made(hashlib.sha256(payload).digest(), Made(message.device, round_of(message), message))
        pieces = split(payload)
        return [pieces[i] for i in range(len(pieces))]
