"""The state of the aggregator's core: everything that its decisions depend on."""

from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aggregator.core.claim_counts import ClaimCounts
from aggregator.core.coded_form import CodedForm
from aggregator.core.effects import Effect
from aggregator.core.masking_rules import MaskingRules
from aggregator.core.parts import Part, Parts
from aggregator.core.per_device import Devices, PerDevice
from aggregator.core.progress import Progress
from aggregator.core.round_rules import RoundRules
from aggregator.core.slots import Slots
from aggregator.core.stopping_rule import StoppingRule
from aggregator.core.usual_distance import UsualDistance
from aggregator.core.verdicts import Missed, Verdict
from fedge.algorithms.plan import Plan
from fedge.frozen import replace
from fedge.identity.trust import Signers
from fedge.latest import latest
from fedge.wire.encoding import MAX_PAYLOAD
from fedge.wire.frames import Partial
from fedge.wire.freshness import RoundId
from fedge.wire.messages.frame import Blob
from fedge.wire.messages.manifest import Cohort
from fedge.wire.messages.protection import Charges, Protection
from fedge.wire.messages.service import Service
from fedge.wire.messages.status import Decline
from fedge.wire.messages.task import Task

if TYPE_CHECKING:
    from aggregator.core.exchange import Exchange


class Promised(NamedTuple):
    """What a device's promise of an update in a masked round brought."""

    certificate: bytes
    """In DER."""
    key: bytes
    """Its public key, a compressed point of P-256."""
    drawn: bytes | None = None
    """Random bytes of the device, from which groups follow."""


class Stage(StrEnum):
    """The stages of a round."""

    PREPARING = "preparing"
    COLLECTING = "collecting"
    CLOSING = "closing"
    DONE = "done"


@dataclass(frozen=True)
class Federation:
    """Everything that the aggregator's decisions depend on."""

    rules: RoundRules
    stopping: StoppingRule
    plan: Plan
    """That of the first round; `aggregator.core.announcement.plan_of` is that of the open one."""
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
    max_payload_bytes: int = MAX_PAYLOAD
    """The largest payload of the federation's messages: a device cuts its updates accordingly."""
    rule: Part = field(default_factory=lambda: Part("mean"))
    """The rule that makes one vector of the updates."""
    server: Part = field(default_factory=lambda: Part("average"))
    """The server optimizer that makes the next model of that vector."""
    rate_decay: float = 1.0
    """The factor of the plan's learning rate from round to round."""
    rate_floor: float = 0.0
    """The part of the plan's learning rate at which the decay ends."""
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
    model_codec: str = "float32"
    """How the models to come are coded (`[plan] model_codec`)."""
    key_every: int = 16
    """The most rounds for which a key frame is used (`[plan] key_every`)."""
    protection: Protection | None = None
    """What rounds promise about each device's part in them; None: nothing."""
    model: Blob | None = None
    form: CodedForm | None = None
    """The coded form of `model` in which it is sent; None: it is sent as it is."""
    base: NDArray[np.float32] | None = field(default=None, compare=False, repr=False)
    """The weights of `model`, of shape (p,): what the round's updates begin from."""
    clusters: tuple[NDArray[np.float32], ...] = field(default=(), compare=False, repr=False)
    """The further shared models of `model`, from number 1 on."""
    usual: UsualDistance = field(default_factory=UsualDistance)
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
    named: Slots = field(default_factory=Slots)
    """The slots that the manifest names which the broker has acknowledged last, or had when this program
    started."""
    naming: Slots | None = None
    """Those that a manifest names which the broker has not acknowledged; None: they are the same."""
    finer: frozenset[str] = frozenset()
    """What moves to its other slot once the broker has acknowledged the manifest."""
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
    """The verdicts of the open round, without their figures: no decision depends on them, and closing reads
    them from the ledger."""
    admitted: int = 0
    """The number of admitted updates among the answers."""
    earlier: tuple[tuple[int, bytes], ...] = ()
    """With the schedule `buffered`: the numbers of the training rounds before the open one from which updates
    are admitted, each with the digest of the model that it began with (`aggregator.core.buffering`)."""
    begun: PerDevice[int] = field(default_factory=PerDevice)
    """With the schedule `buffered`: the newest round for which each device has an answer."""
    insufficient: frozenset[str] = frozenset()
    """The devices whose admitted updates did not make a model: more are needed."""
    untried: int = 0
    """The number of admitted updates of other devices than these."""
    masking: MaskingRules | None = None
    """How training rounds are masked; None: they are not."""
    promised: PerDevice[Promised] = field(default_factory=PerDevice)
    """The devices that have promised an update in the open masked round."""
    exchange: "Exchange | None" = None
    """The attempt of secure aggregation that takes place; None: there is none."""
    is_summed: bool = False
    """The open masked round has its sum, or will never have one."""
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
    def counted(self) -> frozenset[str]:
        """The devices whose updates are admitted."""
        return frozenset(device for device, answer in self.answers.items() if answer.verdict == "admitted")

    @property
    def parts(self) -> Parts:
        """The parts of the algorithm that training rounds are closed with."""
        return _parts(self.plan, self.rule, self.server, self.seed)

    @property
    def training_kind(self) -> str:
        """The name of the phase of training rounds."""
        return "train" if self.masking is None else "masked"

    def answered(self, device: str, answer: Verdict) -> "Federation":
        """The state with a verdict on a device's update, the first or a changed one."""
        before = self.answers.get(device)
        change = (answer.verdict == "admitted") - (before is not None and before.verdict == "admitted")
        tried = not self.insufficient or device in self.insufficient
        return replace(
            self,
            answers=self.answers.put(device, answer.without_figures()),
            admitted=self.admitted + change,
            untried=self.untried + (0 if tried else change),
        )

    def elapsed(self, now_s: float) -> float:
        """Seconds this attempt has lasted."""
        return self.elapsed_s + (0.0 if self.since_s is None else max(0.0, now_s - self.since_s))


def with_charges(protection: Protection | None, charges: Charges | None) -> Protection | None:
    """What rounds promise, with what has been released by now."""
    if protection is None or protection.privacy is None or charges is None:
        return protection
    privacy = protection.privacy.model_copy(update={"witness": charges})
    return protection.model_copy(update={"privacy": privacy})


_parts = latest(lru_cache(maxsize=16)(Parts.of))


Step = tuple[Federation, list[Effect]]
