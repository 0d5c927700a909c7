"""The way of a message from the broker into both programs, without broker, disk or worker.

Aggregator: topic, allowance, frame, spool, assembly, update, admission. Device: topic, envelope, frame,
assembly, task, model, coded form and key frame, receipt, status. Either takes a message, or refuses it with
a reason: what is raised here would have ended the program's loop.
"""

import logging
from dataclasses import replace
from functools import cache
from typing import Any, cast

from agent.core import lifecycle
from agent.core.conditions import UNMEASURED
from agent.core.device import Device
from agent.core.events import MaskingArrived
from agent.shell.downloads import Downloads
from agent.shell.inbox import Inbox
from agent.shell.key_frames import KeyFrames
from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core import rounds
from aggregator.core.federation import Federation
from aggregator.shell.intake import Intake
from aggregator.shell.reception import Reception
from aggregator.shell.reports import Reports
from fedge.algorithms.registry import CODECS
from fedge.errors import ProtocolError
from fedge.masking.round_messages import Objection
from fedge.transport import MessageArrived
from fedge.wire.frames import Split, split
from fedge.wire.freshness import RoundId
from fedge.wire.messages.envelope import Signed
from fedge.wire.messages.frame import Blob
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.model import Model
from fedge.wire.models import decoded_message, read_key
from fedge.wire.topics import Topics
from tests.agent.lifecycle.stories import CONNECTED, manifest
from tests.bad_input import TASK as TASK_MESSAGE
from tests.fuzz import masked
from tests.fuzz.inputs import ANNOUNCED, WHOLE, Input, Step
from tests.test_bad_updates import STATE, WEIGHTS

LAB = Topics("lab")
TOPICS = tuple(
    topic.encode()
    for topic in (
        LAB.update("pi-1"),
        LAB.update("pi-3"),
        LAB.status("pi-1"),
        LAB.receipt("pi-1"),
        LAB.service,
        LAB.round,
        LAB.export,
        LAB.task(0, 0),
        LAB.model(1, 0),
        LAB.update("pi-1").replace("v1", "v2"),
        LAB.key(0, 0),
    )
)
UPDATE, STATUS, RECEIPT, SERVICE, ROUND, TASK, MODEL, KEY = (TOPICS[i] for i in (0, 2, 3, 4, 5, 7, 8, 10))
"""What is to be announced on `KEY` is a coded form, whose key frame is `KEY_FRAME`."""

LEARNT = pack(Model(generation=1, round=1, body=bytes(4 * WEIGHTS)))
KEY_FRAME = pack(Model(generation=1, round=0, body=bytes(4 * WEIGHTS)))


class InMemory(KeyFrames):
    """Key frames without a file."""

    def __init__(self) -> None:
        self._key = None

    def take(self, data: bytes) -> None:
        """As `KeyFrames.take`."""
        self._key = read_key(data)


@cache
def variants() -> tuple[Federation, ...]:
    """The rounds that may be open: one for each codec, and a survey."""
    plans = [STATE.plan.model_copy(update={"codec": name}) for name in CODECS.names()]
    survey = replace(STATE, round=RoundId(2, 0), kind="survey", model=None)
    return (*(replace(STATE, plan=plan) for plan in plans), survey)


class _Spool:
    """In the place of the ledger: it holds frames, and has no verdict."""

    def __init__(self) -> None:
        self.frames: dict[tuple[str, bytes], dict[int, bytes]] = {}

    def verdict(self, device: str, digest: bytes) -> None:
        return None

    def remembers(self, round_id: RoundId) -> bool:
        return True

    def pieces(self, device: str, digest: bytes) -> list[bytes]:
        return [data for _, data in sorted(self.frames.get((device, digest), {}).items())]


class Aggregator:
    """One aggregator that has just opened a round."""

    def __init__(self, variant: int) -> None:
        masks = variant >= masked.GROUPED
        self.state = masked.begun(variant) if masks else variants()[variant % len(variants())]
        self.spool = _Spool()
        self.outcomes: set[str] = set()
        reports = Reports(logging.getLogger("fuzz"))
        self._reception = Reception(LAB, cast(Any, self.spool), Intake(), reports, lambda: 1.0)

    def hear(self, message: MessageArrived) -> None:
        """Take one message, and perform what concerns the spool."""
        found = self._reception.read(self.state, message)
        if isinstance(found, on.WholeUpdate):  # as the runtime does with those of a turn
            found = on.UpdatesArrived(1.0, (found,))
        events = [found]
        while events:
            event = events.pop()
            if event is None:
                continue
            self.state, effects = rounds.step(self.state, event)
            for effect in effects:
                match effect:
                    case do.SpoolFrame(device, frame):
                        self.spool.frames.setdefault((device, frame.id), {})[frame.i] = frame.data
                    case do.DropSpool(device, digest):
                        self.spool.frames.pop((device, digest), None)
                    case do.ReadUpdate(device, digest):
                        events.append(self._reception.read_update(self.state, device, digest))
                    case do.ReadMasking(device, digest):
                        events.append(self._reception.read_masking(device, digest))
                    case do.KeepMasking():
                        self.outcomes.add("KeepMasking")
                    case do.Log(cause=cause) if cause.startswith("masking"):
                        self.outcomes.add(cause)
                    case do.SendReceipt():
                        self.outcomes.add(f"{effect.receipt.verdict} {effect.receipt.reason}")


class Agent:
    """One device that has just connected for the first time."""

    def __init__(self, variant: int = 0) -> None:
        self.masked = masked.device(variant) if variant >= masked.GROUPED else None
        self.state: Device = replace(CONNECTED, device="pi-1")
        self.outcomes: set[str] = set()
        self._inbox = Inbox(LAB, Downloads(None, InMemory()), lambda: UNMEASURED, lambda: 1.0)

    def hear(self, message: MessageArrived) -> None:
        """Take one message, as `Runtime._receive` does."""
        address = LAB.parse(message.topic)
        if address is None or not message.payload:
            return
        try:
            event = self._inbox.event(message, address, self.state)
            if isinstance(event, MaskingArrived):
                self._take_masking(event)
                return
        except ProtocolError as error:
            self.outcomes.add(f"agent {error.reason}")
            return
        if event is not None:
            self.state, effects = lifecycle.step(self.state, event)
            self.outcomes.update(type(effect).__name__ for effect in effects)

    def _take_masking(self, event: MaskingArrived) -> None:
        if self.masked is not None:
            self.masked.sent.clear()
            self.masked.take(event.frame)
            self.outcomes.update(
                f"objects {each.why}" if isinstance(each, Objection) else each.TYPE
                for each in self.masked.sent
            )


def messages(step: Step) -> list[tuple[bytes, bytes]]:
    """Topics and payloads of a step."""
    how, topic, payload = step
    if how == WHOLE and payload:
        return [(topic, piece) for piece in _cut(payload)]
    if how != ANNOUNCED or not payload:
        return [(topic, payload)]
    if topic == ROUND:
        return [(ROUND, pack(Signed(body=payload)))]
    if topic == KEY:
        return _coded(payload)
    task, model = (payload, LEARNT) if topic != MODEL else (pack(TASK_MESSAGE), payload)
    split_task, split_model = _cut(task), _cut(model)
    fields = {"task": _blob(split_task, task), "model": _blob(split_model, model), "generation": 1}
    frames = [*((TASK, piece) for piece in split_task), *((MODEL, piece) for piece in split_model)]
    return [(ROUND, pack(Signed(body=pack(manifest(2, **fields))))), *frames]


def _coded(form: bytes) -> list[tuple[bytes, bytes]]:
    """The announcement of a coded form, of the model that it gives if it gives one, and all frames."""
    task, (seed, key) = pack(TASK_MESSAGE), (manifest(2).seed, read_key(KEY_FRAME))
    try:
        model = decoded_message(unpack(form, Model), seed, key)
    except ProtocolError:
        model = LEARNT
    parts = {"task": task, "model": model, "coded": form, "key": KEY_FRAME}
    blobs = {name: _blob(_cut(data), data) for name, data in parts.items()}
    announced = manifest(2, **blobs, generation=1)
    sent = ((TASK, task), (MODEL, form), (KEY, KEY_FRAME))
    frames = ((topic, piece) for topic, data in sent for piece in _cut(data))
    return [(ROUND, pack(Signed(body=pack(announced)))), *frames]


def _cut(message: bytes) -> Split:
    return split(message, max(40, len(message) // 2))


def _blob(pieces: Split, message: bytes) -> Blob:
    return Blob(digest=pieces.id, slot=0, frames=len(pieces), size=len(message))


def run(given: Input) -> set[str]:
    """Send an input to both programs; what they did with it.

    Raises:
        Exception: any at all is a defect.
    """
    aggregator, agent = Aggregator(given.variant), Agent(given.variant)
    for step in given.steps:
        for topic, payload in messages(step):
            try:
                text = topic.decode()
            except UnicodeDecodeError:
                continue  # MQTT's topics are UTF-8: the client closes the connection
            message = MessageArrived(text, payload, False, None, 1, 1)
            aggregator.hear(message)
            agent.hear(message)
    return aggregator.outcomes | agent.outcomes
