"""The events that a device's decisions depend on. `now_s` is the time of the event, in monotonic seconds."""

from dataclasses import dataclass

from agent.core.conditions import UNMEASURED, Readings
from agent.core.state import AlgorithmState, MaskedUpdate, PersonalState
from agent.data.snapshot import Snapshot
from fedge.data.disclosure import Public, withheld
from fedge.identity.trust import Signers
from fedge.wire.freshness import RoundId
from fedge.wire.messages.frame import Frame
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.receipt import Receipt
from fedge.wire.messages.status import Status
from fedge.wire.reasons import Reason


@dataclass(frozen=True)
class LinkUp:
    """The broker accepted connection number `connection` of this boot."""

    now_s: float
    connection: int


@dataclass(frozen=True)
class LinkDown:
    """The connection was lost."""


@dataclass(frozen=True)
class RoundAnnounced:
    """A manifest arrived, which announces a round."""

    now_s: float
    manifest: Manifest
    left_s: float
    """For how many seconds the round is open from now on. The age of the manifest is subtracted."""
    signers: Signers = ()
    """The known keys, including those that this announcement brought. The last one has signed it. Empty: no
    key is pinned."""
    readings: Readings = UNMEASURED
    """The measurements at this moment, for the owner's conditions."""


@dataclass(frozen=True)
class FrameArrived:
    """A new frame of the task or the model arrived. Other frames of the same message are still missing."""

    now_s: float


@dataclass(frozen=True)
class Fetched:
    """A task or model has arrived as a whole, with the right digest."""

    now_s: float
    kind: str
    """`task` or `model`."""
    digest: bytes
    source: str | None = None
    """The source that a task names."""
    unknown: tuple[str, ...] = ()
    """Names in it that this program does not know."""


@dataclass(frozen=True)
class Done:
    """The worker has finished the work of a round."""

    now_s: float
    round: RoundId
    digest: bytes
    """SHA-256 of `payload`."""
    payload: bytes
    """The packed answer: an update or a survey."""
    samples: int
    """The number of training samples."""
    snapshot: tuple[str, Snapshot] | None = None
    """For a survey: the source, and the snapshot that surveys report of it from now on."""
    pending: AlgorithmState | None = None
    """For training with an algorithm or a codec that has a state: the new state."""
    personal: PersonalState | None = None
    """What the device keeps of its own models from now on; None: what it has."""
    masked: MaskedUpdate | None = None
    """The update that `payload` promises, in a masked round."""


@dataclass(frozen=True)
class Failed:
    """The work of a round cannot be done, or its result cannot be kept."""

    round: RoundId
    reason: Reason
    detail: str
    """The text for the device's own log. It may name files and columns, and quote other programs."""
    public: Public | None = None
    """The text that is sent; None: only the reason is sent."""

    @property
    def told(self) -> Public:
        """The text that is sent: `public`, or a text of the reason alone."""
        return self.public or withheld(self.reason)


@dataclass(frozen=True)
class ReceiptArrived:
    """A receipt arrived: the aggregator's answer to an update."""

    now_s: float
    receipt: Receipt


@dataclass(frozen=True)
class MaskingArrived:
    """A frame of a message of secure aggregation arrived."""

    frame: Frame


@dataclass(frozen=True)
class StatusSeen:
    """A status arrived on this device's own topic."""

    now_s: float
    status: Status
    live: bool
    """Whether it was published now; False: the broker had retained it."""


@dataclass(frozen=True)
class KeepFailed:
    """The model file could not be written. This is tried again soon, and when the next model is followed."""

    now_s: float


@dataclass(frozen=True)
class Judged:
    """A new model was compared with the one that `predict` uses."""

    digest: bytes
    accepted: bool
    why: str
    """The reason, for the device's own log."""


@dataclass(frozen=True)
class UseFailed:
    """The file of the model that `predict` is to use could not be written."""

    used: bytes | None
    """Digest of the former model, which stays in use."""


@dataclass(frozen=True)
class SignersUnsaved:
    """A change of the signing key could not be saved. The state is the one from before its announcement."""


@dataclass(frozen=True)
class ConditionsChanged:
    """The owner's conditions were measured again, which happens before every `Tick`."""

    now_s: float
    readings: Readings


@dataclass(frozen=True)
class Tick:
    """Time has passed. The runtime sends this when `due_s(state)` is reached."""

    now_s: float


Event = (
    LinkUp
    | LinkDown
    | RoundAnnounced
    | FrameArrived
    | Fetched
    | Done
    | Failed
    | ReceiptArrived
    | MaskingArrived
    | StatusSeen
    | KeepFailed
    | Judged
    | UseFailed
    | SignersUnsaved
    | ConditionsChanged
    | Tick
)
