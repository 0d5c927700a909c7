"""A device that sends garbage is refused with a receipt, counted, and disturbs nobody."""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from aggregator.shell.intake import NOBODY
from fedge.wire import encoding
from fedge.wire.frames import split
from fedge.wire.messages.envelope import unseal
from fedge.wire.messages.fields import MAX_SIZE
from fedge.wire.messages.frame import Frame
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.service import Service
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.update import Update
from fedge.wire.reasons import Reason
from fedge.wire.topics import Topics
from tests.system.audit import check_books
from tests.system.federations import CLASSIFIER, motions
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.probes import Member
from tests.system.wiretap import Wiretap, digest
from tests.wording import assert_tells

pytestmark = pytest.mark.system

WEIGHTS = 5 * 12 + 12 + 12 * 3 + 3
"""p of `CLASSIFIER`: two dense layers, 5 → 12 → 3."""


def update(manifest: Manifest, device: str, **changes: Any) -> bytes:
    """An update that would be admitted, but for the changes."""
    assert manifest.model is not None
    honest = Update(
        generation=manifest.generation,
        round=manifest.round,
        base=manifest.model.digest,
        device=device,
        samples=40,
        steps=15,
        kind="weights",
        codec="float32",
        body=np.zeros(WEIGHTS, dtype="<f4").tobytes(),
    )
    return encoding.encode({**encoding.decode(pack(honest)), **changes})


def framed(message: bytes) -> tuple[bytes, bytes]:
    """A message of one frame: the payload to publish, and the id that its receipt will name."""
    (frame,) = split(message)
    return frame, digest(message)


def raw(payload: bytes) -> tuple[bytes, bytes]:
    """What is no frame has no id but its own digest."""
    return payload, digest(payload)


def numbers(value: float, at: int = 0, count: int = WEIGHTS) -> bytes:
    vector = np.zeros(count, dtype="<f4")
    vector[at] = value
    return vector.tobytes()


def forged(message: bytes) -> tuple[bytes, bytes]:
    """A frame whose data is not what its id says."""
    frame = Frame(id=b"f" * 32, i=0, n=1, size=len(message), data=message)
    return pack(frame), frame.id


def announced(size: int) -> tuple[bytes, bytes]:
    """The first of many frames, with 3 bytes of what is said to be `size` in all."""
    frame = Frame(id=b"h" * 32, i=0, n=4_096, size=size, data=b"abc")
    return pack(frame), frame.id


def survey(manifest: Manifest, device: str) -> bytes:
    return pack(
        Survey(
            generation=manifest.generation,
            round=manifest.round,
            base=manifest.task.digest,
            device=device,
            samples=40,
            features=bytes(3 * 5 * 8),
        )
    )


Make = Callable[[Manifest, str], tuple[bytes, bytes]]


def changed(**changes: Any) -> Make:
    return lambda manifest, device: framed(update(manifest, device, **changes))


GARBAGE: dict[str, tuple[Make, Reason, str]] = {
    "random-bytes": (lambda _m, _d: raw(np.random.default_rng(0).bytes(200)), Reason.MALFORMED, ""),
    "text": (lambda _m, _d: raw(b"hello?"), Reason.MALFORMED, ""),
    "other-version": (
        lambda _m, _d: raw(encoding.encode({"v": 2, "type": "frame"})),
        Reason.UNKNOWN_VERSION,
        "version 1",
    ),
    "wrong-message": (
        lambda m, d: raw(update(m, d)),
        Reason.MALFORMED,
        "'update'",
    ),
    "large-payload": (lambda _m, _d: raw(bytes(200_000)), Reason.OVERSIZE, "131072"),
    "two-gigabytes": (lambda _m, _d: announced(MAX_SIZE), Reason.OVERSIZE, str(MAX_SIZE)),
    "ill-cut": (lambda _m, _d: announced(8_192), Reason.MALFORMED, "4096"),
    "forged-digest": (lambda m, d: forged(update(m, d)), Reason.MALFORMED, "digest"),
    "text-as-number": (changed(samples="many"), Reason.MALFORMED, "update: samples: "),
    "number-as-bytes": (changed(body=17), Reason.MALFORMED, "update: body: "),
    "half-samples": (changed(samples=20.5), Reason.MALFORMED, "update: samples: "),
    "unknown-codec": (changed(codec="zip"), Reason.UNSUPPORTED, "'zip'"),
    "not-a-number": (
        changed(body=numbers(np.nan, at=7)),
        Reason.NOT_FINITE,
        "7 is nan",
    ),
    "infinite": (
        changed(body=numbers(-np.inf, at=9)),
        Reason.NOT_FINITE,
        "9 is -inf",
    ),
    "short": (changed(body=numbers(0, count=WEIGHTS - 1)), Reason.WRONG_LENGTH, ""),
    "odd": (changed(body=b"abc"), Reason.WRONG_LENGTH, ""),
    "boaster": (changed(samples=10**12), Reason.BAD_SAMPLE_COUNT, "1…1000000"),
    "nothing": (changed(samples=0), Reason.BAD_SAMPLE_COUNT, "1…1000000"),
    "negative": (changed(samples=-40), Reason.BAD_SAMPLE_COUNT, "1…1000000"),
    "thief": (
        lambda m, _d: framed(update(m, "device-0")),
        Reason.FOREIGN_DEVICE,
        "'device-0'",
    ),
    "other-base": (changed(base=b"b" * 32), Reason.WRONG_BASE, "626262"),
    "other-life": (changed(generation=9), Reason.OTHER_GENERATION, "generation 9"),
    "stale": (changed(round=0), Reason.STALE_ROUND, "1.0"),
    "early": (changed(round=5), Reason.FUTURE_ROUND, "1.5"),
    "difference": (changed(kind="delta"), Reason.WRONG_KIND, "weights"),
    "all-knowing": (
        changed(metrics={"accuracy_before": 1e9, "held_out": 10.0}),
        Reason.IMPLAUSIBLE,
        "accuracy_before = 1000000000",
    ),
    "below-nothing": (
        changed(metrics={"held_loss_before": -1e300, "held_out": 10.0}),
        Reason.IMPLAUSIBLE,
        "held_loss_before = -1e+300",
    ),
    "much-loaded": (
        changed(metrics={"received_bytes": 1e300}),
        Reason.IMPLAUSIBLE,
        "received_bytes = 1e+300",
    ),
    "surveyor": (lambda m, d: framed(survey(m, d)), Reason.WRONG_KIND, "'train'"),
}


def test_garbage_is_refused_with_a_receipt_and_counted(fleet: FleetOfProcesses) -> None:
    fleet.configure(
        model=CLASSIFIER,
        rounds={"quorum": 3, "target": 3, "deadline_s": 3_600.0},
        stopping={"rounds": 2},
    )
    for number in range(3):
        fleet.device(f"device-{number}", *motions(number))
    honest = set(fleet.devices)
    fleet.devices["device-2"].hold(2)
    fleet.start_devices()
    fleet.start_aggregator("--exit-when-done")
    fleet.until(lambda: fleet.admitted(1) == {"device-0", "device-1"}, "round 1 is open")
    with Wiretap(fleet) as tap:
        fleet.until(lambda: (m := tap.manifest()) is not None and m.round == 1, "it is announced")
        manifest = tap.manifest()
        assert manifest is not None
        sent: dict[str, bytes] = {}
        for device, (make, _, _) in GARBAGE.items():
            payload, sent[device] = make(manifest, device)
            tap.introduce(device)  # else it is counted as unknown
            tap.say(tap.topics.update(device), payload)
        for device, (_, reason, text) in GARBAGE.items():
            receipt = tap.receipt(device, sent[device])
            assert (receipt.verdict, receipt.reason) == ("refused", reason), device
            assert text in receipt.detail, device
            assert receipt.detail, device

        # The same again: it gets its verdict again; another one in the same round: it had its answer.
        payload, again = GARBAGE["not-a-number"][0](manifest, "not-a-number")
        tap.receipts.clear()
        tap.say(tap.topics.update("not-a-number"), payload)
        assert tap.receipt("not-a-number", again).reason == Reason.NOT_FINITE
        payload, other = framed(update(manifest, "not-a-number"))
        tap.say(tap.topics.update("not-a-number"), payload)
        assert tap.receipt("not-a-number", other).reason == Reason.ALREADY_ANSWERED
        # An honest device's second thoughts do not replace its first answer.
        payload, other = framed(update(manifest, "device-0", samples=1))
        tap.say(tap.topics.update("device-0"), payload)
        assert tap.receipt("device-0", other).reason == Reason.ALREADY_ANSWERED

        # What is no update has no receipt, and no effect: foreign lanes, statuses, the service's own topics.
        prefix = f"fedge/v1/{fleet.name}"
        for topic in ("update/zz/x", "update/00/device-1", "status/device-1/more", "status/UPPER", "service"):
            tap.say(f"{prefix}/{topic}", bytes(range(200, 256)))
        tap.say(tap.topics.status("wrong-status"), b"\xc1")
        tap.say(tap.topics.update("empty"), b"")

        # Counts are written with the beat.
        count = len(GARBAGE) + 2
        fleet.until(lambda: sum(row.refused for row in fleet.seen().values()) == count, "all are counted")
        seen = fleet.seen()
        for device, (_, reason, _) in GARBAGE.items():
            assert seen[device].admitted == 0, device
            assert seen[device].refused == (2 if device == "not-a-number" else 1), device
            assert seen[device].last_refusal == (
                Reason.ALREADY_ANSWERED if device == "not-a-number" else reason
            ), device
        assert seen["device-0"].refused == 1

        fleet.devices["device-2"].release()
        assert fleet.ends() == 0

    assert [(row.attempt, row.devices) for row in fleet.rounds()] == [(0, 3)] * 3
    assert fleet.admitted(1) == fleet.admitted(2) == honest
    assert check_books(fleet) == 2
    log = fleet.log()
    assert_tells(log, "round 1.1: ", "boaster", "(bad_sample_count)", "1000000000000")
    assert "Traceback" not in log
    final = fleet.final_model()
    fleet.until(
        lambda: all(device.held_model() == final for device in fleet.devices.values()),
        "the honest devices hold the final model",
    )


FLOOD = """\
import sys
import paho.mqtt.client as mqtt

client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
client.connect("127.0.0.1", int(sys.argv[1]))
client.loop_start()
while True:
    for _ in range(20):
        last = client.publish(sys.argv[2], b"garbage", qos=1)
    last.wait_for_publish()
"""


@pytest.mark.chaos  # for its dozen seconds
def test_a_flood_stops_neither_the_round_nor_the_beat_nor_anybodys_receipt(fleet: FleetOfProcesses) -> None:
    """The liar publishes as fast as the broker lets it, until the round is closed."""
    fleet.configure(model=CLASSIFIER, rounds={"quorum": 3, "target": 3, "deadline_s": 3.0})
    for number in range(3):
        fleet.device(f"device-{number}", *motions(number))
    fleet.start_aggregator()
    topics, port = Topics(fleet.name), fleet.broker.url.rsplit(":", 1)[1]
    listener = Member(int(port)).open()

    def heard(wanted: str) -> list[bytes]:
        return [payload for topic, _, payload in listener.heard.copy() if topic == wanted]

    def beats() -> set[int]:
        return {unpack(payload, Service).beat for payload in heard(topics.service)}

    def attempts() -> set[int]:
        return {unseal(payload, Manifest).attempt for payload in heard(topics.round)}

    try:
        listener.subscribe([topics.service, topics.round])
        fleet.until(lambda: bool(attempts()), "the survey is announced")
        fleet.start_program("liar", [sys.executable, "-c", FLOOD, port, topics.update("liar")])
        fleet.until(lambda: NOBODY in (seen := fleet.seen()) and seen[NOBODY].refused > 50, "a flood")
        known = len(attempts()), len(beats())
        fleet.start_devices("device-0", "device-1")
        fleet.until(lambda: verdicts(fleet) == {"admitted"}, "both get their receipts")
        fleet.until(lambda: len(attempts()) > known[0] + 1, "the deadline comes, and comes again")
        fleet.until(lambda: len(beats()) > known[1], "the beat goes on")
        fleet.start_devices("device-2")
        fleet.until(lambda: len(fleet.rounds()) > 1, "the survey is closed")
    finally:
        listener.close()
    assert fleet.rounds()[0].devices == 3
    assert "Traceback" not in fleet.log()


def verdicts(fleet: FleetOfProcesses) -> set[str | None]:
    """What device-0 and device-1 know of their updates."""
    saved = [fleet.devices[name].saved() for name in ("device-0", "device-1")]
    return {update[3] if update is not None else None for update in saved}
