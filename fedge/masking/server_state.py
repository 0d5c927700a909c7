"""The server's state of one attempt, its events and its effects."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from fedge.masking.keys import Directory
from fedge.masking.messages import Advertise, MaskingMessage, Roster, Terms
from fedge.masking.refusals import Refusal
from fedge.masking.ring import Ring, Values


class Phase(StrEnum):
    """What the server waits for."""

    ADVERTISE = "advertise"
    SHARE = "share"
    INPUT = "input"
    CONSISTENCY = "consistency"
    UNMASK = "unmask"
    ENDED = "ended"


@dataclass(frozen=True)
class Server:
    """One attempt, as the server sees it. Devices are told by their places in the cohort."""

    terms: Terms
    digest: bytes
    ring: Ring
    phase: Phase = Phase.ADVERTISE
    advertised: Mapping[int, Advertise] = field(default_factory=dict)
    roster: Directory | None = None
    roster_message: Roster | None = None
    sealed: Mapping[int, Mapping[int, bytes]] = field(default_factory=dict, repr=False)
    """By sender and receiver."""
    sharers: frozenset[int] = frozenset()
    total: Values | None = field(default=None, repr=False)
    """The sum of the masked updates so far."""
    inputs: Mapping[int, bytes] = field(default_factory=dict, repr=False)
    """The signatures that came with the masked updates."""
    alive: frozenset[int] = frozenset()
    signatures: Mapping[int, bytes] = field(default_factory=dict, repr=False)
    revealed: Mapping[int, Mapping[int, bytes]] = field(default_factory=dict, repr=False)
    """By the device whose share it is, and the one that revealed it."""
    answered: frozenset[int] = frozenset()
    """Who has revealed its shares."""

    @property
    def missing(self) -> frozenset[int]:
        """Whose message of this phase has not come."""
        match self.phase:
            case Phase.ADVERTISE:
                return frozenset(range(len(self.terms.cohort))) - self.advertised.keys()
            case Phase.SHARE:
                return frozenset(self.advertised) - self.sealed.keys()
            case Phase.INPUT:
                return self.sharers - self.inputs.keys()
            case Phase.CONSISTENCY:
                return self.alive - self.signatures.keys()
            case Phase.UNMASK:
                return self.alive - self.answered
        return frozenset()


@dataclass(frozen=True)
class Arrived:
    """A message of a device, which the connection or the topic has named."""

    device: str
    message: MaskingMessage


@dataclass(frozen=True)
class PhaseOver:
    """The time of this phase is over, or nothing is missing."""


Event = Arrived | PhaseOver


@dataclass(frozen=True)
class SendTo:
    """Send a message to a device."""

    device: str
    message: MaskingMessage


@dataclass(frozen=True)
class RefuseDevice:
    """Tell a device, and count it."""

    device: str
    refusal: Refusal


@dataclass(frozen=True)
class Summed:
    """The attempt has ended with the sum of the survivors' levels."""

    levels: NDArray[np.int64] = field(repr=False)
    """Σ weight · level, of shape (p,)."""
    weight: int
    """Σ weight."""
    devices: tuple[str, ...]


@dataclass(frozen=True)
class Failed:
    """The attempt has ended without a sum. The next one has new keys."""

    refusal: Refusal
    phase: Phase
    spent: bool
    """Devices have signed survivors, so the next attempt belongs to another round."""


Effect = SendTo | RefuseDevice | Summed | Failed
