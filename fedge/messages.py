"""Every message on the wire: what bytes must mean before anything looks at them.

A message is one msgpack map `{"v": 1, "type": ...}`. Unknown fields are ignored, so fields may be added
within v1; wrong types and values are refused. Vectors are raw little-endian bytes.
"""

import reprlib
from typing import Annotated, ClassVar, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from fedge import wire
from fedge.errors import ProtocolError
from fedge.escapes import OBEYED, printable
from fedge.names import Capabilities, WireName
from fedge.nn.spec import MAX_WIDTH, NetworkSpec
from fedge.plan import Plan
from fedge.reasons import Reason as Reason  # re-exported: messages carry it
from fedge.rules import Proposal
from fedge.topics import DEVICE_ID

VERSION = 1
MAX_FRAMES = 4_096
MAX_DEVICES_NAMED = 1_000
MAX_COUNTER = 2**31 - 1
MAX_SIZE = 2**31 - 1
MAX_SEED = 2**63 - 1
MAX_REASON = 40
"""Characters of a reason's name."""
MAX_DETAIL = 500
"""Characters that explain a reason."""
MAX_SUCCESSIONS = 16
"""Changes of the signing key that travel with an envelope; who slept through more must be enrolled anew."""

MAX_CLASSES_TOLD = 100
"""Classes that a survey tells at most."""
CLASS_TOLD = rf"^[^{OBEYED}]{{1,60}}$"
"""What such a class may be called: what is shown as it is, 60 characters at most."""

WEIGHTS, FIGURES = "weights", "figures"
"""Kinds of updates."""

_REASONS = frozenset(Reason)
SOURCE_NAME = r"^[a-z0-9][a-z0-9_-]{0,30}$"
"""What a device's source of samples may be called."""


def _unique(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) != len(names):
        raise ValueError("names must differ")
    return names


def _known(reason: object) -> object:
    """A reason from its text; a name that was added later in v1 is no mistake."""
    if not isinstance(reason, str) or len(reason) > MAX_REASON:
        return reason
    return Reason(reason) if reason in _REASONS else Reason.OTHER


Digest = Annotated[bytes, Field(min_length=32, max_length=32)]
PublicKey = Annotated[bytes, Field(min_length=32, max_length=32)]
"""Ed25519."""
Ident = Annotated[bytes, Field(min_length=16, max_length=16)]
DeviceId = Annotated[str, Field(pattern=DEVICE_ID)]
SourceName = Annotated[str, Field(pattern=SOURCE_NAME)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Names = Annotated[
    tuple[Name, ...], Field(min_length=1, max_length=MAX_WIDTH, strict=False), AfterValidator(_unique)
]
Counter = Annotated[int, Field(ge=0, le=MAX_COUNTER)]
Generation = Annotated[int, Field(ge=1, le=MAX_COUNTER)]
Seconds = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
WireReason = Annotated[Reason, BeforeValidator(_known)]


def detail_of(text: str) -> str:
    """An error's text as a message carries it: one line, whatever it quotes."""
    return printable(text)[:MAX_DETAIL]


Detail = Annotated[str, Field(max_length=MAX_DETAIL), AfterValidator(detail_of)]
"""One line of text, whatever the sender wrote."""
Version = Annotated[str, Field(max_length=40, pattern=r"^[0-9A-Za-z.+!_-]*$")]
"""Of a program."""
MetricName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Metrics = Annotated[
    dict[MetricName, Annotated[float, Field(allow_inf_nan=False)]],
    Field(max_length=32),
]


class Part(BaseModel):
    """What messages are made of: frozen, strict about types, silent about unknown fields."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class Message(Part):
    """The parent of all messages."""

    TYPE: ClassVar[str]
    """The name on the wire."""


class Task(Message):
    """What is learnt: the network, the meaning of its inputs and outputs."""

    TYPE: ClassVar[str] = "task"

    network: NetworkSpec
    features: Names
    """Names of the input columns, in order."""
    classes: Names | None = None
    """Class names in the order of the outputs, for a classifier."""
    targets: Names | None = None
    """Target columns in the order of the outputs, for a regression."""
    source: SourceName | None = None
    """Which of a device's sources of samples is meant; none named: the one it has as its default."""
    reconnect_spread_s: Seconds = 1.0
    """Devices come back within this many seconds of each other after the broker was away."""
    rules: Proposal | None = None
    """How the devices are to read their data, where their owners leave it open; none: nothing is proposed."""

    @model_validator(mode="after")
    def _check(self) -> "Task":
        if not self.network.computable:
            return self
        if len(self.features) != self.network.inputs:
            raise ValueError(f"{len(self.features)} feature names for {self.network.inputs} inputs")
        wanted, other = (
            (self.classes, self.targets)
            if self.network.loss == "cross-entropy"
            else (self.targets, self.classes)
        )
        if wanted is None or other is not None:
            raise ValueError("a classifier has classes and no targets, a regression targets and no classes")
        if len(wanted) != self.network.outputs:
            raise ValueError(f"{len(wanted)} output names for {self.network.outputs} outputs")
        return self

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the outputs: classes or targets."""
        return self.classes or self.targets or ()


class Model(Message):
    """The global model after `round`; its digest is the `base` of the updates made from it."""

    TYPE: ClassVar[str] = "model"

    generation: Generation
    round: Counter
    codec: WireName = "float32"
    body: bytes


class Blob(Part):
    """Where a framed, retained message lies: its digest, its slot, and how many frames it has."""

    digest: Digest
    slot: int = Field(ge=0, le=1)
    frames: int = Field(ge=1, le=MAX_FRAMES)
    size: int = Field(ge=1, le=MAX_SIZE)

    @model_validator(mode="after")
    def _check(self) -> "Blob":
        if self.size < self.frames:
            raise ValueError(f"{self.size} bytes cannot fill {self.frames} frames")
        return self


class Cohort(Part):
    """Who is chosen: devices whose hash falls below `fraction` (see `fedge.selection`), or those named."""

    fraction: float = Field(gt=0, le=1, allow_inf_nan=False)
    seed: int = Field(ge=0, le=MAX_SEED)
    devices: tuple[DeviceId, ...] | None = Field(default=None, max_length=MAX_DEVICES_NAMED, strict=False)


class Manifest(Message):
    """The retained `round` message: all a device needs to know to act, however long it slept."""

    TYPE: ClassVar[str] = "round"

    generation: Generation
    round: Counter
    attempt: Counter = 0
    kind: WireName
    """`survey`, `train`, `evaluate`: what the round asks for (`fedge.capabilities.PHASES`)."""
    state: WireName
    """`open` or `done` (`fedge.capabilities.STATES`)."""
    seed: int = Field(ge=0, le=MAX_SEED)
    """The federation's seed, from which a device derives the order it shuffles in."""
    task: Blob
    model: Blob | None = None
    """The model to start from: none before the survey has fixed the task."""
    plan: Plan | None = None
    cohort: Cohort
    seconds_left: Seconds
    """True at the moment of publishing; subtract the age of the retained message."""
    requires: Capabilities | None = None
    """What a device must be able to do, as names of `fedge.capabilities`; none listed: what 0.2.0 can."""
    max_samples: int | None = Field(default=None, ge=20, le=2**53)
    """The largest n_k that is admitted: who has more rows uses the newest so many. None: not told."""

    @model_validator(mode="after")
    def _check(self) -> "Manifest":
        if self.kind == "train" and (self.model is None or self.plan is None):
            raise ValueError("a training round names its model and its plan")
        if self.kind == "evaluate" and self.model is None:
            raise ValueError("a round that measures names its model")
        return self


class Update(Message):
    """What a device learnt in one round: its weights (or their difference from `base`) and n_k.

    Where a round only measures its model, no vector: the metrics are what is asked for.
    """

    TYPE: ClassVar[str] = "update"

    generation: Generation
    round: Counter
    base: Digest
    device: DeviceId
    samples: int
    """n_k, training samples without the held-out part; its bounds are admission's to judge."""
    steps: int = Field(ge=0, le=2**63 - 1)
    kind: WireName
    """`weights`, `delta`: what the vector is; `figures`: there is none, and `body` is empty."""
    codec: WireName
    body: bytes
    metrics: Metrics = Field(default_factory=dict)


class ClassCount(Part):
    """How many rows of its training part a device has of a class, rounded."""

    name: Annotated[str, Field(pattern=CLASS_TOLD)]
    rows: Counter


def _unlike(counts: tuple[ClassCount, ...]) -> tuple[ClassCount, ...]:
    _unique(tuple(count.name for count in counts))
    return counts


ClassCounts = Annotated[
    tuple[ClassCount, ...], Field(max_length=MAX_CLASSES_TOLD, strict=False), AfterValidator(_unlike)
]


class Survey(Message):
    """Per column count, mean and M2 (the sum of squared deviations), as little-endian float64: no sample."""

    TYPE: ClassVar[str] = "survey"

    generation: Generation
    round: Counter
    base: Digest
    """The digest of the task that was surveyed."""
    device: DeviceId
    samples: int
    features: bytes
    """float64 of shape (3, d): counts, means, M2."""
    targets: bytes = b""
    """float64 of shape (3, t) for a regression, else empty."""
    classes: ClassCounts | None = None
    """Of a classification: what there is of each class; none: the device's owner does not let it tell."""
    metrics: Metrics = Field(default_factory=dict)


class Receipt(Message):
    """The aggregator's answer to one update: only this says that it counts."""

    TYPE: ClassVar[str] = "receipt"

    generation: Generation
    round: Counter
    update: Digest
    verdict: Literal["admitted", "refused", "retry"]
    reason: WireReason | None = None
    detail: Detail = ""
    after_s: Seconds = 0.0
    """How long to wait before the next try."""
    missing: tuple[Annotated[int, Field(ge=0, lt=MAX_FRAMES)], ...] = Field(
        default=(), max_length=MAX_FRAMES, strict=False
    )
    """With `retry`: the frames that are still to come; none named: frame 0 again, later."""

    @model_validator(mode="after")
    def _check(self) -> "Receipt":
        if self.verdict == "refused" and self.reason is None:
            raise ValueError("a refusal names its reason")
        if self.verdict != "retry" and self.missing:
            raise ValueError(f"frames are missing, and yet the update is {self.verdict}")
        return self


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

    online: bool
    boot: Ident
    """Random, made at each start of the agent."""
    connection: Counter
    """Counts the connections of this boot, so that an old will is told from new presence."""
    version: Version
    samples: Counter | None = None
    generation: Counter = 0
    """The highest (generation, round) this device has seen; generation 0: none yet."""
    round: Counter = 0
    holds: Digest | None = None
    """The digest of the model it holds as a file."""
    declined: Decline | None = None
    signer: PublicKey | None = None
    """The signing key that it believes, and that has announced what it has seen; none: it pins no key."""
    can: Capabilities | None = None
    """What it can do, as names of `fedge.capabilities`; none listed: what a device of 0.2.0 can."""
    uses: Digest | None = None
    """The digest of the model that it predicts with, if its owner's gate keeps that instead of `holds`."""


class Service(Message):
    """The aggregator's presence, retained; its last will is the same with `online` false."""

    TYPE: ClassVar[str] = "service"

    online: bool
    ledger: Ident
    """Made once with the ledger: which memory this aggregator has."""
    instance: Ident
    """Random, made at each start of the aggregator."""
    beat: Counter


class Export(Message):
    """The ONNX file of a round, or why there is none."""

    TYPE: ClassVar[str] = "export"

    generation: Generation
    round: Counter
    model: Digest
    file: Blob | None = None
    """SHA-256 and place of the ONNX file; none: it was withheld."""
    withheld: Detail = ""
    """Why there is no file."""

    @model_validator(mode="after")
    def _check(self) -> "Export":
        if (self.file is None) != bool(self.withheld):
            raise ValueError("an export names its file, or says why it was withheld")
        return self


class Frame(Message):
    """One piece of a big message, small enough for any broker (see `fedge.frames`)."""

    TYPE: ClassVar[str] = "frame"

    id: Digest
    i: int = Field(ge=0, lt=MAX_FRAMES)
    n: int = Field(ge=1, le=MAX_FRAMES)
    size: int = Field(ge=1, le=MAX_SIZE)
    data: bytes = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> "Frame":
        if self.i >= self.n or self.size < self.n or len(self.data) > self.size:
            raise ValueError(
                f"frame {self.i} of {self.n} with {len(self.data)} of {self.size} bytes cannot be"
            )
        return self


class Succession(Part):
    """A change of the signing key, signed by the one that goes (see `fedge.trust`)."""

    old: PublicKey
    new: PublicKey
    sig: bytes = Field(max_length=64)


class Signed(Message):
    """An envelope; signatures cover `fedge/v1/{federation}/{topic kind}` + NUL + body as it stands."""

    TYPE: ClassVar[str] = "signed"

    body: bytes
    sigs: tuple[bytes, ...] = Field(default=(), max_length=8, strict=False)
    """One that is right is enough: others may be by keys, or of kinds, that this program does not know."""
    chain: tuple[Succession, ...] | None = Field(default=None, max_length=MAX_SUCCESSIONS, strict=False)
    """How the key that signs came to be the one, the oldest change first; none: it was never changed."""


M = TypeVar("M", bound=Message)


def pack(message: Message) -> bytes:
    """Encode a message; the inverse of `unpack`."""
    return wire.encode({"v": VERSION, "type": message.TYPE, **message.model_dump(exclude_none=True)})


def unpack(payload: bytes, kind: type[M], *, max_bytes: int = wire.MAX_PAYLOAD) -> M:
    """Decode one message of the expected kind.

    Raises:
        ProtocolError: too large, not msgpack, another version or type, or a field of the wrong kind; its
            `reason` is OVERSIZE, UNKNOWN_VERSION or MALFORMED.
    """
    fields = wire.decode(payload, max_bytes=max_bytes)
    version, found = fields.pop("v", None), fields.pop("type", None)
    if type(version) is not int:
        raise ProtocolError(f"{kind.TYPE}: 'v' is {reprlib.repr(version)}, expected the protocol's version")
    if version != VERSION:
        raise ProtocolError(
            f"protocol version {version}: this program speaks version {VERSION}", Reason.UNKNOWN_VERSION
        )
    if found != kind.TYPE:
        raise ProtocolError(f"a message of type {reprlib.repr(found)} where {kind.TYPE!r} was expected")
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "message"
        what = first["msg"].removeprefix("Value error, ")
        # A key of the sender's own may stand in `where`: the text goes into logs and receipts.
        raise ProtocolError(f"{kind.TYPE}: {where[:100]}: {what[:300]}") from None


def seal(message: Message) -> bytes:
    """Pack a message into the signed envelope; the inverse of `unseal`."""
    return pack(Signed(body=pack(message)))


def unseal(payload: bytes, kind: type[M]) -> M:
    """Take one message of the expected kind out of the signed envelope.

    Raises:
        ProtocolError: as `unpack`, of the envelope or of what is in it.
    """
    return unpack(unpack(payload, Signed).body, kind)
