"""The facts of one world, with which all checks compare what they see."""

from collections.abc import Callable, Mapping
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
from fleet.simulator.compositions import FEDAVG, Composition
from fleet.simulator.fastpaths import decode

LIAR = "liar"
"""The name of a sender that is not a device."""
LATENESS_S = 5.0
"""The seconds that a message may travel."""
INSTANT_S = 0.05
"""The seconds after which a program must have noticed that time has passed."""


@dataclass(frozen=True)
class Made:
    """An update or survey that a device's trainer or a liar made."""

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
        clips: whether the rule clips updates that are far from their base.
        composition: what the federation learns with.
    """

    def __init__(
        self,
        topics: Topics,
        now_s: Callable[[], float],
        *,
        clips: bool = True,
        composition: Composition = FEDAVG,
    ) -> None:
        self.topics, self.now_s, self.clips, self.composition = topics, now_s, clips, composition
        self.made: dict[bytes, Made] = {}
        self.liars: set[str] = set()
        """The devices that lie."""
        self.closed_s = 0.0
        """When the last round closed."""
        self.announced: list[Announced] = []
        self.lasts_s: dict[str, float] = {}
        """When the deadline of an announced attempt passes."""
        self.genuine: set[bytes] = set()
        """The manifests as the aggregator published them."""
        self.orphaned: set[bytes] = set()
        """The manifests that belong to a lost ledger."""
        self.models: dict[bytes, RoundId] = {}
        """The round that made each model, by the model's digest."""
        self.vectors: dict[bytes, Mapping[str, list[float]]] = {}
        """The vectors of each model by name, by the model's digest."""
        self.receipts: dict[tuple[str, bytes], set[str]] = {}
        """The verdicts on an update that were sent to each device."""
        self.reasons: dict[tuple[str, bytes], set[Reason]] = {}
        """The reasons for which each device's updates were refused, as it was told."""
        self.void: set[bytes] = set()
        """Updates that were refused because their base is another aggregator's model."""
        self.aside: dict[str, RoundId] = {}
        """Devices in quarantine, with the round that was open then: in later rounds they must not count."""
        self.counts_s: dict[str, float] = {}
        """When each device last went into quarantine or left it."""
        self.lifted = 0
        """How often an operator has lifted a quarantine."""
        self.several_until_s = -inf
        """Until when several aggregators may have worked and replaced each other's frames."""
        self.online_s = -inf
        """When the broker last received an aggregator's status "online"."""
        self.told_s: dict[str, float] = {}
        """When the broker last received a status of each device."""
        self.address = lru_cache(maxsize=None)(topics.parse)  # a world uses few topics, each many times

    @property
    def newest(self) -> Manifest | None:
        """The newest manifest of the newest round that was ever announced."""
        said = [seen.manifest for seen in self.announced]
        return max(said, key=lambda manifest: (*round_of(manifest), manifest.attempt), default=None)

    def sets_aside(self, device: str, known: RoundId) -> None:
        """Note that an operator quarantines a device; `known` is the newest round of one of the ledgers."""
        self.aside[device] = max(known, self.aside.get(device, known))
        self.counts_s[device] = self.now_s()

    def lifts(self, device: str) -> None:
        """Note that an operator lifts a quarantine; the device may count only in another attempt."""
        self.lifted += 1
        self.aside.pop(device, None)
        self.counts_s[device] = self.now_s()

    def ledger_replaced(self) -> None:
        """Note that the next aggregator may not know which slots hold the announced messages."""
        self.orphaned |= self.genuine


def opened(payload: bytes) -> Manifest:
    """Read the manifest from its signed envelope."""
    manifest: Manifest = decode(decode(payload, Signed).body, Manifest)
    return manifest


def short(digest: bytes) -> str:
    """The first characters of a digest, for messages."""
    return digest.hex()[:8]


def attempt_name(manifest: Manifest) -> str:
    """Generation, round and attempt, for messages."""
    return f"{round_of(manifest)}.{manifest.attempt}"
