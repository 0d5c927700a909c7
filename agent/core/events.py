"""Events: everything that a device's decisions depend on comes in as one of these."""

from dataclasses import dataclass

from agent.core.conditions import UNMEASURED, Readings
from agent.core.state import AlgorithmState
from agent.data.snapshot import Snapshot
from fedge.data.disclosure import Public, withheld
from fedge.identity.trust import Signers
from fedge.wire.freshness import RoundId
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
    """The connection is gone."""


@dataclass(frozen=True)
class RoundAnnounced:
    """A manifest arrived, and lasts `left_s` seconds from now (its age is subtracted).

    `readings`: what was measured then, for the owner's conditions.
    """

    now_s: float
    manifest: Manifest
    left_s: float
    signers: Signers = ()
    """The keys known with this announcement, the one that signed it last; none where no key is pinned."""
    readings: Readings = UNMEASURED


@dataclass(frozen=True)
class FrameArrived:
    """A new frame of what is being fetched arrived; others of its message are still missing."""

    now_s: float


@dataclass(frozen=True)
class Fetched:
    """A task or model is here, whole and with the right digest.

    `source`: what a task names. `unknown`: what of it this program does not know.
    """

    now_s: float
    kind: str
    digest: bytes
    source: str | None = None
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Done:
    """The trainer finished: `payload` is the packed update or survey, `digest` its SHA-256."""

    now_s: float
    round: RoundId
    digest: bytes
    payload: bytes
    samples: int
    snapshot: tuple[str, Snapshot] | None = None
    """Of a survey: the source, and what is told of it from now on."""
    pending: AlgorithmState | None = None
    """Of training with an algorithm or a codec that remembers something: its new state."""


@dataclass(frozen=True)
class Failed:
    """The work of a round cannot be done, or its result cannot be kept."""

    round: RoundId
    reason: Reason
    detail: str
    """For the device's own log: it may name files, columns, and what other programs said."""
    public: Public | None = None
    """What is told to others; None: nothing but the reason."""

    @property
    def told(self) -> Public:
        """What leaves the device."""
        return self.public or withheld(self.reason)


@dataclass(frozen=True)
class ReceiptArrived:
    """The aggregator answered."""

    now_s: float
    receipt: Receipt


@dataclass(frozen=True)
class StatusSeen:
    """A status arrived on this device's own topic; `live`: published now, not retained."""

    now_s: float
    status: Status
    live: bool


@dataclass(frozen=True)
class KeepFailed:
    """The model could not be written; that is tried again soon, and when the next model is followed."""

    now_s: float


@dataclass(frozen=True)
class Judged:
    """A new model was measured against the one that `predict` uses."""

    digest: bytes
    accepted: bool
    why: str
    """For the device's own log."""


@dataclass(frozen=True)
class UseFailed:
    """The model that is to be used could not be written: `used`, the digest of the one before, still is."""

    used: bytes | None


@dataclass(frozen=True)
class SignersUnsaved:
    """A change of the signing key could not be made durable: the state is that of before its announcement."""


@dataclass(frozen=True)
class ConditionsChanged:
    """The device was measured again, as it is before every `Tick`."""

    now_s: float
    readings: Readings


@dataclass(frozen=True)
class Tick:
    """Time passed; sent when `due_s(state)` is reached."""

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
    | StatusSeen
    | KeepFailed
    | Judged
    | UseFailed
    | SignersUnsaved
    | ConditionsChanged
    | Tick
)
