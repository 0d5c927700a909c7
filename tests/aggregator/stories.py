"""A federation's core, and the things that happen to it: what the story tests are told with."""

import hashlib
from collections.abc import Iterable, Set
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

import numpy as np

from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core import rounds
from aggregator.core.effects import Effect
from aggregator.core.events import Event
from aggregator.core.federation import Federation
from aggregator.core.per_device import Devices, PerDevice
from aggregator.core.progress import Progress
from aggregator.core.round_rules import RoundRules
from aggregator.core.stopping_rule import StoppingRule
from aggregator.core.verdicts import KeptVerdict
from fedge.algorithms.codecs import float32
from fedge.algorithms.plan import Plan
from fedge.data.moments import Moments
from fedge.nn.spec import Dense, NetworkSpec
from fedge.wire.frames import split
from fedge.wire.freshness import RoundId
from fedge.wire.messages.frame import Blob, Frame
from fedge.wire.messages.manifest import Cohort, Manifest
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.receipt import Receipt
from fedge.wire.messages.service import Service
from fedge.wire.messages.status import Decline, Status
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.task import Task
from fedge.wire.messages.update import Update
from fedge.wire.reasons import Reason
from fedge.wire.selection import chosen

HELLO = [do.Subscribe, do.PublishService]
"""What is done whenever a link comes up."""

E = TypeVar("E", bound=Effect)

TASK = Task(
    network=NetworkSpec(inputs=2, layers=(Dense(units=3),), loss="cross-entropy"),
    features=("volts", "amps"),
    classes=("idle", "busy", "broken"),
)
P = TASK.network.schema.size
OURS, SMALLER, LARGER = b"m" * 16, b"a" * 16, b"z" * 16
"""Instances of aggregators."""
OPEN = RoundId(1, 1)
SURVEY = RoundId(1, 0)
NEVER = RoundId(0, 0)
DEADLINE_S = 60.0
EVERYBODY = Cohort(fraction=1.0, seed=0)


def blob(name: str, slot: int = 0) -> Blob:
    return Blob(digest=hashlib.sha256(name.encode()).digest(), slot=slot, frames=1, size=100)


MODEL = blob("model of round 0")


def federation(**changes: Any) -> Federation:
    """Round 1.1 of a federation that closes at three updates, or at two when nobody else can answer."""
    state = Federation(
        rules=RoundRules(fraction=1.0, target=3, quorum=2, deadline_s=DEADLINE_S),
        stopping=StoppingRule(rounds=3),
        plan=Plan(),
        seed=7,
        roster=None,
        max_samples=1_000,
        ledger=b"l" * 16,
        instance=OURS,
        round=OPEN,
        kind="train",
        task=blob("task"),
        task_message=TASK,
        weights=P,
        model=MODEL,
    )
    return having(state, **changes)


def having(state: Federation, **changes: Any) -> Federation:
    """The state with these changes, where devices may stand in plain dicts and sets."""
    for name, value in changes.items():
        for kind, plain in ((PerDevice, dict), (Devices, Set)):
            if isinstance(getattr(state, name), kind) and isinstance(value, plain):
                changes[name] = kind(value)
    return replace(state, **changes)


def rules(fraction: float = 1.0, target: int | None = 3, quorum: int = 2) -> RoundRules:
    return RoundRules(fraction, target, quorum, DEADLINE_S)


def update(device: str, round_id: RoundId = OPEN, base: bytes = MODEL.digest, **changes: Any) -> Update:
    return Update(
        **{
            "generation": round_id.generation,
            "round": round_id.round,
            "base": base,
            "device": device,
            "samples": 10,
            "steps": 1,
            "kind": "weights",
            "codec": "float32",
            "body": float32.encode(np.arange(P, dtype=np.float32)),
            **changes,
        }
    )


def survey(device: str, round_id: RoundId = SURVEY, **changes: Any) -> Survey:
    column = np.array([[100.0, 5.0, 30.0]] * len(TASK.features)).T
    return Survey(
        **{
            "generation": round_id.generation,
            "round": round_id.round,
            "base": blob("task").digest,
            "device": device,
            "samples": 100,
            "features": Moments(*column).to_bytes(),
            **changes,
        }
    )


def digest_of(message: Update | Survey) -> bytes:
    return hashlib.sha256(pack(message)).digest()


def frames(message: Update | Survey, pieces: int = 1) -> list[Frame]:
    """A message cut into so many frames."""
    whole = pack(message)
    return [unpack(frame, Frame) for frame in split(whole, -(-len(whole) // pieces))]


def status(online: bool = True, seen: RoundId = NEVER, declined: Decline | None = None) -> Status:
    return Status(
        online=online,
        boot=b"b" * 16,
        connection=1,
        version="0",
        generation=seen.generation,
        round=seen.round,
        declined=declined,
    )


def decline(round_id: RoundId = OPEN, attempt: int = 0) -> Decline:
    return Decline(
        generation=round_id.generation, round=round_id.round, attempt=attempt, reason=Reason.TOO_FEW_SAMPLES
    )


def service(instance: bytes, beat: int = 0, online: bool = True) -> Service:
    return Service(online=online, ledger=b"l" * 16, instance=instance, beat=beat)


def of(kind: type[E], effects: Iterable[Effect]) -> list[E]:
    return [effect for effect in effects if isinstance(effect, kind)]


def kinds(effects: Iterable[Effect]) -> list[type[Effect]]:
    return [type(effect) for effect in effects]


def receipts(effects: Iterable[Effect]) -> list[tuple[str, str, Reason | None]]:
    """To whom, which verdict, and why."""
    return [(e.device, e.receipt.verdict, e.receipt.reason) for e in of(do.SendReceipt, effects)]


def only_receipt(effects: Iterable[Effect]) -> Receipt:
    (effect,) = of(do.SendReceipt, effects)
    return effect.receipt


def only_manifest(effects: Iterable[Effect]) -> Manifest:
    (effect,) = of(do.PublishManifest, effects)
    return effect.manifest


def saved_before_announced(log: list[Effect]) -> bool:
    """No cohort is announced that was not saved before."""
    saved: set[tuple[Cohort, ...]] = set()
    for effect in log:
        if isinstance(effect, do.SaveRound):
            saved.add(effect.cohorts[-1:])
        elif isinstance(effect, do.PublishManifest) and (effect.manifest.cohort,) not in saved:
            return False
    return True


def chosen_in(state: Federation, attempt: int, *, but_not_in: int | None = None) -> str:
    """The first device that an attempt chooses (and another one does not)."""
    for i in range(100_000):
        device = f"pi-{i}"
        at = [chosen(cohort, *state.round, k, device) for k, cohort in enumerate(state.cohorts)]
        if at[attempt] and (but_not_in is None or not at[but_not_in]):
            return device
    raise AssertionError("no such device")


@dataclass
class Story:
    """The core's state, and all effects so far."""

    state: Federation
    now_s: float = 1_000.0
    log: list[Effect] = field(default_factory=list)
    verdicts: dict[tuple[str, bytes], KeptVerdict] = field(default_factory=dict)
    """What the ledger holds."""

    def tell(self, event: Event) -> list[Effect]:
        self.state, effects = rounds.step(self.state, event)
        self.log += effects
        for saved in (*of(do.SaveAnswer, effects), *of(do.SetAside, effects)):
            self.verdicts[saved.device, saved.answer.digest] = KeptVerdict(saved.round, saved.answer)
        for dropped in of(do.DropAnswer, effects):
            self.verdicts.pop((dropped.device, dropped.digest), None)
        return effects

    def start(self) -> list[Effect]:
        self.state, effects = rounds.start(self.state, self.now_s)
        self.log += effects
        return effects

    def link_up(self) -> list[Effect]:
        return self.tell(on.LinkUp(self.now_s))

    def published(self) -> list[Effect]:
        return self.tell(on.BlobsPublished(self.now_s, self.state.round, None))

    def announce(self, *devices: str) -> list[Effect]:
        """Start, connect, see these devices online, and announce the round."""
        effects = [*self.start(), *self.link_up()]
        for device in devices:
            effects += self.sees(device)
        return [*effects, *self.published()]

    def sees(self, device: str, said: Status | None = None) -> list[Effect]:
        return self.tell(on.StatusSeen(self.now_s, device, said or status()))

    def frame(self, device: str, frame: Frame) -> list[Effect]:
        return self.tell(on.FrameArrived(self.now_s, device, frame, self.verdicts.get((device, frame.id))))

    def send(self, device: str, message: Update | Survey, pieces: int = 1) -> list[Effect]:
        """All frames of a message come, and what is complete is read: as the runtime does it."""
        effects: list[Effect] = []
        for frame in frames(message, pieces):
            new = self.frame(device, frame)
            effects += new
            if of(do.ReadUpdate, new):
                effects += self.tell(on.UpdateRead(self.now_s, device, frame.id, message))
        return effects

    def answers(self, device: str, **changes: Any) -> list[Effect]:
        """A device sends what the open round asks of it."""
        state = self.state
        if state.kind == "survey":
            return self.send(device, survey(device, state.round, **changes))
        assert state.model is not None
        return self.send(device, update(device, state.round, state.model.digest, **changes))

    def later(self, seconds: float) -> list[Effect]:
        self.now_s += seconds
        return self.tell(on.Tick(self.now_s))

    def closed(self, progress: Progress | None = None) -> list[Effect]:
        """The model of the round that closes is computed and saved."""
        before = self.state.progress
        return self.tell(
            on.RoundClosed(
                self.now_s,
                self.state.round,
                self.state.task,
                self.state.task_message,
                blob(f"model of round {self.state.round.round}", slot=(self.state.round.round + 1) % 2),
                progress or before.after({"weight_change": 0.1}),
            )
        )

    def stage(self) -> Literal["preparing", "collecting", "closing", "done"]:
        return self.state.stage.value


def running(*devices: str, **changes: object) -> Story:
    """A story whose round is announced to these devices."""
    story = Story(federation(**changes))
    story.announce(*devices)
    assert story.stage() == "collecting"
    return story


def closing() -> Story:
    story = running("a", "b", "c")
    for device in ("a", "b", "c"):
        story.answers(device)
    assert story.stage() == "closing"
    return story


def finished() -> Story:
    story = running("a", "b", "c", round=RoundId(1, 3), progress=Progress(rounds=2))
    for device in ("a", "b", "c"):
        story.answers(device)
    story.closed()
    return story


def round_closed(round_id: RoundId) -> on.RoundClosed:
    return on.RoundClosed(0.0, round_id, blob("task"), TASK, MODEL, Progress(rounds=1))
