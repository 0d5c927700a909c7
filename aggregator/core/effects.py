"""The effects of the aggregator: the core lists them, the runtime performs them.

Those in `DURABLE` are committed before any other effect of the same turn is performed (law 4); those in
`GATHERED` are written with the next beat at the latest, because nothing that is seen depends on them.
"""

from dataclasses import dataclass

from aggregator.core.verdicts import Missed, Verdict
from fedge.wire.freshness import RoundId
from fedge.wire.messages.frame import Blob, Frame
from fedge.wire.messages.manifest import Cohort, Manifest
from fedge.wire.messages.receipt import Receipt
from fedge.wire.messages.service import Service
from fedge.wire.messages.status import Status
from fedge.wire.reasons import Reason


@dataclass(frozen=True)
class SpoolFrame:
    """Keep a frame."""

    device: str
    frame: Frame


@dataclass(frozen=True)
class DropSpool:
    """Delete the frames of an update that will not count."""

    device: str
    digest: bytes


@dataclass(frozen=True)
class ReadUpdate:
    """Put the frames together, check the digest, read the message: `UpdateRead`."""

    device: str
    digest: bytes


@dataclass(frozen=True)
class SaveAnswer:
    """Keep the verdict on an update of the round that is open."""

    round: RoundId
    device: str
    answer: Verdict


@dataclass(frozen=True)
class SetAside:
    """Take back the admission of an update of the open round."""

    round: RoundId
    device: str
    answer: Verdict
    """The verdict from now on."""


@dataclass(frozen=True)
class DropAnswer:
    """Take back the refusal of a lifted device in the open round: it may send the update again."""

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
    """Keep a device's status."""

    device: str
    status: Status


@dataclass(frozen=True)
class SaveMissed:
    """Keep a device's misses; None: it answers."""

    device: str
    missed: Missed | None


@dataclass(frozen=True)
class SaveRound:
    """Keep the cohorts before they are announced."""

    round: RoundId
    kind: str
    attempt: int
    cohorts: tuple[Cohort, ...]
    quorum: int | None = None
    """The updates that it takes, where the rule is a share of the devices."""


@dataclass(frozen=True)
class SaveElapsed:
    """Keep how long the round has lasted, for a restart."""

    round: RoundId
    elapsed_s: float


@dataclass(frozen=True)
class Subscribe:
    """Subscribe to updates, statuses and `service`."""


@dataclass(frozen=True)
class PublishService:
    """Publish the retained presence."""

    service: Service


@dataclass(frozen=True)
class PublishBlobs:
    """Publish all frames of task and model; `BlobsPublished` when the broker has them."""

    round: RoundId
    task: Blob
    model: Blob | None


@dataclass(frozen=True)
class PublishManifest:
    """Announce the open round, or that learning is done."""

    manifest: Manifest


@dataclass(frozen=True)
class ClearSlots:
    """Clear the slots that the announced manifest does not name."""

    task: int
    model: int | None


@dataclass(frozen=True)
class SendReceipt:
    """Send a verdict to a device."""

    device: str
    receipt: Receipt


@dataclass(frozen=True)
class CloseRound:
    """Compute the model from the admitted updates, and save it: `RoundClosed`, `CloseFailed` or
    `MeanUnusable`.

    It is computed off the loop's thread, and may take long.
    """

    round: RoundId
    kind: str


@dataclass(frozen=True)
class ExportModel:
    """Write the model for those who use it, as it is chosen after this round, and publish it:
    `ExportPublished`.

    A problem there never stops learning.
    """

    round: RoundId


@dataclass(frozen=True)
class Complete:
    """Learning is done, and announced."""

    why: str


@dataclass(frozen=True)
class Abort:
    """End the program: `gave_way` to another aggregator, or because a human has to decide."""

    text: str
    gave_way: bool
    later: bool = False
    """What may still be heard can change that."""


@dataclass(frozen=True)
class Log:
    """Tell the operator, in one line.

    Where a device is the cause it is named, with what it causes it by (one of few names): that is said once,
    and then counted.
    """

    level: str
    text: str
    device: str | None = None
    cause: str = ""


DURABLE = (SpoolFrame, DropSpool, SaveAnswer, SetAside, DropAnswer, SaveMissed, SaveRound, SaveElapsed)

GATHERED = (CountRefusal, SaveStatus)

MOMENTS = ("Commit", "Acknowledge", "Average", "Export", "PublishExport")
"""Acts of the shell that are not effects of the core, by the names of their failpoints."""

Effect = (
    SpoolFrame
    | DropSpool
    | ReadUpdate
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
    | PublishManifest
    | ClearSlots
    | SendReceipt
    | CloseRound
    | ExportModel
    | Complete
    | Abort
    | Log
)
