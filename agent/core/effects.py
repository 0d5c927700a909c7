"""Effects: the core returns them, and the runtime performs them in that order."""

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
    """Subscribe to the frames of what is missing: `task`, `model` or both."""

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
    """Stop the work under way."""

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
    """Remember the known keys and the last one's announcement, durably; forget those of earlier keys."""

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
    """Of a survey: the source, and its snapshot, which later surveys send again."""
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
    """Remember the verdict on the saved update, durably; it decides on the state too.

    The state that waits with an admitted update becomes the current one; that of a refused one is dropped.
    """

    digest: bytes
    verdict: str
    resets: bool = False
    """Nobody knows whether the update counted: the algorithm begins anew."""


@dataclass(frozen=True)
class ResetState:
    """Let the algorithm begin anew in the next work, durably."""


@dataclass(frozen=True)
class Disconnect:
    """Disconnect for some seconds; `farewell`: publish the offline status first."""

    seconds: float
    farewell: bool = False


@dataclass(frozen=True)
class Log:
    """Write a line to the device's log."""

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
