"""Updates that are wrong, judged by the aggregator's core: the device is told the reason and the facts."""

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core import rounds
from aggregator.core.federation import Federation, Stage
from aggregator.core.per_device import Devices
from aggregator.core.round_rules import RoundRules
from aggregator.core.stopping_rule import StoppingRule
from fedge.algorithms.plan import Plan
from fedge.errors import ProtocolError
from fedge.wire import encoding
from fedge.wire.frames import split
from fedge.wire.freshness import RoundId
from fedge.wire.messages.fields import MAX_SIZE
from fedge.wire.messages.frame import Blob, Frame
from fedge.wire.messages.manifest import Cohort
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.receipt import Receipt
from fedge.wire.messages.update import Update
from fedge.wire.reasons import Reason, Rejection
from tests.bad_input import TASK, rows_of

WEIGHTS = TASK.network.schema.size
BASE = b"m" * 32
BLOB = Blob(digest=BASE, slot=0, frames=1, size=9)
STATE = Federation(
    rules=RoundRules(fraction=1.0, target=None, quorum=1, deadline_s=60.0),
    stopping=StoppingRule(rounds=9),
    plan=Plan(),
    seed=0,
    roster=frozenset({"pi-1", "pi-2"}),
    max_samples=1_000,
    ledger=bytes(16),
    instance=bytes(16),
    round=RoundId(2, 5),
    kind="train",
    task=BLOB,
    task_message=TASK,
    weights=WEIGHTS,
    model=BLOB,
    stage=Stage.COLLECTING,
    cohorts=(Cohort(fraction=1.0, seed=0),),
    since_s=0.0,
    awaited=Devices({"pi-2"}),
)
UPDATE = Update(
    generation=2,
    round=5,
    base=BASE,
    device="pi-1",
    samples=40,
    steps=1,
    kind="weights",
    codec="float32",
    body=np.zeros(WEIGHTS, "<f4").tobytes(),
)


def said_of(payload: bytes, state: Federation = STATE, device: str = "pi-1") -> tuple[Receipt, str]:
    """What the device and the operator are told of a payload on the device's update topic."""
    try:
        frame = unpack(payload, Frame)
    except ProtocolError as error:
        digest = hashlib.sha256(payload).digest()
        garbage = on.GarbageArrived(device, digest, error.reason, str(error))
        _, effects = rounds.step(state, garbage)
    else:
        state, effects = rounds.step(state, on.FrameArrived(1.0, device, frame))
        if do.ReadUpdate(device, frame.id) in effects:
            message: Update | Rejection
            try:
                message = unpack(frame.data, Update, max_bytes=MAX_SIZE)
            except ProtocolError as error:
                message = Rejection(error.reason, str(error))
            _, effects = rounds.step(state, on.UpdateRead(1.0, device, frame.id, message))
    receipts = [effect.receipt for effect in effects if isinstance(effect, do.SendReceipt)]
    said = [effect.text for effect in effects if isinstance(effect, do.Log)]
    return receipts[0], said[0] if said else ""


def framed(**changes: Any) -> bytes:
    fields = {**encoding.decode(pack(UPDATE)), **changes}
    return split(encoding.encode({key: value for key, value in fields.items() if value is not None}))[0]


def frame(**changes: Any) -> bytes:
    return encoding.encode({**encoding.decode(framed()), **changes})


UPDATES: dict[str, tuple[Any, ...]] = {
    # what is wrong: (the payload, the reason, what the message must name)
    "no msgpack": (b"\xc1\x00", Reason.MALFORMED),
    "cut short": (framed()[:-9], Reason.MALFORMED, "short"),
    "too long": (bytes(200_000), Reason.OVERSIZE, "200000", "131072"),
    "another version": (frame(v=2), Reason.UNKNOWN_VERSION, "version 2", "version 1"),
    "no version": (frame(v=None), Reason.MALFORMED, "frame: 'v' "),
    "another type": (frame(type="gift"), Reason.MALFORMED, "'gift'", "'frame'"),
    "a frame beyond the last": (frame(i=3), Reason.MALFORMED, "frame 3 of 1"),
    "a short id": (frame(id=b"x"), Reason.MALFORMED, "frame: id: ", "32 bytes"),
    "a forgotten key": (framed(samples=None), Reason.MALFORMED, "update: samples: "),
    "text for a number": (framed(samples="4"), Reason.MALFORMED, "update: samples: ", "integer"),
    "a strange codec": (framed(codec="zip"), Reason.UNSUPPORTED, "'zip'", "'float32'"),
    "metrics without bounds": (
        framed(metrics={"loss": float("inf")}),
        Reason.MALFORMED,
        "update: metrics.loss: ",
    ),
    "another's name": (framed(device="pi-2"), Reason.FOREIGN_DEVICE, "'pi-2'", "'pi-1'"),
    "another generation": (framed(generation=1), Reason.OTHER_GENERATION, "1", "2"),
    "a closed round": (framed(round=4), Reason.STALE_ROUND, "2.4", "2.5"),
    "a round to come": (framed(round=6), Reason.FUTURE_ROUND, "2.6", "2.5"),
    "another base": (framed(base=b"z" * 32), Reason.WRONG_BASE, "7a7a7a", "6d6d6d"),
    "a weight missing": (framed(body=bytes(4 * WEIGHTS - 4)), Reason.WRONG_LENGTH, "20", "24"),
    "not a number": (
        framed(body=np.full(WEIGHTS, np.nan, "<f4").tobytes()),
        Reason.NOT_FINITE,
        "weight 0 is nan",
    ),
    "a boast": (framed(samples=10**12), Reason.BAD_SAMPLE_COUNT, "1000000000000", "1…1000"),
    "a difference": (framed(kind="delta"), Reason.WRONG_KIND, "weights"),
}


def test_what_the_broken_updates_are_made_of_is_right() -> None:
    receipt, said = said_of(framed())
    assert (receipt.verdict, said) == ("admitted", "")


def assert_refused(payload: bytes, state: Federation, device: str, reason: Reason, facts: list[str]) -> None:
    """The device is told the reason and the facts, and the operator the same with its name and the round."""
    receipt, said = said_of(payload, state, device)
    assert (receipt.verdict, receipt.reason) == ("refused", reason)
    assert [fact for fact in facts if fact not in receipt.detail] == []
    assert [fact for fact in ("2.5", device, reason, receipt.detail) if fact not in said] == []


@pytest.mark.parametrize(("payload", "reason", "facts"), rows_of(UPDATES))
def test_broken_updates(payload: bytes, reason: Reason, facts: list[str]) -> None:
    assert_refused(payload, STATE, "pi-1", reason, facts)


def test_an_update_of_a_stranger() -> None:
    payload = framed(device="pi-3")
    assert_refused(payload, STATE, "pi-3", Reason.UNKNOWN_DEVICE, ["'pi-3'", "[federation] devices"])


def test_an_update_of_a_device_that_was_not_chosen() -> None:
    chosen = replace(STATE, cohorts=(Cohort(fraction=1e-12, seed=0),))
    assert_refused(framed(), chosen, "pi-1", Reason.NOT_CHOSEN, ["'pi-1'", "2.5"])
