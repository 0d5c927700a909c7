"""The state of the aggregator's core: everything that its decisions depend on."""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from aggregator.core.claim_counts import ClaimCounts
from aggregator.core.effects import Effect
from aggregator.core.latest import latest
from aggregator.core.parts import Part, Parts
from aggregator.core.per_device import Devices, PerDevice
from aggregator.core.quorum import FEWEST
from aggregator.core.stopping import Progress, Stopping
from aggregator.core.usual import Usual
from aggregator.core.verdicts import Missed, Verdict
from aggregator.phases.phase import phase_of
from fedge.algorithms.plan import Plan
from fedge.algorithms.registry import CODECS, LOCAL
from fedge.identity.trust import Signers
from fedge.wire.capabilities import required
from fedge.wire.frames import Partial
from fedge.wire.freshness import RoundId
from fedge.wire.messages.frame import Blob
from fedge.wire.messages.manifest import Cohort
from fedge.wire.messages.service import Service
from fedge.wire.messages.status import Decline
from fedge.wire.messages.task import Task


class Stage(StrEnum):
    """The stages of a round."""

    PREPARING = "preparing"
    COLLECTING = "collecting"
    CLOSING = "closing"
    DONE = "done"


@dataclass(frozen=True)
class Rules:
    """How rounds run; the same keys as `[rounds]`."""

    fraction: float
    target: int | None
    quorum: int | float
    """A number of updates, or a share of the devices (`aggregator.core.quorum`)."""
    deadline_s: float
    max_norm: float = 100.0
    clip_norm: float = 2.5
    max_weight: float = 10.0


@dataclass(frozen=True)
class Federation:
    """Everything that the aggregator's decisions depend on."""

    rules: Rules
    stopping: Stopping
    plan: Plan
    seed: int
    roster: frozenset[str] | None
    max_samples: int
    ledger: bytes
    instance: bytes
    round: RoundId
    kind: str
    """The name of its phase (`aggregator.phases`)."""
    task: Blob
    task_message: Task
    weights: int
    """p, the length of the model's vector."""
    rule: Part = field(default_factory=lambda: Part("mean"))
    """The rule that makes one vector of the updates."""
    server: Part = field(default_factory=lambda: Part("average"))
    """The server optimizer that makes the next model of that vector."""
    clip: float | None = None
    """The bound on standardized inputs that a survey closes with if all devices can, in standard deviations;
    None: none is wanted."""
    signers: Signers = ()
    """Our public keys, the one that signs announcements last; none: they are not signed."""
    quarantined: frozenset[str] = frozenset()
    """Devices that the operator has set aside: neither awaited nor counted."""
    turned_away: Devices = field(default_factory=Devices)
    """Devices that were refused for that in the open attempt; once lifted, they may answer the next one."""
    untrusting_devices: Devices = field(default_factory=Devices)
    """Devices that trust a key which is not ours."""
    model: Blob | None = None
    base: NDArray[np.float32] | None = field(default=None, compare=False, repr=False)
    """The weights of `model`, of shape (p,): what the round's updates begin from."""
    usual: Usual = field(default_factory=Usual)
    """How far from its base an update of this generation usually is."""
    stage: Stage = Stage.PREPARING
    attempt: int = 0
    """How often the round's deadline has passed below quorum."""
    quorum: int | None = None
    """The updates that the open attempt takes, where the rule is a share of the devices."""
    cohorts: tuple[Cohort, ...] = ()
    """By attempt; the last is the current one. The first that chooses everybody is that of all after it."""
    elapsed_s: float = 0.0
    since_s: float | None = None
    """Since when the round's time runs, on top of `elapsed_s`; None: it stands still, because there is no
    connection or the attempt was never announced."""
    published: bool = False
    """The broker has acknowledged task and model over the present connection."""
    announced: bool = False
    """The open attempt was announced, over this connection or another: it is retained and may be answered."""
    waiting_from_s: float = 0.0
    """The attempt's time when waiting over the present connection began."""
    came_s: PerDevice[float] = field(default_factory=PerDevice)
    """The attempt's time when each device began to be awaited that was not at its beginning."""
    waited_s: PerDevice[float] = field(default_factory=PerDevice)
    """How long the attempt had waited for each that is awaited again, before it came back; over the
    connection there is."""
    left_s: PerDevice[float] = field(default_factory=PerDevice)
    """How long it has waited for each that went or declined since the last update that was admitted."""
    vain_s: PerDevice[float] = field(default_factory=PerDevice)
    """How long rounds have waited for each device since its last miss or update that was admitted."""
    answers: PerDevice[Verdict] = field(default_factory=PerDevice)
    admitted: int = 0
    """The number of admitted updates among the answers."""
    insufficient: frozenset[str] = frozenset()
    """The devices whose admitted updates did not make a model: more are needed."""
    untried: int = 0
    """The number of admitted updates of other devices than these."""
    partials: PerDevice[Partial] = field(default_factory=PerDevice)
    spooled: int = 0
    """The bytes that the partials are charged."""
    fleet: Devices = field(default_factory=Devices)
    """Every device that has sent a status, online or not."""
    online: Devices = field(default_factory=Devices)
    abilities: PerDevice[frozenset[str]] = field(default_factory=PerDevice)
    """The capabilities of each device that has sent a status, as names of `fedge.wire.capabilities`."""
    declined: PerDevice[Decline] = field(default_factory=PerDevice)
    """Each device's last decline, of this round or another."""
    awaited: Devices = field(default_factory=Devices)
    """Online, chosen, not given up, and neither answered nor declined."""
    asked: Devices = field(default_factory=Devices)
    """Online or answered, chosen, and not given up unless they are failing; while the round collects."""
    failing: Devices = field(default_factory=Devices)
    """Those of them that decline because they cannot train from the model."""
    unseen: Devices = field(default_factory=Devices)
    """Devices that measure with classes they do not train on, and that were named for it in the log."""
    missed: PerDevice[Missed] = field(default_factory=PerDevice)
    """Devices that let rounds wait in vain since their last update that was admitted."""
    blamed: RoundId | None = None
    """The last round whose model was reported as bad."""
    voters: Devices = field(default_factory=Devices)
    """Every device that the ledger knew at the start, or that has sent a status."""
    young: bool = False
    """No round was closed in the ledger then."""
    devices_ahead: PerDevice[RoundId] = field(default_factory=PerDevice)
    """Devices that claim to have seen rounds this ledger does not know, and which."""
    claims: ClaimCounts | None = field(default=None, compare=False)
    """Those claims, counted; None: not yet."""
    incredible: Devices = field(default_factory=Devices)
    """Devices that were reported for an impossible claim."""
    other_leader: Service | None = None
    """The last `service` message of another aggregator, if it said that it is online."""
    progress: Progress = field(default_factory=Progress)
    pushed_out: int = 0
    """How often another client has taken our client id at the broker."""
    link_up: bool = False
    exported: RoundId | None = None
    """The round whose exported model the broker holds."""
    beat: int = 0
    beat_due_s: float = 0.0

    @property
    def enough(self) -> int:
        """The admitted updates needed to close; a round that only measures closes with none, too."""
        if not phase_of(self.kind).needs_quorum:
            return 0
        if self.insufficient and not self.untried and self.admitted == len(self.insufficient):
            return max(self.quorum_now, self.admitted + 1)
        return self.quorum_now

    @property
    def quorum_now(self) -> int:
        """The quorum, as a number."""
        if isinstance(self.rules.quorum, int):
            return self.rules.quorum
        return FEWEST if self.quorum is None else self.quorum

    @property
    def counted(self) -> frozenset[str]:
        """The devices whose updates are admitted."""
        return frozenset(device for device, answer in self.answers.items() if answer.verdict == "admitted")

    @property
    def furthest(self) -> float | None:
        """The largest distance of an admitted update from the model; None: no bound."""
        return self.rules.max_norm * self.usual.distance or None

    @property
    def longest(self) -> dict[str, float]:
        """How long each further vector of an update may be that is admitted; those that are not there: any
        length."""
        lengths = {name: self.rules.max_norm * length for name, length in self.usual.vectors.items()}
        return {name: length for name, length in lengths.items() if length}

    @property
    def requires(self) -> frozenset[str]:
        """What the round requires of a device, as names of `fedge.wire.capabilities`."""
        return _requires(self.kind, self.plan, self.task_message)

    @property
    def largest_update(self) -> int:
        """A bound on the bytes of any update or survey of this task: its vectors and 64 KiB for the rest."""
        return _largest_update(self.parts, self.weights, self.task_message)

    @property
    def parts(self) -> Parts:
        """The parts of the algorithm that training rounds are closed with."""
        return _parts(self.plan, self.rule, self.server)

    def answered(self, device: str, answer: Verdict) -> "Federation":
        """The state with a verdict on a device's update, the first or a changed one."""
        before = self.answers.get(device)
        change = (answer.verdict == "admitted") - (before is not None and before.verdict == "admitted")
        tried = not self.insufficient or device in self.insufficient
        return replace(
            self,
            answers=self.answers.put(device, answer),
            admitted=self.admitted + change,
            untried=self.untried + (0 if tried else change),
        )

    def elapsed(self, now_s: float) -> float:
        """Seconds this attempt has lasted."""
        return self.elapsed_s + (0.0 if self.since_s is None else max(0.0, now_s - self.since_s))


_parts = latest(lru_cache(maxsize=16)(Parts.of))


@latest
def _requires(kind: str, plan: Plan, task: Task) -> frozenset[str]:
    return required(kind, plan if phase_of(kind).trains else None, task.network, task.rules)


@latest
def _largest_update(parts: Parts, weights: int, task: Task) -> int:
    columns = len(task.features) + len(task.outputs)
    return largest_vectors(parts.codec, parts.local, weights) + 24 * columns + 65_536


@lru_cache(maxsize=16)
def largest_vectors(codec: Part, local: Part, size: int) -> int:
    """Bytes that the vectors of an update come to at most, each of `size` entries."""
    return codec.made(CODECS).max_bytes(size) * (1 + len(local.made(LOCAL).sends))


Step = tuple[Federation, list[Effect]]


def service(state: Federation, *, online: bool = True) -> Service:
    """The presence to publish; with `online=False` the offline status."""
    return Service(online=online, ledger=state.ledger, instance=state.instance, beat=state.beat)
