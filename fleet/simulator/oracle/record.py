"""What has been made, said and heard in one world: the facts that all checks compare with."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import inf

from fedge.wire.freshness import RoundId, round_of
from fedge.wire.messages.envelope import Signed
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.update import Update
from fedge.wire.reasons import Reason
from fedge.wire.topics import Topics
from fleet.simulator.fastpaths import decode

LIAR = "liar"
"""The name of who is no device."""
LATENESS_S = 5.0
"""What a message may take on its way."""
INSTANT_S = 0.05
"""What a program may take to notice that time has passed."""


@dataclass(frozen=True)
class Made:
    """An update or survey that a device's trainer made, or a liar's."""

    device: str
    round: RoundId
    message: Update | Survey


@dataclass(frozen=True)
class Announced:
    """A manifest as it was published."""

    at_s: float
    manifest: Manifest


class Record:
    """The facts of one world.

    Args:
        topics: the federation's.
        now_s: virtual seconds.
        clips: differences are clipped.
    """

    def __init__(self, topics: Topics, now_s: Callable[[], float], *, clips: bool = True) -> None:
        self.topics, self.now_s, self.clips = topics, now_s, clips
        self.made: dict[bytes, Made] = {}
        self.liars: set[str] = set()
        """Whose word is worth nothing."""
        self.closed_s = 0.0
        """When the last round was closed."""
        self.announced: list[Announced] = []
        self.lasts_s: dict[str, float] = {}
        """When the seconds of an announced round and attempt have run out."""
        self.genuine: set[bytes] = set()
        """Announcements as the aggregator said them."""
        self.orphaned: set[bytes] = set()
        """Those of a ledger that is lost."""
        self.models: dict[bytes, RoundId] = {}
        """The round that each model closed, by its digest."""
        self.receipts: dict[tuple[str, bytes], set[str]] = {}
        """The verdicts that each device was told of an update."""
        self.reasons: dict[tuple[str, bytes], set[Reason]] = {}
        """Why each device was told that an update is refused."""
        self.void: set[bytes] = set()
        """Updates that were refused because they were made from another aggregator's model."""
        self.aside: dict[str, RoundId] = {}
        """Devices that are set aside, and the round that was open then: in none after it do they count."""
        self.counts_s: dict[str, float] = {}
        """When each device was set aside, or was let count again, last."""
        self.lifted = 0
        """How often an operator has let a device count again."""
        self.several_until_s = -inf
        """Until then several aggregators may have been at work, each over the other's frames."""
        self.online_s = -inf
        """When an aggregator last said that it is online, as the broker heard it."""
        self.told_s: dict[str, float] = {}
        """When the broker last heard a status of each device."""
        self.address = lru_cache(maxsize=None)(topics.parse)  # the same few come by again and again

    @property
    def newest(self) -> Manifest | None:
        """The newest round that was ever announced, as it was announced last."""
        said = [seen.manifest for seen in self.announced]
        return max(said, key=lambda manifest: (*round_of(manifest), manifest.attempt), default=None)

    def sets_aside(self, device: str, known: RoundId) -> None:
        """An operator puts a device on the list, while this is the newest round of one of the ledgers."""
        self.aside[device] = max(known, self.aside.get(device, known))
        self.counts_s[device] = self.now_s()

    def lifts(self, device: str) -> None:
        """An operator lets a device count again: who was refused in the open attempt may need another one."""
        self.lifted += 1
        self.aside.pop(device, None)
        self.counts_s[device] = self.now_s()

    def ledger_replaced(self) -> None:
        """Whoever serves next may not know in which slots that lies which is announced."""
        self.orphaned |= self.genuine


def opened(payload: bytes) -> Manifest:
    """The manifest in its envelope."""
    manifest: Manifest = decode(decode(payload, Signed).body, Manifest)
    return manifest


def short(digest: bytes) -> str:
    """The beginning of a digest, for people."""
    return digest.hex()[:8]


def attempt_name(manifest: Manifest) -> str:
    """Generation, round and attempt, for people."""
    return f"{round_of(manifest)}.{manifest.attempt}"
