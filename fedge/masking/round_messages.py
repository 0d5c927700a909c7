"""What aggregator and devices say around the protocol of secure aggregation in a round.

A device that has trained promises an update. The aggregator calls those that have promised to an attempt.
"""

from typing import Annotated, ClassVar

from pydantic import Field

from fedge.identity.certified_keys import MAX_CERTIFICATE
from fedge.masking.messages import MAX_DEVICES, MaskingMessage
from fedge.wire.messages.fields import Counter, Detail, DeviceId, Digest, Generation, Metrics
from fedge.wire.messages.message import Message
from fedge.wire.names import WireName

DRAWN_BYTES = 32
"""Of what a device draws for the groups of a round."""
Certificate = Annotated[bytes, Field(min_length=1, max_length=MAX_CERTIFICATE)]
"""In DER."""


class Promise(Message):
    """Device: it has an update for a masked round, and takes part with the key of this certificate."""

    TYPE: ClassVar[str] = "masking_promise"
    metrics: ClassVar[Metrics] = {}
    """A masked round tells no figures of single devices."""

    generation: Generation
    round: Counter
    base: Digest
    """The model that the update is a step from."""
    device: DeviceId
    certificate: Certificate
    drawn: Digest | None = None
    """Random bytes for the round, from which groups follow; None: it promises no groups."""


class Call(Message):
    """Server: an attempt begins with these devices."""

    TYPE: ClassVar[str] = "masking_call"
    MAX_VALUES: ClassVar[int] = 2 * MAX_DEVICES + 128

    terms: Annotated[bytes, Field(min_length=1, max_length=131_072)]
    """The packed `Terms`; with groups, those of the device's own group."""
    certificates: Annotated[tuple[Certificate, ...], Field(max_length=MAX_DEVICES, strict=False)]
    """Those of the terms' cohort, in its order."""
    whole: Annotated[tuple[DeviceId, ...], Field(max_length=MAX_DEVICES, strict=False)] | None = None
    """The cohort of all groups together, in rising order; None: there are no groups."""
    drawn: Annotated[bytes, Field(max_length=MAX_DEVICES * DRAWN_BYTES)] | None = None
    """The random bytes that came with the promises of these devices, one after the other."""


class Objection(MaskingMessage):
    """Device: what the server sent is refused."""

    TYPE: ClassVar[str] = "masking_objection"

    device: DeviceId
    why: WireName
    """A name of `fedge.masking.refusals.Why`."""
    detail: Detail = ""
