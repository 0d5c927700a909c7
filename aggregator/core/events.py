"""The events of a federation: all that the core's decisions depend on, besides its state."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aggregator.core.coded_form import CodedForm
from aggregator.core.progress import Progress
from aggregator.core.slots import Slots
from aggregator.core.usual_distance import UsualDistance
from aggregator.core.verdicts import KeptVerdict
from fedge.masking.round_messages import Promise
from fedge.wire.freshness import RoundId
from fedge.wire.messages.frame import Blob, Frame
from fedge.wire.messages.message import Message
from fedge.wire.messages.protection import Charges
from fedge.wire.messages.service import Service
from fedge.wire.messages.status import Status
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.task import Task
from fedge.wire.messages.update import Update
from fedge.wire.reasons import Reason, Rejection


@dataclass(frozen=True)
class LinkUp:
    """The connection to the broker was made."""

    now_s: float
    finer: frozenset[str] = frozenset()
    """Of `task`, `model` and `key` those that this connection takes only in more frames than they have at the
    broker."""
    kept: bool = True
    """The broker has kept our session, so it has its retained messages too."""


@dataclass(frozen=True)
class LinkDown:
    """The connection to the broker was lost, or could not be made."""

    now_s: float
    reason: str
    taken_over: bool = False


@dataclass(frozen=True)
class BlobsPublished:
    """The broker holds all frames of task and model, or refuses them."""

    now_s: float
    round: RoundId
    refusal: str | None


@dataclass(frozen=True)
class Announced:
    """The broker has acknowledged a manifest that names these slots."""

    slots: Slots


@dataclass(frozen=True)
class Quarantined:
    """The operator has changed the quarantine: exactly these devices do not count."""

    now_s: float
    devices: frozenset[str]


@dataclass(frozen=True)
class FrameArrived:
    """A frame on the update topic of `device`."""

    now_s: float
    device: str
    frame: Frame
    verdict: KeptVerdict | None = None
    """The ledger's verdict on the update, of any kept round."""
    kept: bool = True
    """For a frame that asks: the ledger still holds the verdicts of that round."""


@dataclass(frozen=True)
class GarbageArrived:
    """Bytes on the update topic of `device` that are not a frame; `digest` is their SHA-256."""

    device: str
    digest: bytes
    reason: Reason
    detail: str


@dataclass(frozen=True)
class UpdateRead:
    """A complete update was read back from the spool, or cannot be read."""

    now_s: float
    device: str
    digest: bytes
    message: Update | Survey | Promise | Rejection
    remembered: bool = True
    """Whether the ledger still holds the verdicts of the round that it names, or the round is not closed."""
    start: NDArray[np.float32] | None = field(default=None, compare=False, repr=False)
    """The weights of shape (p,) that an update of an older version began from; None: it is of the open round,
    or that version is not one of those from which updates are admitted."""
    key: bytes | None = None
    """Of a promise: the public key of its certificate, which was checked."""


class WholeUpdate(NamedTuple):
    """An update that came in one frame, and was read before it is stored.

    It does not ask, it is made for the open round, its digest is right, and the ledger has no verdict on it.
    """

    device: str
    frame: Frame
    message: Update


@dataclass(frozen=True)
class UpdatesArrived:
    """Several updates arrived, each in one frame: as `FrameArrived` and `UpdateRead` for one after the
    other."""

    now_s: float
    updates: tuple[WholeUpdate, ...]


@dataclass(frozen=True)
class MaskingRead:
    """A complete message of secure aggregation was read back from the spool, or cannot be read."""

    now_s: float
    device: str
    digest: bytes
    message: Message | Rejection


@dataclass(frozen=True)
class StatusSeen:
    """A device's status."""

    now_s: float
    device: str
    status: Status


@dataclass(frozen=True)
class ServiceSeen:
    """A `service` message, our own or another aggregator's."""

    service: Service


@dataclass(frozen=True)
class ExportPublished:
    """The broker holds the exported model that was chosen after a round, or the reason why there is none."""

    round: RoundId


@dataclass(frozen=True)
class RoundClosed:
    """The model of a round is computed and saved, the round closed in the ledger."""

    now_s: float
    round: RoundId
    task: Blob
    task_message: Task
    model: Blob
    progress: Progress
    base: NDArray[np.float32] | None = field(default=None, compare=False, repr=False)
    """The model's weights, of shape (p,)."""
    clusters: tuple[NDArray[np.float32], ...] = field(default=(), compare=False, repr=False)
    """The further shared models, from number 1 on."""
    usual: UsualDistance = field(default_factory=UsualDistance)
    """The usual distance of an update from its base, this round's included."""
    form: CodedForm | None = None
    """The coded form in which the model is sent; None: it is sent as it is."""
    charges: Charges | None = None
    """What has been charged by now for privacy; None: nothing more."""


@dataclass(frozen=True)
class CloseFailed:
    """The admitted updates do not make a model; they remain admitted."""

    now_s: float
    round: RoundId
    detail: str
    charges: Charges | None = None
    """What has been charged by now for privacy; None: nothing more."""


@dataclass(frozen=True)
class MeanUnusable:
    """The mean of the admitted updates is not usable; without those of `devices` it is."""

    now_s: float
    round: RoundId
    devices: tuple[str, ...]
    detail: str


@dataclass(frozen=True)
class Tick:
    """Time passed; sent when `due_s(state)` is reached."""

    now_s: float


Event = (
    LinkUp
    | LinkDown
    | BlobsPublished
    | Announced
    | Quarantined
    | FrameArrived
    | GarbageArrived
    | UpdateRead
    | UpdatesArrived
    | MaskingRead
    | StatusSeen
    | ServiceSeen
    | ExportPublished
    | RoundClosed
    | CloseFailed
    | MeanUnusable
    | Tick
)
