"""Before taking over a federation: is another aggregator alive, and what has been announced and seen?

Pure. A will may not have been sent yet, so an `online` that does not move is not believed for longer than
`PATIENCE_S`, counted from when it was said: whoever was killed and looks anew waits only for what is left of
that. A beat that moves is believed.
"""

from dataclasses import dataclass, field, replace
from math import inf

from aggregator.claims import NOTHING
from aggregator.per_device import Devices, PerDevice
from fedge.capabilities import told
from fedge.freshness import RoundId, round_of
from fedge.messages.frame import Blob
from fedge.messages.manifest import Manifest
from fedge.messages.service import Service
from fedge.messages.status import Status

PATIENCE_S = 15.0
QUIET_S = 0.4
"""Retained messages come right after the subscription: when none has come for so long, all have.

On a line on which the broker's answer took longer, twice as long as that.
"""
RETAINED_S = 60.0
"""So long after the subscription they have come anyway, though somebody never stops talking."""


def is_of_key(status: Status, key: bytes | None) -> bool:
    """Whether the round that a device has seen says something about the ledger of who signs with `key`.

    A key that was stolen can announce rounds that none can follow; under the next one devices begin anew. A
    device that pins no key takes whatever is announced. Where nothing is signed, numbers are all there is.
    """
    return key is None or status.signer == key


@dataclass(frozen=True)
class Watch:
    """What has been seen of a federation, without taking part in it."""

    seen_s: float
    """When the last message came."""
    quiet_s: float = QUIET_S
    """So long nothing must have come: longer on a slow line."""
    other: Service | None = None
    """Another aggregator that says it is online."""
    other_since_s: float = 0.0
    """When it said so first."""
    moved: bool = False
    """Its beat moves: it is alive."""
    announced: RoundId | None = None
    """The round of the retained manifest."""
    done: bool = False
    """That manifest says that learning is done."""
    task: Blob | None = None
    """Where the task that it announces lies."""
    model: Blob | None = None
    """Where the model that it announces lies."""
    devices: PerDevice[RoundId] = field(default_factory=PerDevice)
    """What each device claims to have seen; nothing, where that is of a signing key which is not ours."""
    online: Devices = field(default_factory=Devices)
    abilities: PerDevice[frozenset[str]] = field(default_factory=PerDevice)
    """What each device can, as names of `fedge.capabilities`."""

    def subscribed(self, now_s: float) -> "Watch":
        """Take in the broker's answer: what is retained may come as much later as that took, and more."""
        quiet_s = min(PATIENCE_S, max(QUIET_S, 2 * (now_s - self.seen_s)))
        return replace(self, seen_s=now_s, quiet_s=quiet_s)

    def service(self, service: Service, now_s: float, age_s: float = 0.0) -> "Watch":
        """Take in the `service` topic; `age_s`: how long the message has lain at the broker."""
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

    def manifest(self, manifest: Manifest, now_s: float) -> "Watch":
        """Take in the retained `round` topic."""
        return replace(
            self,
            seen_s=now_s,
            announced=round_of(manifest),
            done=manifest.state == "done",
            task=manifest.task,
            model=manifest.model,
        )

    def status(self, device: str, status: Status, now_s: float, key: bytes | None = None) -> "Watch":
        """Take in a device's status; `key`: the public key that we sign with.

        Only its first one may be what was retained: who goes on talking does not make the looking on longer.
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
        """When enough has been seen; `latest_s`: by then all that is retained has come."""
        waiting = self.other_since_s + PATIENCE_S if self.other is not None else 0.0
        return max(min(self.seen_s + self.quiet_s, latest_s), waiting)

    def announced_beyond(self, known: RoundId | None) -> str | None:
        """What the announcement says that a ledger does not know, in words; `known`: its newest round."""
        if self.announced is None:
            return None
        if known is None:
            return f"round {self.announced} was announced, and this ledger is new"
        if self.announced > known:
            return f"round {self.announced} was announced, this ledger only knows {known}"
        if self.announced == known and self.done:
            return f"round {self.announced} was announced as done, in this ledger it is open"
        return None
