"""Members of a fleet that are no devices: one that never answers, and one that lies in every round."""

import random
from collections.abc import Callable
from hashlib import sha256

from fedge.errors import ProtocolError
from fedge.transport import LinkEvent, LinkUp, MessageArrived, Publication
from fedge.wire.frames import split
from fedge.wire.freshness import Attempt, RoundId, round_of
from fedge.wire.messages.envelope import Signed
from fedge.wire.messages.frame import Frame
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.message import pack
from fedge.wire.messages.status import Status
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.update import Update
from fedge.wire.topics import Topics
from fleet.simulator.boasts import CLAIMS, boast
from fleet.simulator.exaggerations import draw
from fleet.simulator.fastpaths import decode
from fleet.simulator.link import VirtualLink
from fleet.simulator.oracle import LIAR, Made
from fleet.simulator.place import Place

SILENT = "silent"
SLOWEST_S = 10.0
"""The longest time that the liar takes for an answer."""
SILENT_ONE_IN = 4
"""The liar leaves one round of this many unanswered."""
BEFORE = 2
"""The most extreme updates or frames that it sends before one that can count."""


class Member:
    """Connects and publishes that it is online, also after each lost connection."""

    name = SILENT

    def __init__(self, place: Place, topics: Topics) -> None:
        self._place, self._topics = place, topics
        self._link = VirtualLink(place, f"{self.name}__member", self._hear)

    def start(self) -> None:
        """Connect."""
        self._link.open()

    def up(self) -> None:
        """Handle a new connection."""
        status = Status(online=True, boot=bytes(16), connection=1, version="0")
        self._link.send([Publication(self._topics.status(self.name), pack(status), retain=True)])

    def heard(self, message: MessageArrived) -> None:
        """Handle a message."""

    def _hear(self, event: LinkEvent) -> None:
        self._link.handle(event)
        if isinstance(event, LinkUp):
            self.up()
        elif isinstance(event, MessageArrived):
            self.heard(event)


class Silent(Member):
    """A member that publishes nothing else."""


class LyingMember(Member):
    """Sends extreme values in any field of its status, and answers most rounds with false claims.

    Args:
        place: where its link is.
        topics: the federation's.
        rng: determines its messages.
        made: called with each update and survey that may count.
    """

    name = LIAR

    def __init__(
        self, place: Place, topics: Topics, rng: random.Random, made: Callable[[bytes, Made], None]
    ) -> None:
        super().__init__(place, topics)
        self._rng, self._made = rng, made
        self._newest: Attempt | None = None
        self._former: list[Manifest] = []
        """The newest rounds with a buffer: it also answers for an older one."""

    def up(self) -> None:
        """Subscribe to the rounds as well."""
        super().up()
        self._link.subscribe(self._topics.round)

    def heard(self, message: MessageArrived) -> None:
        """Handle an announcement."""
        try:
            manifest = decode(decode(message.payload, Signed).body, Manifest)
        except ProtocolError:
            return
        attempt = Attempt(round_of(manifest), manifest.attempt)
        if attempt == self._newest:
            return
        self._newest = attempt
        # Only the rounds that it claims to have seen.
        only = RoundId._fields if self._rng.randrange(2) else ()
        said = [self._extreme(manifest, Status, only=only)]
        if manifest.state == "open" and self._rng.randrange(SILENT_ONE_IN):
            said += [
                self._extreme(manifest, Update, Survey, Frame) for _ in range(self._rng.randint(0, BEFORE))
            ]
            said.append(self._boast(self._of_a_buffer(manifest, said)))
        pieces = [piece for each in said for piece in each]
        self._place.clock.after(self._rng.random() * SLOWEST_S, lambda: self._link.send(pieces))

    def _of_a_buffer(self, manifest: Manifest, said: list[list[Publication]]) -> Manifest:
        """The round to answer for: where updates of older rounds count, that may be one of the last four."""
        if manifest.max_staleness is None:
            return manifest
        able = Status(online=True, boot=bytes(16), connection=1, version="0", can=manifest.requires)
        said.append([Publication(self._topics.status(self.name), pack(able), retain=True)])
        self._former = [*self._former[-3:], manifest]
        return self._rng.choice(self._former)

    def _extreme(
        self, manifest: Manifest, *kinds: type[Status | Update | Survey | Frame], only: tuple[str, ...] = ()
    ) -> list[Publication]:
        said = draw(LIAR, manifest, self._rng, kinds, only)
        if said.made is not None:
            self._made(said.digest, said.made)
        return list(said.publications(self._topics))

    def _boast(self, manifest: Manifest) -> list[Publication]:
        message = boast(LIAR, manifest, self._rng.randrange(len(CLAIMS)), self._rng)
        payload = pack(message)
        self._made(sha256(payload).digest(), Made(LIAR, round_of(message), message))
        pieces = split(payload)
        return [Publication(self._topics.update(LIAR), pieces[i]) for i in range(len(pieces))]
