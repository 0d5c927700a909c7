"""The effects of the aggregator: the core lists them, the runtime performs them.

Those in `DURABLE` are committed before any other effect of the same turn is performed (law 4). Those in
`GATHERED` are written with the next beat at the latest, because nothing visible outside depends on them.
"""

from dataclasses import dataclass

from aggregator.core.coded_form import CodedForm
from aggregator.core.verdicts import Missed, Verdict
from fedge.wire.freshness import RoundId
from fedge.wire.messages.frame import Blob, Frame
from fedge.wire.messages.manifest import Cohort, Manifest
from fedge.wire.messages.message import Message
from fedge.wire.messages.receipt import Receipt
from fedge.wire.messages.service import Service
from fedge.wire.messages.status import Status
from fedge.wire.reasons import Reason


@dataclass(frozen=True)
class SpoolFrame:
    """Store a frame of an update in the spool."""

    device: str
    frame: Frame


@dataclass(frozen=True)
class DropSpool:
    """Delete the frames of an update that will not count."""

    device: str
    digest: bytes


@dataclass(frozen=True)
class ReadUpdate:
    """Put the frames of an update together, check the digest and read it; answered by `UpdateRead`."""

    device: str
    digest: bytes


@dataclass(frozen=True)
class ReadMasking:
    """As `ReadUpdate`, for a message of secure aggregation; answered by `MaskingRead`."""

    device: str
    digest: bytes


@dataclass(frozen=True)
class BeginExchange:
    """Store that an attempt of secure aggregation begins; what was stored of another one is removed."""

    round: RoundId
    terms: bytes
    """The packed terms."""


@dataclass(frozen=True)
class KeepMasking:
    """Store that a message of secure aggregation was taken; its frames stay in the spool."""

    round: RoundId
    device: str
    digest: bytes


@dataclass(frozen=True)
class EndPhase:
    """Store that a phase of secure aggregation has ended."""

    round: RoundId


@dataclass(frozen=True)
class DropExchange:
    """Remove what is stored of the attempt of secure aggregation, with the masked updates."""

    round: RoundId


@dataclass(frozen=True)
class SaveNoSum:
    """Store that a masked round has no sum, and closes with the model that it began with."""

    round: RoundId


@dataclass(frozen=True)
class SendMasking:
    """Send a message of secure aggregation to a device."""

    device: str
    message: Message


@dataclass(frozen=True)
class SaveAnswer:
    """Store the verdict on an update of the open round."""

    round: RoundId
    device: str
    answer: Verdict


@dataclass(frozen=True)
class SetAside:
    """Replace the admission of an update in the open round by a refusal."""

    round: RoundId
    device: str
    answer: Verdict
    """The verdict from now on."""


@dataclass(frozen=True)
class DropAnswer:
    """Remove the refusal of a device in the open round, after its quarantine: it may send again."""

    round: RoundId
    device: str
    digest: bytes


@dataclass(frozen=True)
class CountRefusal:
    """Count a refused message of a device."""

    device: str
    reason: Reason


@dataclass(frozen=True)
class SaveStatus:
    """Store a device's status."""

    device: str
    status: Status


@dataclass(frozen=True)
class SaveMissed:
    """Store a device's misses; None: it has none."""

    device: str
    missed: Missed | None


@dataclass(frozen=True)
class SaveRound:
    """Store a round or its next attempt, before it is announced."""

    round: RoundId
    kind: str
    attempt: int
    cohorts: tuple[Cohort, ...]
    quorum: int | None = None
    """The number of updates that close it; None: `[rounds] quorum` is that number."""


@dataclass(frozen=True)
class SaveElapsed:
    """Store how long the open attempt has lasted, for a restart."""

    round: RoundId
    elapsed_s: float


@dataclass(frozen=True)
class Subscribe:
    """Subscribe to updates, statuses and `service`."""


@dataclass(frozen=True)
class PublishService:
    """Publish whether this aggregator is online; the message is retained."""

    service: Service


@dataclass(frozen=True)
class PublishBlobs:
    """Publish all frames of task and model; answered by `BlobsPublished` when the broker has them."""

    round: RoundId
    task: Blob
    model: Blob | None
    form: CodedForm | None = None
    """The coded form to publish in place of the model; None: the model itself."""


@dataclass(frozen=True)
class MoveContent:
    """Store that a content is in another slot from now on."""

    kind: str
    """`task`, `model`, `coded` (the coded form of the model) or `key`."""
    blob: Blob
    """With its new slot."""


@dataclass(frozen=True)
class PublishManifest:
    """Announce the open round, or that learning is done."""

    manifest: Manifest


@dataclass(frozen=True)
class ClearSlots:
    """Clear the slots that the announced manifest does not name."""

    task: int
    model: int | None
    key: int | None = None
    """The slot of the key frame; None: it names none, and both slots are cleared."""


@dataclass(frozen=True)
class SendReceipt:
    """Send a verdict to a device."""

    device: str
    receipt: Receipt


@dataclass(frozen=True)
class CloseRound:
    """Compute the model from the admitted updates, and save it.

    It is computed on another thread, and may take long. `RoundClosed`, `CloseFailed` or `MeanUnusable`
    answers.
    """

    round: RoundId
    kind: str


@dataclass(frozen=True)
class ExportModel:
    """Write the files of the model that is chosen after this round, and publish it.

    An error there never stops learning. `ExportPublished` answers.
    """

    round: RoundId


@dataclass(frozen=True)
class Complete:
    """Learning is done, and announced."""

    why: str


@dataclass(frozen=True)
class Abort:
    """End the program: because it gives way to another aggregator, or because the operator has to decide."""

    text: str
    gave_way: bool
    later: bool = False
    """Whether statuses that come later may change that."""


@dataclass(frozen=True)
class Log:
    """Write one line into the log.

    A line that a device causes has its name, and a cause (one of few names). Such a line is logged once for
    each device and cause, and then only counted.
    """

    level: str
    text: str
    device: str | None = None
    cause: str = ""


DURABLE = (
    SpoolFrame,
    DropSpool,
    BeginExchange,
    KeepMasking,
    EndPhase,
    DropExchange,
    SaveNoSum,
    SaveAnswer,
    SetAside,
    DropAnswer,
    SaveMissed,
    SaveRound,
    SaveElapsed,
    MoveContent,
)

GATHERED = (CountRefusal, SaveStatus)

STORED = DURABLE + GATHERED
"""The effects that are written into the ledger."""

MOMENTS = ("Commit", "Acknowledge", "Average", "Export", "PublishExport")
"""Actions of the shell that are not effects of the core, by the names of their failpoints."""

Effect = (
    SpoolFrame
    | DropSpool
    | ReadUpdate
    | ReadMasking
    | BeginExchange
    | KeepMasking
    | EndPhase
    | DropExchange
    | SaveNoSum
    | SendMasking
    | SaveAnswer
    | SetAside
    | DropAnswer
    | CountRefusal
    | SaveStatus
    | SaveMissed
    | SaveRound
    | SaveElapsed
    | Subscribe
    | PublishService
    | PublishBlobs
    | MoveContent
    | PublishManifest
    | ClearSlots
    | SendReceipt
    | CloseRound
    | ExportModel
    | Complete
    | Abort
    | Log
)
