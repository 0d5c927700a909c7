"""A device's presence, and why it does not take part."""

from typing import ClassVar

from fedge.wire.messages.fields import (
    Counter,
    Detail,
    Digest,
    Generation,
    Ident,
    PublicKey,
    Version,
    WireReason,
)
from fedge.wire.messages.message import Message, Part
from fedge.wire.names import Capabilities


class Decline(Part):
    """Why a chosen device does not take part in a round."""

    generation: Generation
    round: Counter
    attempt: Counter
    reason: WireReason
    detail: Detail = ""


class Status(Message):
    """A device's presence, retained; its last will is the same with `online` false."""

    TYPE: ClassVar[str] = "status"
    MAX_VALUES: ClassVar[int] = 2_048

    online: bool
    boot: Ident
    """Random, made at each start of the agent."""
    connection: Counter
    """Counts the connections of this boot, to tell an old will from a new status."""
    version: Version
    samples: Counter | None = None
    generation: Counter = 0
    """The highest (generation, round) this device has seen; generation 0: none yet."""
    round: Counter = 0
    holds: Digest | None = None
    """The digest of the model it stores."""
    declined: Decline | None = None
    signer: PublicKey | None = None
    """The signing key that it believes, under which it has seen that round; None: it pins no key."""
    can: Capabilities | None = None
    """Its capabilities (`fedge.wire.capabilities`); None: those of a device of 0.2.0."""
    uses: Digest | None = None
    """The digest of the model that it predicts with, if its owner's gate keeps that instead of `holds`."""
