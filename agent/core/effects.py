"""The effects that the core returns. The runtime performs them in their order."""

from dataclasses import dataclass

from agent.core.state import AlgorithmState, MaskedUpdate, PersonalState
from agent.data.snapshot import Snapshot
from fedge.identity.trust import Signers
from fedge.wire.freshness import Attempt, RoundId
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.status import Status


@dataclass(frozen=True)
class Subscribe:
    """Subscribe to `round`, and to this device's `receipt` and `status`."""


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
    """Unsubscribe from all frames, and drop messages of which only a part arrived."""


@dataclass(frozen=True)
class StartWork:
    """Start the work of this round on the worker."""

    manifest: Manifest


@dataclass(frozen=True)
class CancelWork:
    """Stop the work of this round."""

    round: RoundId


@dataclass(frozen=True)
class KeepModel:
    """Write the fetched model to the model file, atomically."""

    manifest: Manifest


@dataclass(frozen=True)
class JudgeModel:
    """Let the worker compare the newest model with the one that `predict` uses."""

    digest: bytes


@dataclass(frozen=True)
class UseModel:
    """Write the model that was judged, or else the newest one, to the file that `predict` reads."""

    digest: bytes


@dataclass(frozen=True)
class SaveSigners:
    """Save the known keys and the attempt that the last key announced, and forget those of earlier keys."""

    signers: Signers
    seen: Attempt


@dataclass(frozen=True)
class SaveSeen:
    """Save the newest attempt that was announced."""

    attempt: Attempt


@dataclass(frozen=True)
class SaveUpdate:
    """Save an update, which replaces the former one, and its attempt as the newest seen."""

    attempt: Attempt
    digest: bytes
    payload: bytes
    snapshot: tuple[str, Snapshot] | None = None
    """For a survey: the source, and its snapshot, which later surveys report again."""
    pending: AlgorithmState | None = None
    """The algorithm's new state, which waits for the verdict on the update."""
    personal: PersonalState | None = None
    """What the device keeps of its own models from now on, whatever the verdict; None: what it has."""
    round: RoundId | None = None
    """The round that the update was made for, if it is an older one than that of the attempt."""
    masked: MaskedUpdate | None = None
    """The update that the payload promises, in a masked round; one of an earlier round is dropped."""


@dataclass(frozen=True)
class PublishUpdate:
    """Publish the saved update."""

    digest: bytes
    frames: tuple[int, ...] | None
    """The numbers of the frames to publish; None: all."""
    asks: RoundId | None = None
    """If set, frame 0 asks for the verdict on the update in this round, which is over."""


@dataclass(frozen=True)
class SaveVerdict:
    """Save the verdict on the saved update.

    With "admitted" the algorithm's pending state becomes the current one. With "refused" it is dropped.
    """

    digest: bytes
    verdict: str
    resets: bool = False
    """Whether all states are dropped, because it is not known whether the update counted."""


@dataclass(frozen=True)
class ResetState:
    """Drop the algorithm's states, so that it begins anew in the next work."""


@dataclass(frozen=True)
class Disconnect:
    """Disconnect for some seconds."""

    seconds: float
    farewell: bool = False
    """Whether to publish the offline status before."""


@dataclass(frozen=True)
class Log:
    """Write a line to the device's log."""

    level: str
    text: str


MOMENTS = ("SaveState", "RaiseMark", "Send")
"""What is done in secure aggregation, by the names of the failpoints (`agent.shell.masked_rounds`)."""

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
