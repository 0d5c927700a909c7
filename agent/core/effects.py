"""What a device does: the core lists these, the runtime performs them in that order."""

from dataclasses import dataclass

from agent.core.state import AlgorithmState
from agent.data.snapshot import Snapshot
from fedge.identity.trust import Signers
from fedge.wire.freshness import Attempt, RoundId
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.status import Status


@dataclass(frozen=True)
class Subscribe:
    """Subscribe to `round`, the own `receipt` and the own `status`."""


@dataclass(frozen=True)
class PublishStatus:
    """Publish the retained status."""

    status: Status


@dataclass(frozen=True)
class Fetch:
    """Subscribe to the frames of what is lacking: `task`, `model` or both."""

    manifest: Manifest
    task: bool
    model: bool


@dataclass(frozen=True)
class StopFetching:
    """Unsubscribe from all frames and drop what arrived in part."""


@dataclass(frozen=True)
class StartWork:
    """Start the survey or the training of this round on the worker."""

    manifest: Manifest


@dataclass(frozen=True)
class CancelWork:
    """The work under way is no longer wanted."""

    round: RoundId


@dataclass(frozen=True)
class KeepModel:
    """Write the model that was fetched to its file, atomically."""

    manifest: Manifest


@dataclass(frozen=True)
class JudgeModel:
    """Have the worker measure the model at hand against the one that `predict` uses."""

    digest: bytes


@dataclass(frozen=True)
class UseModel:
    """Write the model that was judged, or else the one at hand, to the file that `predict` reads."""

    digest: bytes


@dataclass(frozen=True)
class SaveSigners:
    """Remember the keys known and what the last one announced, durably, and forget what those before have."""

    signers: Signers
    seen: Attempt


@dataclass(frozen=True)
class SaveSeen:
    """Remember the newest announcement, durably."""

    attempt: Attempt


@dataclass(frozen=True)
class SaveUpdate:
    """Keep an update until it is answered, and its attempt as seen, durably; it replaces the one before."""

    attempt: Attempt
    digest: bytes
    payload: bytes
    snapshot: tuple[str, Snapshot] | None = None
    """Of a survey: the source, and what is told of it from now on."""
    pending: AlgorithmState | None = None
    """The algorithm's new state, which waits for the update's verdict."""


@dataclass(frozen=True)
class PublishUpdate:
    """Publish the saved update: these frames of it, or all."""

    digest: bytes
    frames: tuple[int, ...] | None
    asks: RoundId | None = None
    """Frame 0 asks what became of the update in this round, which is over."""


@dataclass(frozen=True)
class SaveVerdict:
    """Remember what became of the saved update, and with it what becomes of the state, durably.

    The state that waits with an admitted update becomes the current one; that of a refused one is dropped.
    """

    digest: bytes
    verdict: str
    resets: bool = False
    """Nobody knows whether it counted: the algorithm begins anew."""


@dataclass(frozen=True)
class ResetState:
    """Let the algorithm begin anew in the next work, durably."""


@dataclass(frozen=True)
class Disconnect:
    """Leave the broker for a while; `farewell`: not without saying that this device is offline."""

    seconds: float
    farewell: bool = False


@dataclass(frozen=True)
class Log:
    """Tell the owner, in one line."""

    level: str
    text: str


Effect = (
    Subscribe
    | PublishStatus
    | Fetch
    | StopFetching
    | StartWork
    | CancelWork
    | KeepModel
    | JudgeModel
    | UseModel
    | SaveSigners
    | SaveSeen
    | SaveUpdate
    | PublishUpdate
    | SaveVerdict
    | ResetState
    | Disconnect
    | Log
)
