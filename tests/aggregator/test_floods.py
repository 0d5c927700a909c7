"""Whoever floods the aggregator fills neither its log nor its disk, and is heard again when it is honest."""

import logging
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from aggregator.core.rounds import BEAT_S
from aggregator.ledger.views import read_devices
from fedge.service.logs import _Line
from fedge.transport import MessageArrived
from fedge.wire import encoding
from fedge.wire.capabilities import BASE
from fedge.wire.frames import split
from fedge.wire.messages.frame import Frame
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.receipt import Receipt
from fedge.wire.messages.status import Decline, Status
from fedge.wire.reasons import Reason
from fedge.wire.topics import Topics
from tests.aggregator.stories import SURVEY, decline, frames, status, survey
from tests.aggregator.test_runtime import Served

TOPICS = Topics("lab")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path)
    yield served
    served.ledger.close()


def sent(topic: str, payload: bytes) -> MessageArrived:
    return MessageArrived(topic, payload, False, None, 1, 1)


def says(served: Served, device: str, said: Status) -> None:
    served.runtime.turn([sent(TOPICS.status(device), pack(said))])


def later(served: Served, seconds: float) -> None:
    served.now_s += seconds
    served.runtime.turn([])


def writes(served: Served) -> int:
    return int(served.ledger._db.total_changes)


# ── statuses ───────────────────────────────────────────────────────────────────────────────────────


def test_a_status_that_changes_often_is_written_at_once_and_then_with_the_beat(served: Served) -> None:
    says(served, "pi-1", status())
    (row,) = read_devices(served.path)
    assert (row.online, row.round) == (True, (0, 0))
    before = writes(served)
    for number in range(100):
        says(served, "pi-1", status(seen=SURVEY._replace(round=number)))
    assert writes(served) == before
    later(served, BEAT_S)
    assert read_devices(served.path)[0].round == (1, 99)
    assert writes(served) - before <= 2, "the status, and how long the round has lasted"


def test_of_statuses_that_come_too_fast_the_newest_is_looked_at_with_the_beat(served: Served) -> None:
    for number in range(1_000):
        says(served, "pi-1", status(online=number % 2 == 0))
    says(served, "pi-1", status(declined=decline(SURVEY)))
    assert "pi-1" not in served.runtime.now().state.declined, "not yet"
    assert len(served.runtime._intake.waiting()) == 1
    says(served, "pi-1", status(declined=decline(SURVEY)))
    says(served, "pi-2", status())
    assert "pi-2" in served.runtime.now().state.online, "nobody else waits"
    later(served, BEAT_S)
    assert served.runtime.now().state.declined["pi-1"] == decline(SURVEY)
    assert read_devices(served.path)[0].online


def test_how_a_message_was_published_decides_nothing(served: Served, tmp_path: Path) -> None:
    """Retained or not, to be forgotten at once or never; and an empty one, which clears what is retained."""
    (tmp_path / "plain").mkdir()
    plain = Served(tmp_path / "plain")
    state = served.runtime.now().state
    (frame,) = frames(survey("pi-1", state.round, base=state.task.digest))
    for topic, payload in ((TOPICS.status("pi-1"), pack(status())), (TOPICS.update("pi-1"), pack(frame))):
        for retained, left_s in ((True, None), (True, 0), (False, 1)):
            plain.runtime.turn([sent(topic, payload)])
            served.runtime.turn([MessageArrived(topic, payload, retained, left_s, 1, 1)])
            served.runtime.turn([sent(topic, b"")])
        assert served.runtime.now().state == plain.runtime.now().state
    assert [unpack(said.payload, Receipt).verdict for said in served.said] == ["admitted"] * 3
    assert served.said == plain.said
    plain.ledger.close()


# ── updates ────────────────────────────────────────────────────────────────────────────────────────


def test_refusals_are_counted_in_the_ledger_with_the_beat(served: Served) -> None:
    says(served, "liar", status())
    before = writes(served)
    for number in range(50):
        served.runtime.turn([sent(TOPICS.update("liar"), b"garbage %d" % number)])
    assert writes(served) == before, "no write, and so nothing to be synced, for any of them"
    later(served, BEAT_S)
    (row,) = read_devices(served.path)
    assert (row.refused, row.last_refusal) == (50, "malformed")
    served.runtime.turn([sent(TOPICS.update("liar"), b"garbage")])
    served.runtime.end()
    assert read_devices(served.path)[0].refused == 51


def test_whoever_floods_is_heard_again_and_nobody_else_is_harmed(served: Served) -> None:
    for device in ("pi-1", "pi-2"):
        says(served, device, status())
    for number in range(5_000):
        served.runtime.turn([sent(TOPICS.update("pi-1"), b"garbage %d" % number)])
    receipts = len(served.said)
    assert receipts < 300
    served.surveyed("pi-1")
    assert len(served.said) == receipts, "dropped, as if it were lost"
    served.surveyed("pi-2")
    assert unpack(served.said[-1].payload, Receipt).verdict == "admitted"
    served.now_s += 60
    served.surveyed("pi-1")  # it asks again, until it is answered
    assert unpack(served.said[-1].payload, Receipt).verdict == "admitted"


def test_devices_that_never_told_a_status_share_one_allowance(served: Served) -> None:
    for number in range(5_000):
        served.runtime.turn([sent(TOPICS.update(f"name-{number}"), b"garbage")])
    assert len(served.runtime._intake._updates) == 1
    assert len(served.said) < 200
    says(served, "pi-1", status())
    served.surveyed("pi-1")
    assert unpack(served.said[-1].payload, Receipt).verdict == "admitted"


def test_refusals_of_names_that_nobody_knows_are_counted_under_one(served: Served) -> None:
    """Where the broker binds no names, whoever may write can make up as many as it likes."""
    says(served, "pi-1", status())
    for number in range(300):
        served.runtime.turn([sent(TOPICS.update(f"name-{number}"), b"garbage")])
    served.runtime.turn([sent(TOPICS.update("pi-1"), b"garbage")])
    later(served, BEAT_S)
    known, unknown = sorted(read_devices(served.path), key=lambda row: row.refused)
    assert (known.device, known.refused) == ("pi-1", 1)
    assert unknown.device == "(unknown)"
    assert 60 < unknown.refused < 300, "what is worked on"


def test_a_storm_of_reconnecting_devices_loses_nothing(served: Served) -> None:
    """300 devices come back at once, each with a status and its update, and again after a lost session."""
    names = [f"pi-{number}" for number in range(300)]
    for _ in range(3):
        served.runtime.turn([sent(TOPICS.status(name), pack(status())) for name in names])
    state = served.runtime.now().state
    assert state.online == set(names)
    for name in names[1:]:
        (frame,) = frames(survey(name, state.round, base=state.task.digest, samples=0))
        served.runtime.turn([sent(TOPICS.update(name), pack(frame))] * 3)
    assert served.runtime.now().state.answers.keys() == set(names[1:])


# ── a day of it ────────────────────────────────────────────────────────────────────────────────────


def lies(rng: random.Random, served: Served) -> Iterator[tuple[str, bytes]]:
    """One of each kind: topic and payload, never the same twice."""
    state = served.runtime.now().state
    update, own = TOPICS.update("liar"), TOPICS.status("liar")
    yield update, rng.randbytes(50)
    yield update, encoding.encode({"v": rng.randrange(2, 9), "type": "frame"})
    yield update, bytes(140_000)
    yield update, pack(Frame(id=rng.randbytes(32), i=0, n=1, size=9, data=b"not so it"))
    yield update, pack(Frame(id=rng.randbytes(32), i=rng.randrange(7), n=8, size=8_000, data=bytes(1_000)))
    honest = survey("liar", state.round, base=state.task.digest, metrics={"x": rng.random()})
    # None that is its answer in the round: from then on nothing more would be taken of it.
    for changes in ({"device": "pi-1"}, {"round": 7}, {"generation": 9}, {"base": bytes(32)}):
        yield update, split(pack(honest.model_copy(update=changes)))[0]
    for reason in (Reason.TOO_HOT, Reason.FAILED, rng.choice(list(Reason))):
        text = "ü" * 490 + str(rng.random())
        why = Decline(generation=1, round=0, attempt=state.attempt, reason=reason, detail=text[:500])
        yield own, pack(status(declined=why))
    yield own, pack(status(seen=SURVEY._replace(round=rng.randrange(2**31))))
    able = (*BASE, f"x:{rng.random()}"[:20])
    yield own, pack(status(online=rng.random() < 0.5).model_copy(update={"can": able}))
    yield own, rng.randbytes(60)
    yield own.replace("/v1/", "/v2/"), rng.randbytes(9)


@pytest.mark.slow
def test_a_day_of_garbage_from_one_member(served: Served, tmp_path: Path) -> None:
    """16 messages in every fifth second, more than twice what is worked on; what is beyond is dropped.

    More would be dropped in the same way, before anything else is done with them.
    """
    rng, log = random.Random(8), tmp_path / "log"
    handler = logging.FileHandler(log)
    handler.setFormatter(_Line("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("fedge.aggregator")
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.INFO)
    wal = served.path.with_name(served.path.name + "-wal")
    says(served, "pi-1", status())
    says(served, "liar", status())
    later(served, BEAT_S)
    before, began = served.path.stat().st_size, writes(served)
    sent_messages, beats = 0, int(served.runtime.now().state.beat)
    try:
        for _ in range(17_280):
            messages = [sent(topic, payload) for topic, payload in lies(rng, served)]
            served.runtime.turn(messages)
            sent_messages += len(messages)
            later(served, 5)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        handler.close()
    served.ledger._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    grown = served.path.stat().st_size - before
    figures = (
        f"{sent_messages:,} messages: log {log.stat().st_size:,} bytes, ledger +{grown:,} bytes, "
        f"{writes(served) - began:,} rows written"
    )
    print(figures)
    assert log.stat().st_size < 20e6, figures
    assert grown < 300_000, figures
    assert wal.stat().st_size < 10e6
    assert served.runtime.now().state.beat - beats == 8_640
    served.surveyed("pi-1")
    assert unpack(served.said[-1].payload, Receipt).verdict == "admitted"
