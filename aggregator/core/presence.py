"""The observations before taking over a federation: another aggregator, the announcement, the devices. Pure.

The last will of a dead aggregator may not have been sent yet. So an `online` whose beat does not move is
believed for `PATIENCE_S` at most, from when it was sent. An aggregator that was killed and starts again only
waits for the rest of that time. A beat that moves proves that the other one is running.
"""

from dataclasses import dataclass, field
from math import inf

from aggregator.core.claims import NOTHING
from aggregator.core.per_device import Devices, PerDevice
from fedge.frozen import replace
from fedge.wire.capabilities import told
from fedge.wire.freshness import RoundId, round_of
from fedge.wire.messages.frame import Blob
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.protection import Charges
from fedge.wire.messages.service import Service
from fedge.wire.messages.status import Status

PATIENCE_S = 15.0
QUIET_S = 0.4
"""Retained messages arrive right after the subscription: after this much silence all have arrived.

If the broker's answer took longer, it is twice that time.
"""
RETAINED_S = 60.0
"""After this time all have arrived anyway, even if somebody never stops sending."""


def is_of_key(status: Status, key: bytes | None) -> bool:
    """Whether the round that a device has seen is evidence about the ledger of the owner of `key`.

    A thief of a key can announce the highest round numbers, after which no round can come; under the next
    key, devices count rounds from the beginning. A device that pins no key accepts any announcement. If
    nothing is signed (`key` is None), every claim is evidence.
    """
    return key is None or status.signer == key


@dataclass(frozen=True)
class LeaderCheck:
    """The observations of a federation, without taking part in it."""

    seen_s: float
    """When the last message came."""
    quiet_s: float = QUIET_S
    """How many seconds of silence mean that all retained messages have come: longer on a slow line."""
    other: Service | None = None
    """Another aggregator that says it is online."""
    other_since_s: float = 0.0
    """When it said so first."""
    moved: bool = False
    """Whether its beat moves, so that it is running."""
    announced: RoundId | None = None
    """The round of the retained manifest."""
    done: bool = False
    """That manifest says that learning is done."""
    task: Blob | None = None
    """The task that it announces, with its slot."""
    model: Blob | None = None
    """The model that it announces, with its slot."""
    key: Blob | None = None
    """The key frame that it announces, with its slot."""
    charges: Charges | None = None
    """What it says was released under differential privacy; None: there is no announcement, or it promises
    no privacy."""
    devices: PerDevice[RoundId] = field(default_factory=PerDevice)
    """The round that each device claims to have seen; none if it belongs to a signing key that is not
    ours."""
    online: Devices = field(default_factory=Devices)
    abilities: PerDevice[frozenset[str]] = field(default_factory=PerDevice)
    """The capabilities of each device, as names of `fedge.wire.capabilities`."""

    def subscribed(self, now_s: float) -> "LeaderCheck":
        """Record the broker's answer: retained messages may take at least as long as it did."""
        quiet_s = min(PATIENCE_S, max(QUIET_S, 2 * (now_s - self.seen_s)))
        return replace(self, seen_s=now_s, quiet_s=quiet_s)

    def service(self, service: Service, now_s: float, age_s: float = 0.0) -> "LeaderCheck":
        """Record a `service` message; `age_s`: how long it was stored at the broker."""
        if not service.online:
            return replace(self, seen_s=now_s, other=None)
        known = self.other is not None and self.other.instance == service.instance
        return replace(
            self,
            seen_s=now_s,
            other=service,
            other_since_s=self.other_since_s if known else now_s - age_s,
            moved=known and self.other != service,
        )

    def manifest(self, manifest: Manifest, now_s: float) -> "LeaderCheck":
        """Record a retained `round` message."""
        privacy = manifest.protection.privacy if manifest.protection is not None else None
        return replace(
            self,
            seen_s=now_s,
            announced=round_of(manifest),
            done=manifest.state == "done",
            task=manifest.task,
            model=manifest.model,
            key=manifest.key,
            charges=privacy.witness if privacy is not None else None,
        )

    def status(self, device: str, status: Status, now_s: float, key: bytes | None = None) -> "LeaderCheck":
        """Record a device's status; `key`: the public key that we sign with.

        Only the first one of a device can be the retained one, so further ones do not prolong the watching.
        """
        seen = RoundId(status.generation, status.round)
        return replace(
            self,
            seen_s=self.seen_s if device in self.devices else now_s,
            devices=self.devices.put(device, seen if is_of_key(status, key) else NOTHING),
            online=self.online.having(device, member=status.online),
            abilities=self.abilities.put(device, told(status.can)),
        )

    def over_s(self, latest_s: float = inf) -> float:
        """When enough has been seen; `latest_s`: by then all retained messages have arrived."""
        waiting = self.other_since_s + PATIENCE_S if self.other is not None else 0.0
        return max(min(self.seen_s + self.quiet_s, latest_s), waiting)

    def announced_beyond(self, known: RoundId | None) -> str | None:
        """A text on what the announcement has beyond the ledger; `known`: the ledger's newest round."""
        if self.announced is None:
            return None
        if known is None:
            return f"round {self.announced} was announced, and this ledger is new"
        if self.announced > known:
            return f"round {self.announced} was announced, and the newest round of this ledger is {known}"
        if self.announced == known and self.done:
            return f"round {self.announced} was announced as done, and in this ledger it is open"
        return None
