"""The messages of secure aggregation: five from a device, and from the server the terms and four more.

Every message names the digest of its terms, so it belongs to one attempt of one round with one model.
Devices are told by their place in the cohort: a set of them is a bitmap, and a list of keys, signatures or
sealed shares is written one after the other, in rising order of the places.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from fedge.identity.ed25519 import SIGNATURE_BYTES
from fedge.masking.ciphers import KEY_BYTES, TAG_BYTES
from fedge.masking.sharing import SHARE_BYTES
from fedge.nn.spec import MAX_WEIGHTS
from fedge.wire.messages.fields import MAX_SIZE, Counter, DeviceId, Digest, Generation, PublicKey
from fedge.wire.messages.message import Message
from fedge.wire.topics import FEDERATION

LEAST_DEVICES, MAX_DEVICES = 3, 1_000
MAX_WEIGHT = 2**20
ADVERTISED_BYTES = 3 * KEY_BYTES
"""Of one device in a roster: two public keys and a commitment."""
SEALED_BYTES = 2 * SHARE_BYTES + TAG_BYTES
"""Two shares for one device: of the self-mask's seed and of the masking key."""


def _rising(cohort: tuple[str, ...]) -> tuple[str, ...]:
    if list(cohort) != sorted(set(cohort)):
        raise ValueError("the devices must differ and be in rising order")
    return cohort


Members = Annotated[bytes, Field(min_length=1, max_length=-(-MAX_DEVICES // 8))]
"""A set of devices of the cohort, a bit each, the first device in the lowest bit of the first byte."""
Signature = Annotated[bytes, Field(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)]
Signatures = Annotated[bytes, Field(max_length=MAX_DEVICES * SIGNATURE_BYTES)]
Sealed = Annotated[bytes, Field(max_length=MAX_DEVICES * SEALED_BYTES)]


class Terms(Message):
    """What an attempt is about: the server announces it, and all keys are derived from its digest."""

    TYPE: ClassVar[str] = "masking_terms"
    MAX_VALUES: ClassVar[int] = MAX_DEVICES + 128

    federation: str = Field(pattern=FEDERATION)
    generation: Generation
    round: Counter
    attempt: Counter
    base: Digest
    """The digest of the announced model."""
    cohort: Annotated[
        tuple[DeviceId, ...],
        Field(min_length=LEAST_DEVICES, max_length=MAX_DEVICES, strict=False),
        AfterValidator(_rising),
    ]
    size: int = Field(ge=1, le=MAX_WEIGHTS)
    """Entries of an update."""
    value_bits: int = Field(ge=2, le=16)
    clip: float = Field(gt=0, le=1e9, allow_inf_nan=False)
    max_weight: int = Field(ge=1, le=MAX_WEIGHT)
    """The largest weight of an update; 1: all count the same."""
    threshold: int = Field(ge=2, le=MAX_DEVICES)
    """t: the signatures of one survivor set."""
    colluders: int = Field(ge=0, le=MAX_DEVICES)
    """Above 64 devices: how many may help the server."""
    dropouts: int = Field(ge=0, le=MAX_DEVICES)
    """Above 64 devices: how many may be lost."""
    server: Literal["lying", "honest-but-curious"]
    """What the server may be without learning an update."""


class MaskingMessage(Message):
    """The parent of the messages of one attempt."""

    terms: Digest


class Advertise(MaskingMessage):
    """Device, phase 1: its keys of this attempt, signed with the key of its certificate."""

    TYPE: ClassVar[str] = "masking_advertise"

    device: DeviceId
    sealing_key: PublicKey
    masking_key: PublicKey
    commitment: Digest
    """SHA-256 of the seed of its self-mask, by which the server knows a wrong share."""
    signature: Signature


class Roster(MaskingMessage):
    """Server: the advertisements that it passes on."""

    TYPE: ClassVar[str] = "masking_roster"

    members: Members
    advertised: bytes = Field(min_length=ADVERTISED_BYTES, max_length=MAX_DEVICES * ADVERTISED_BYTES)
    signatures: Signatures


class Share(MaskingMessage):
    """Device, phase 2: shares of its two secrets, sealed for each neighbour."""

    TYPE: ClassVar[str] = "masking_share"

    device: DeviceId
    roster: Digest
    sealed: Sealed


class Delivery(MaskingMessage):
    """Server: who has shared, and what these neighbours have sealed for this device."""

    TYPE: ClassVar[str] = "masking_delivery"

    sharers: Members
    sealed: Sealed


class MaskedInput(MaskingMessage):
    """Device, phase 3: its masked update, and its signature of those with whom it masks."""

    TYPE: ClassVar[str] = "masking_input"

    device: DeviceId
    values: bytes = Field(min_length=1, max_length=MAX_SIZE)
    signature: Signature


class Survivors(MaskingMessage):
    """Server: whose masked updates have come, whose have not, and above 64 devices what neighbours signed.

    Up to 64 devices nobody needs these signatures, and there are none (docs/masking.md, Which signatures are
    checked).
    """

    TYPE: ClassVar[str] = "masking_survivors"

    alive: Members
    dead: Members
    signatures: Signatures


class Consistency(MaskingMessage):
    """Device, phase 4: its signature of the survivors."""

    TYPE: ClassVar[str] = "masking_consistency"

    device: DeviceId
    signature: Signature


class Agreement(MaskingMessage):
    """Server: t or more signatures of the same survivors; t are enough."""

    TYPE: ClassVar[str] = "masking_agreement"

    signers: Members
    signatures: Signatures


class Unmask(MaskingMessage):
    """Device, phase 5: a share of one secret of each sharer among its neighbours and itself."""

    TYPE: ClassVar[str] = "masking_unmask"

    device: DeviceId
    shares: bytes = Field(max_length=MAX_DEVICES * SHARE_BYTES)
