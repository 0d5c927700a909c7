"""A device's state, on which all its decisions depend."""

from dataclasses import dataclass, field
from math import inf

from agent.core.conditions import UNMEASURED, Readings
from agent.settings.conditions import ConditionsSettings
from agent.settings.limits import LimitsSettings
from agent.settings.sources import DEFAULT_SOURCE
from agent.settings.trust import TrustSettings
from fedge.identity.trust import Signers
from fedge.wire.capabilities import can
from fedge.wire.freshness import Attempt, RoundId
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.status import Decline

NEVER = Attempt(RoundId(0, 0), 0)


@dataclass(frozen=True)
class Saved:
    """The update on disk, and the aggregator's verdict on it."""

    round: RoundId
    digest: bytes
    verdict: str | None = None
    """`admitted` or `refused`; None: not answered yet."""
    ours: bool = True
    """Whether it was made since this program started. If not, an older program that could do less may have
    made it."""
    pending: bool = False
    """Whether a new state of the algorithm waits for the verdict on this update."""
    own_models: bool = False
    """Whether the device's own models were made with this update: the same round must not make them twice."""


@dataclass(frozen=True)
class Idle:
    """The device has nothing to do in this round."""


@dataclass(frozen=True)
class Fetching:
    """The device waits for frames of the task or the model."""

    to_work: bool
    """Whether the device will work with them; False: it only follows the model."""
    due_s: float
    """When to request the frames again, unless one arrives before, in monotonic seconds."""
    tries: int = 0
    """How often they were requested again since this connection began."""


@dataclass(frozen=True)
class Working:
    """The worker does the work of this round."""

    round: RoundId


@dataclass(frozen=True)
class Reporting:
    """The device sends the saved update again and again, until a receipt arrives."""

    frames: tuple[int, ...]
    """The frames to send next: frame 0, or those that the aggregator lacks."""
    due_s: float
    """When to send them, in monotonic seconds."""
    tries: int = 0
    """How often they were sent again."""
    held: bool = False
    """Whether the aggregator has asked to send them later."""


@dataclass(frozen=True)
class Asking(Reporting):
    """Like `Reporting`, for the update of an earlier round, whose verdict must be known before the next work.

    The verdict decides with which state of the algorithm the next work begins.
    """


Work = Idle | Fetching | Working | Reporting | Asking


@dataclass(frozen=True)
class Device:
    """Everything on which a device's decisions depend. Times are monotonic seconds."""

    device: str
    boot: bytes
    version: str
    follow_s: float
    """A device that is not chosen follows the model at least this often, in seconds."""
    limits: LimitsSettings = field(default_factory=LimitsSettings)
    """The most that a federation may ask of this device."""
    conditions: ConditionsSettings = field(default_factory=ConditionsSettings)
    """The conditions under which this device accepts work."""
    trust: TrustSettings = field(default_factory=TrustSettings)
    """What a round must promise."""
    offered: frozenset[str] = frozenset({DEFAULT_SOURCE})
    """The names of its sources."""
    can: frozenset[str] = field(default_factory=can)
    """What this device can do, as names of `fedge.wire.capabilities`."""
    untrained: frozenset[str] = frozenset()
    """Names that are missing in `can` because the owner's trainer does not do them."""
    unjudged: frozenset[str] = frozenset()
    """Names that are missing in `can` because the owner's gate cannot judge their models."""
    uncertified: frozenset[str] = frozenset()
    """Names that are missing in `can` because the device has no certificate, or no `cryptography`."""
    own_boots: frozenset[bytes] = frozenset()
    """Earlier boot ids of this state folder. Wills and statuses with these ids are this device's own."""
    link_up: bool = False
    connection: int = 0
    """The number of the connection in this boot, counted from 1."""
    returned: bool = False
    """Whether this is a later connection than the first of this boot."""
    signers: Signers = ()
    """The keys that have signed announcements. Only the last one is believed. Empty: no key is pinned."""
    seen: Attempt = NEVER
    """The newest attempt that was announced."""
    passed_over: Attempt | None = None
    """The value of `seen` when an older announcement was last logged, which happens once for each value."""
    manifest: Manifest | None = None
    plan_changes: int = 0
    """How often the plan was changed within the announced attempt."""
    closes_s: float = 0.0
    """When the announced round ends, unless it is announced again."""
    task: bytes | None = None
    """Digest of the task that this device has in memory."""
    source: str | None = None
    """The source that this task names."""
    task_unknown: tuple[str, ...] = ()
    """Names in this task that the program does not know."""
    model: bytes | None = None
    """Digest of the model that this device has in memory."""
    key: bytes | None = None
    """Digest of the key frame with which it was made, or that it is; only to estimate what a fetch takes."""
    model_unknown: tuple[str, ...] = ()
    """Names in this model that the program does not know."""
    kept: bytes | None = None
    """Digest of the model in the model file."""
    gated: bool = False
    """Whether there is a gate: `predict` uses a new model only if it is not worse than the one in use."""
    used: bytes | None = None
    """Digest of the model that `predict` uses, if there is a gate."""
    judging: bytes | None = None
    """Digest of the model that is being measured for the gate."""
    unfit: bytes | None = None
    """Digest of the model that was measured last and was rejected."""
    followed_s: float = -inf
    """When the model was last downloaded or found on disk; -inf: never."""
    saved: Saved | None = None
    masked_in: RoundId | None = None
    """The newest round that was announced as masked: no update of it leaves this device without masks."""
    remembers: RoundId | None = None
    """The round of the admitted update with which the algorithm's current state was made; None: the algorithm
    has no state yet."""
    declined: Decline | None = None
    samples: int | None = None
    readings: Readings = UNMEASURED
    """The last measurements."""
    measure_s: float = -inf
    """When to measure again."""
    work: Work = Idle()

    @property
    def lacks_task(self) -> bool:
        """Whether the manifest's task is still to be fetched."""
        return self.manifest is not None and self.manifest.task.digest != self.task

    @property
    def lacks_model(self) -> bool:
        """Whether the manifest's model is still to be fetched. There is none before the survey is closed."""
        wanted = self.manifest.model if self.manifest is not None else None
        return wanted is not None and wanted.digest != self.model
