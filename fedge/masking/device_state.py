"""A device's state in secure aggregation, its events and its effects."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from fedge.masking.keys import Directory, Sign, Verify
from fedge.masking.messages import MaskingMessage, Terms
from fedge.masking.refusals import Refusal


class Stage(IntEnum):
    """What a device has done in an attempt."""

    NOTHING = 0
    ADVERTISED = 1
    SHARED = 2
    READY = 3
    """It has the shares of its neighbours, and waits for its own update."""
    MASKED = 4
    SIGNED = 5
    REVEALED = 6


@dataclass(frozen=True, order=True)
class Mark:
    """The newest thing that a device has sent. It only grows, and the shell keeps it apart from the state."""

    generation: int = 0
    round: int = 0
    attempt: int = 0
    stage: int = 0


@dataclass(frozen=True)
class Wanted:
    """What the device's owner asks for."""

    always: bool = False
    """Never send an update that is not masked."""
    trusts_server: bool = False
    """Accept terms that hold only if the server follows the protocol."""
    least_devices: int = 0
    """The smallest cohort."""
    known: frozenset[str] | None = None
    """The devices that a cohort may have, whose keys are pinned with them; None: all with certificates. An
    authority that enrols devices for the server is of no use to it then."""


@dataclass(frozen=True)
class Attempt:
    """All that a device knows of the attempt it is in."""

    terms: Terms
    digest: bytes
    place: int
    """Its own in the cohort."""
    entropy: bytes = field(repr=False)
    """The random bytes from which all its secrets of this attempt follow; empty once the update is masked, so
    that nobody who gets hold of the device later can take the masks off."""
    stage: Stage
    sent: MaskingMessage = field(repr=False)
    """The newest message, for sending it again."""
    roster: Directory | None = None
    sharers: frozenset[int] = frozenset()
    held: Mapping[int, bytes] = field(default_factory=dict, repr=False)
    """The two shares of each neighbour and of itself, one after the other."""
    alive: frozenset[int] = frozenset()
    """The survivors that it has signed."""
    incoming: Mapping[int, bytes] = field(default_factory=dict, repr=False, compare=False)
    """The keys of what its neighbours will have sealed for it. It is not written to the disk: they follow
    from the random bytes and the roster."""


@dataclass(frozen=True)
class Device:
    """A device."""

    name: str
    wanted: Wanted = field(default_factory=Wanted)
    mark: Mark = field(default_factory=Mark)
    attempt: Attempt | None = None


@dataclass(frozen=True)
class Identity:
    """What signs with this device's certificate key, and verifies other devices' signatures."""

    sign: Sign
    verify: Verify


@dataclass(frozen=True)
class Announced:
    """The server begins an attempt; `entropy` are 32 new random bytes."""

    terms: Terms
    entropy: bytes = field(repr=False)


@dataclass(frozen=True)
class Received:
    """A message of the server arrived."""

    message: MaskingMessage


@dataclass(frozen=True)
class UpdateReady:
    """The update, rounded by `Ring.rounded`: levels of shape (p,), and the weight."""

    levels: NDArray[np.integer] = field(repr=False)
    weight: int = 1


@dataclass(frozen=True)
class UnmaskedAsked:
    """The server asks for an unmasked update of this round."""

    generation: int
    round: int


@dataclass(frozen=True)
class SendAgain:
    """Nothing came for a while, or the device has restarted."""


Event = Announced | Received | UpdateReady | UnmaskedAsked | SendAgain


@dataclass(frozen=True)
class SaveState:
    """Write the state and sync it."""

    state: Device


@dataclass(frozen=True)
class RaiseMark:
    """Write the mark, where no restored copy of the state takes it back, and sync it."""

    mark: Mark


@dataclass(frozen=True)
class Send:
    """Send a message to the server."""

    message: MaskingMessage


@dataclass(frozen=True)
class WantUpdate:
    """Train if that has not been done, and answer with `UpdateReady`."""


@dataclass(frozen=True)
class AllowUnmasked:
    """An unmasked update may be sent."""


@dataclass(frozen=True)
class Refuse:
    """Log it and tell the server."""

    refusal: Refusal


Effect = SaveState | RaiseMark | Send | WantUpdate | AllowUnmasked | Refuse
