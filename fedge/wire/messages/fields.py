"""Limits of message fields, and types that several messages share."""

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from fedge.nn.spec import MAX_WIDTH
from fedge.service.escapes import printable
from fedge.wire.reasons import Reason
from fedge.wire.topics import DEVICE_ID

MAX_FRAMES = 4_096
MAX_COUNTER = 2**31 - 1
MAX_SIZE = 2**31 - 1
MAX_SEED = 2**63 - 1
MAX_REASON = 40
"""The most characters of a reason's name."""
MAX_DETAIL = 500
"""The most characters of the text that explains a reason."""
_REASONS = frozenset(Reason)
SOURCE_NAME = r"^[a-z0-9][a-z0-9_-]{0,30}$"
"""The pattern of a source's name."""


def unique(names: tuple[str, ...]) -> tuple[str, ...]:
    """Check that no name occurs twice."""
    if len(set(names)) != len(names):
        raise ValueError("names must differ")
    return names


def _known(reason: object) -> object:
    """Read a reason; an unknown name is no error, because later programs of v1 may add names."""
    if not isinstance(reason, str) or len(reason) > MAX_REASON:
        return reason
    return Reason(reason) if reason in _REASONS else Reason.OTHER


Digest = Annotated[bytes, Field(min_length=32, max_length=32)]
PublicKey = Annotated[bytes, Field(min_length=32, max_length=32)]
"""An Ed25519 public key."""
Ident = Annotated[bytes, Field(min_length=16, max_length=16)]
DeviceId = Annotated[str, Field(pattern=DEVICE_ID)]
SourceName = Annotated[str, Field(pattern=SOURCE_NAME)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Names = Annotated[
    tuple[Name, ...], Field(min_length=1, max_length=MAX_WIDTH, strict=False), AfterValidator(unique)
]
Counter = Annotated[int, Field(ge=0, le=MAX_COUNTER)]
Generation = Annotated[int, Field(ge=1, le=MAX_COUNTER)]
Seconds = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
WireReason = Annotated[Reason, BeforeValidator(_known)]


def detail_of(text: str) -> str:
    """The text of an error for a message: one line, whatever it quotes."""
    return printable(text)[:MAX_DETAIL]


Detail = Annotated[str, Field(max_length=MAX_DETAIL), AfterValidator(detail_of)]
"""One line of text, whatever the sender wrote."""
Version = Annotated[str, Field(max_length=40, pattern=r"^[0-9A-Za-z.+!_-]*$")]
"""The version of a program."""
MetricName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Metrics = Annotated[
    dict[MetricName, Annotated[float, Field(allow_inf_nan=False)]],
    Field(max_length=32),
]

MAX_VECTORS = 8
"""The most vectors besides the weights in one message."""
VECTOR_NAME = r"^[a-z][a-z0-9_]{0,39}$"
VectorName = Annotated[str, Field(pattern=VECTOR_NAME)]
MoreVectors = Annotated[dict[VectorName, bytes], Field(min_length=1, max_length=MAX_VECTORS)]
"""Encoded vectors besides the weights, by name."""
