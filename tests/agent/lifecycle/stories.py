"""What the stories of a device's decisions begin with."""

from dataclasses import replace
from functools import cache
from hashlib import sha256
from typing import Any

from agent.core import effects as do
from agent.core import events as on
from agent.core import lifecycle
from agent.core.device import Device
from agent.core.lifecycle import step
from fedge.algorithms.plan import Plan
from fedge.wire.freshness import Attempt, RoundId
from fedge.wire.messages.frame import Blob
from fedge.wire.messages.manifest import Cohort, Manifest
from fedge.wire.messages.receipt import Receipt
from fedge.wire.messages.status import Status
from fedge.wire.reasons import Reason

BOOT, OTHER_BOOT = b"b" * 16, b"o" * 16

FOLLOW_S = 100.0


def digest(text: str) -> bytes:
    return sha256(text.encode()).digest()


def blob(text: str) -> Blob:
    return Blob(digest=digest(text), slot=0, frames=2, size=200_000)


UPDATE, TASK = digest("update"), digest("task 1")


def manifest(round_: int = 1, *, chosen: bool = True, **fields: Any) -> Manifest:
    generation = fields.get("generation", 1)
    survey = round_ == 0
    return Manifest.model_validate(
        {
            "generation": generation,
            "round": round_,
            "kind": "survey" if survey else "train",
            "state": "open",
            "seed": 7,
            "task": blob(f"task {generation}"),
            "model": None if survey else blob(f"model {generation}.{round_}"),
            "plan": None if survey else Plan(),
            "cohort": Cohort(fraction=1.0 if chosen else 1e-12, seed=1),
            "seconds_left": 60.0,
            **fields,
        }
    )


def attempt(generation: int, round_: int, number: int = 0) -> Attempt:
    return Attempt(RoundId(generation, round_), number)


def model_of(round_: int) -> bytes:
    return digest(f"model 1.{round_}")


def announced(said: Manifest, *, now_s: float = 0.0, left_s: float = 60.0) -> on.RoundAnnounced:
    return on.RoundAnnounced(now_s, said, left_s)


def receipt(verdict: str, update: bytes = UPDATE, **fields: Any) -> on.ReceiptArrived:
    reason = Reason.NOT_FINITE if verdict == "refused" else None
    message = {"generation": 1, "round": 1, "update": update, "verdict": verdict, "reason": reason, **fields}
    return on.ReceiptArrived(fields.pop("now_s", 0.0), Receipt.model_validate(message))


def done(round_: int = 1, update: bytes = UPDATE) -> on.Done:
    return on.Done(0.0, RoundId(1, round_), update, b"payload", 100)


FRESH = Device(device="pi", boot=BOOT, version="0", follow_s=FOLLOW_S)

CONNECTED = replace(FRESH, link_up=True, connection=1)

HOLDS = replace(CONNECTED, task=TASK, model=model_of(1), kept=model_of(1), followed_s=0.0)


def story(state: Device, *events: on.Event) -> tuple[Device, list[do.Effect]]:
    """The state after all events, and the effects of the last one."""
    effects: list[do.Effect] = []
    for event in events:
        state, effects = step(state, event)
    return state, effects


def online(state: Device) -> do.PublishStatus:
    return do.PublishStatus(lifecycle.status(state))


@cache
def working() -> Device:
    """It holds what the round needs, and trains."""
    return story(HOLDS, announced(manifest()))[0]


@cache
def reporting() -> Device:
    """It has saved its update, and reports it."""
    return story(working(), done())[0]


@cache
def answered() -> Device:
    """Its update was admitted."""
    return story(reporting(), receipt("admitted"))[0]


# ── the own status ─────────────────────────────────────────────────────────────────────────────────


def status(boot: bytes, *, online: bool = True, connection: int = 1, live: bool = True) -> on.StatusSeen:
    return on.StatusSeen(0.0, Status(online=online, boot=boot, connection=connection, version="0"), live)
