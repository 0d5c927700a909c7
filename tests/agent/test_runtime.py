"""The agent's shell: what is due is done."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest

from agent.core import events as on
from agent.core.lifecycle.download import FETCH_RETRY_S
from agent.core.lifecycle.report import REPORT_RETRY_S
from agent.core.state import AlgorithmState
from agent.shell.memory import Memory
from agent.trainers.assignment import Assignment
from fedge.errors import StateError
from fedge.transport import Publication
from fedge.wire import encoding
from fedge.wire.frames import split
from fedge.wire.freshness import Attempt, RoundId
from fedge.wire.messages.envelope import seal
from fedge.wire.messages.frame import Asked, Frame
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.receipt import Receipt
from fedge.wire.messages.status import Status
from fedge.wire.reasons import Reason
from tests.agent.besieged import FRAME_BYTES, LAB, TASK, Device, arrived, blob, frames, manifest, model


@pytest.mark.parametrize("flooded", [False, True])
def test_what_is_lost_is_asked_for_again_though_messages_never_pause(tmp_path: Path, flooded: bool) -> None:
    device = Device(tmp_path, None)
    device.hears({LAB.round: seal(manifest(1))})
    device.broker.retained.update(frames(1))  # lost on the way to it
    for _ in range(int(FETCH_RETRY_S)):
        assert device.holds is None
        device.now_s += 1
        device.runtime.turn(arrived(LAB.receipt("pi-1"), b"garbage") if flooded else None)
        device.settle()
    assert device.holds == model(1)


@pytest.mark.parametrize("ended_by", ["nothing", "its receipt", "a newer round"])
def test_no_more_of_an_update_leaves_than_is_wanted(
    tmp_path: Path, ended_by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a thin link most of it waits for room when it is answered, or its round closed without it."""
    device = Device(tmp_path, None)
    device.hears({**frames(1), LAB.round: seal(manifest(1, state="open"))})
    waiting: list[Iterator[Publication]] = []

    def send(publications: Iterable[Publication], token: object = None, *, bulk: bool = False) -> None:
        waiting.append(iter(publications))

    monkeypatch.setattr(device.broker, "send", send)
    payload = bytes(300_000)
    digest = sha256(payload).digest()
    device.runtime.turn(on.Done(device.now_s, RoundId(1, 1), digest, payload, 100))
    (update,) = waiting
    assert next(update).topic == LAB.update("pi-1")
    if ended_by == "its receipt":
        receipt = Receipt(generation=1, round=1, update=digest, verdict="admitted")
        device.hears({LAB.receipt("pi-1"): pack(receipt)})
    elif ended_by == "a newer round":
        device.hears({LAB.round: seal(manifest(2, state="open"))})
    assert len(list(update)) == (2 if ended_by == "nothing" else 0)


def test_no_model_is_followed_of_a_round_that_the_disk_did_not_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a restart would take part in rounds from before the model that it was said to hold."""
    device = Device(tmp_path, None)
    saves, save_seen = [False, True], Memory.save_seen

    def full_once(memory: Memory, attempt: Attempt) -> None:
        if not saves.pop(0):
            raise StateError("agent.db: database or disk is full")
        save_seen(memory, attempt)

    with monkeypatch.context() as patch:
        patch.setattr(Memory, "save_seen", full_once)
        device.hears({**frames(3), LAB.round: seal(manifest(3))})
    assert (device.holds, saves) == (model(3), [])
    device.broker.retained.clear()
    device.restart()
    assert device.seen.round == RoundId(1, 3)


def test_a_model_is_not_followed_while_the_disk_does_not_take_its_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_memory: Memory, _attempt: Attempt) -> None:
        raise StateError("agent.db: database or disk is full")

    device = Device(tmp_path, None)
    with monkeypatch.context() as patch:
        patch.setattr(Memory, "save_seen", full)
        device.hears({**frames(3), LAB.round: seal(manifest(3))})
        assert device.holds is None
        assert device.status.holds is None


@pytest.mark.parametrize("kind", ["task", "model"])
def test_what_was_announced_and_cannot_be_read_is_declined_and_not_fetched_again(
    tmp_path: Path, kind: str
) -> None:
    """A newer program may mean something by it; who stayed silent would be waited for."""
    if kind == "task":
        strange = encoding.encode({**encoding.decode(pack(TASK)), "features": "all"})
        said, topic = manifest(1, state="open", task=blob(strange, 0)), LAB.task
    else:
        strange = encoding.encode({**encoding.decode(model(1)), "body": bytes(7)})
        said, topic = manifest(1, state="open", model=blob(strange, 0)), LAB.model
    pieces = split(strange, FRAME_BYTES)
    device = Device(tmp_path, None)
    device.hears({**frames(1), **{topic(0, i): pieces[i] for i in range(len(pieces))}, LAB.round: seal(said)})
    (*_, last) = [p.payload for p in device.broker.said if p.topic == LAB.status("pi-1")]
    declined = unpack(last, Status).declined
    assert declined is not None
    assert (declined.reason, f"{kind}:unreadable" in declined.detail) == (Reason.UNSUPPORTED, True)
    device.broker.subscribed.clear()
    for _ in range(1_000):
        device.now_s += 1
        device.runtime.turn(None)
        device.settle()
    assert not device.broker.subscribed


# ── what an algorithm remembers ────────────────────────────────────────────────────────────────────

PAYLOAD = bytes(300_000)
PENDING = AlgorithmState(RoundId(1, 1), bytes(32), b"what was learnt")


class Remembering(Device):
    """It keeps the assignments that it was given."""

    jobs: list[Assignment]

    def trainer(self) -> Any:
        self.jobs = []
        return SimpleNamespace(start=self.jobs.append, cancel=lambda: None)

    def announces(self, round_: int) -> None:
        self.hears({**frames(round_), LAB.round: seal(manifest(round_, state="open"))})

    def answered(self, verdict: Literal["admitted", "refused"] = "admitted") -> None:
        reason = Reason.STALE_ROUND if verdict == "refused" else None
        receipt = Receipt(
            generation=1, round=1, update=sha256(PAYLOAD).digest(), verdict=verdict, reason=reason
        )
        self.hears({LAB.receipt("pi-1"): pack(receipt)})

    @property
    def asked(self) -> list[Frame]:
        """The frames that it has published since it was switched on, which ask."""
        sent = [unpack(p.payload, Frame) for p in self.broker.said if p.topic == LAB.update("pi-1")]
        return [frame for frame in sent if frame.asks is not None]


@pytest.fixture
def asleep(tmp_path: Path) -> Remembering:
    """It made an update in round 1, was switched off before it was answered, and round 2 is open."""
    device = Remembering(tmp_path, None)
    device.announces(1)
    device.runtime.turn(
        on.Done(device.now_s, RoundId(1, 1), sha256(PAYLOAD).digest(), PAYLOAD, 100, None, PENDING)
    )
    device.broker.retained.clear()
    device.restart()
    device.announces(2)
    return device


def disk_full(*_: Any, **__: Any) -> Any:
    raise StateError("agent.db: database or disk is full")


def test_a_question_is_frame_0_of_the_update_and_names_its_round(asleep: Remembering) -> None:
    (frame,) = asleep.asked
    assert frame.asks == Asked(generation=1, round=1)
    assert (frame.id, frame.i, frame.n) == (sha256(PAYLOAD).digest(), 0, len(split(PAYLOAD)))
    assert asleep.jobs == [], "nothing is begun before the answer"


def test_the_frames_that_an_older_aggregator_asks_for_are_sent_without_a_question(
    asleep: Remembering,
) -> None:
    asleep.broker.said.clear()
    receipt = Receipt(generation=1, round=2, update=sha256(PAYLOAD).digest(), verdict="retry", missing=(1, 2))
    asleep.hears({LAB.receipt("pi-1"): pack(receipt)})
    sent = [unpack(p.payload, Frame) for p in asleep.broker.said if p.topic == LAB.update("pi-1")]
    assert [(frame.i, frame.asks) for frame in sent] == [(1, None), (2, None)]


@pytest.mark.parametrize(("verdict", "state"), [("admitted", PENDING), ("refused", None)])
def test_the_answer_decides_what_the_work_begins_with(
    asleep: Remembering, verdict: Literal["admitted", "refused"], state: AlgorithmState | None
) -> None:
    asleep.answered(verdict)
    assert [(job.manifest.round, job.state) for job in asleep.jobs] == [(2, state)]


def test_a_verdict_that_cannot_be_saved_is_asked_for_again(
    asleep: Remembering, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the work would begin with the state before, of which the update was made already."""
    with monkeypatch.context() as patch:
        patch.setattr(Memory, "save_verdict", disk_full)
        asleep.answered()
        assert asleep.jobs == []
    asleep.waits(2 * REPORT_RETRY_S)
    assert len(asleep.asked) == 2
    asleep.answered()
    assert [job.state for job in asleep.jobs] == [PENDING]


@pytest.mark.parametrize("method", ["state", "reset_state"])
def test_a_state_that_cannot_be_read_or_reset_declines_the_round(
    asleep: Remembering, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if method == "reset_state":
        asleep.runtime._state = replace(asleep.runtime._state, remembers=RoundId(1, 5))
    monkeypatch.setattr(Memory, method, disk_full)
    asleep.answered("refused")
    assert asleep.jobs == []
    declined = asleep.status.declined
    assert declined is not None
    assert (declined.reason, declined.round) == (Reason.FAILED, 2)


def test_where_nobody_knows_what_counted_nothing_is_remembered_after_a_restart(asleep: Remembering) -> None:
    asleep.answered()
    second = bytes(100)
    digest, pending = sha256(second).digest(), replace(PENDING, round=RoundId(1, 2))
    asleep.runtime.turn(on.Done(asleep.now_s, RoundId(1, 2), digest, second, 100, None, pending))
    assert asleep.memory is not None
    assert asleep.memory.state() == PENDING
    forgotten = Receipt(generation=1, round=3, update=digest, verdict="refused", reason=Reason.FORGOTTEN)
    asleep.hears({LAB.receipt("pi-1"): pack(forgotten)})
    asleep.restart()
    assert asleep.memory.state() is None
    asleep.announces(3)
    assert [(job.manifest.round, job.state) for job in asleep.jobs] == [(3, None)]
