"""A device's state: all that its decisions depend on."""

from dataclasses import dataclass, field
from math import inf

from agent.core.conditions import UNMEASURED, Readings
from agent.settings.conditions import ConditionsSettings
from agent.settings.limits import LimitsSettings
from agent.settings.sources import DEFAULT_SOURCE
from fedge.identity.trust import Signers
from fedge.wire.capabilities import can
from fedge.wire.freshness import Attempt, RoundId
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.status import Decline

NEVER = Attempt(RoundId(0, 0), 0)


@dataclass(frozen=True)
class Saved:
    """The update on disk, and the verdict on it (`None`: not answered yet)."""

    round: RoundId
    digest: bytes
    verdict: str | None = None
    ours: bool = True
    """Made since this program started; else an older program, which could do less, may have made it."""
    pending: bool = False
    """A new state of the algorithm waits with it for its verdict."""


@dataclass(frozen=True)
class Idle:
    """Nothing to do in this round."""


@dataclass(frozen=True)
class Fetching:
    """Waiting for the frames of the task or the model, to work or only to follow."""

    to_work: bool
    due_s: float
    """When to ask for them again, unless one arrives before."""
    tries: int = 0
    """How often they were asked for again since this connection began."""


@dataclass(frozen=True)
class Working:
    """The worker surveys or trains."""

    round: RoundId


@dataclass(frozen=True)
class Reporting:
    """The saved update is being repeated until a receipt comes."""

    frames: tuple[int, ...]
    """What to send when due: frame 0, or those the aggregator misses."""
    due_s: float
    tries: int = 0


@dataclass(frozen=True)
class Asking(Reporting):
    """As `Reporting`, of an earlier round: the verdict on its update must be known before another is made.

    Its verdict decides which state of the algorithm the next work begins with.
    """


Work = Idle | Fetching | Working | Reporting | Asking


@dataclass(frozen=True)
class Device:
    """All that a device's decisions depend on."""

    device: str
    boot: bytes
    version: str
    follow_s: float
    """A device that is not chosen follows the model at least this often."""
    limits: LimitsSettings = field(default_factory=LimitsSettings)
    """The most that a federation may ask of this device."""
    conditions: ConditionsSettings = field(default_factory=ConditionsSettings)
    """When this device takes up work."""
    offered: frozenset[str] = frozenset({DEFAULT_SOURCE})
    """The names of its sources."""
    can: frozenset[str] = field(default_factory=can)
    """What this program can do, as names of `fedge.wire.capabilities`."""
    own_boots: frozenset[bytes] = frozenset()
    """Earlier boot ids of this state folder: wills and statuses with them are this device's own."""
    link_up: bool = False
    connection: int = 0
    returned: bool = False
    """This is not the first connection of this boot."""
    signers: Signers = ()
    """The keys known to have signed announcements, of which the last is believed; none: no key is pinned."""
    seen: Attempt = NEVER
    """The newest announcement."""
    passed_over: Attempt | None = None
    """The value of `seen` when an older announcement was last logged: it is logged once."""
    manifest: Manifest | None = None
    plan_changes: int = 0
    """How often the plan was changed within the announced attempt."""
    closes_s: float = 0.0
    """When the announced round ends, unless it is announced again."""
    task: bytes | None = None
    """Digest of the task at hand."""
    source: str | None = None
    """The source that this task names."""
    task_unknown: tuple[str, ...] = ()
    """What of this task the program does not know."""
    model: bytes | None = None
    """Digest of the model at hand."""
    model_unknown: tuple[str, ...] = ()
    """What of this model the program does not know."""
    kept: bytes | None = None
    """Digest of the model in the file."""
    gated: bool = False
    """A new model reaches `predict` only if it is not worse than the one in use."""
    used: bytes | None = None
    """Digest of the model that `predict` uses, where there is a gate."""
    judging: bytes | None = None
    """Digest of the model that is being measured for it."""
    unfit: bytes | None = None
    """Digest of the model that was measured last and was rejected."""
    followed_s: float = -inf
    """When the model was last downloaded or found on disk; -inf: never."""
    saved: Saved | None = None
    remembers: RoundId | None = None
    """The round whose admitted update the current state of the algorithm came with; None: it is at its
    beginning."""
    declined: Decline | None = None
    samples: int | None = None
    readings: Readings = UNMEASURED
    """What was measured last."""
    measure_s: float = -inf
    """When to measure again."""
    work: Work = Idle()

    @property
    def lacks_task(self) -> bool:
        """Whether the manifest's task is still to be fetched."""
        return self.manifest is not None and self.manifest.task.digest != self.task

    @property
    def lacks_model(self) -> bool:
        """Whether the manifest's model is still to be fetched; there is none before the survey is closed."""
        wanted = self.manifest.model if self.manifest is not None else None
        return wanted is not None and wanted.digest != self.model
