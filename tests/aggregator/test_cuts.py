"""Task, model and export are cut as the broker of the present connection allows; another one may cut anew."""

from collections.abc import Iterable
from typing import Any, cast

import pytest

from aggregator.aggregation.models import blob_of
from aggregator.core import effects as do
from aggregator.ledger.writing import Ledger
from aggregator.shell.announcements import Announcements, BlobsSent
from fedge.transport import Publication, Transport
from fedge.wire.assembly import Assembler, Limits
from fedge.wire.freshness import RoundId
from fedge.wire.messages.envelope import unseal
from fedge.wire.messages.frame import Frame
from fedge.wire.messages.manifest import Cohort, Manifest
from fedge.wire.messages.message import unpack
from fedge.wire.topics import Topics

TOPICS = Topics("lab")
TASK, MODEL = b"task" * 100, bytes(range(250)) * 400
ROUND = RoundId(1, 1)


class Broker:
    """Takes payloads of so many bytes, and keeps what is retained."""

    def __init__(self) -> None:
        self.takes = 131_072
        self.retained: dict[str, bytes] = {}
        self.sent: list[Any] = []

    def room(self, topic: str) -> int:
        return self.takes

    def send(self, publications: Iterable[Publication], token: object = None, *, bulk: bool = False) -> None:
        for publication in publications:
            assert len(publication.payload) <= self.takes
            self.retained[publication.topic] = publication.payload
            if not publication.payload:
                del self.retained[publication.topic]
        self.sent.append(token)

    def whole(self) -> dict[str, bytes | None]:
        """What a device assembles of the announced frames, and how many of them there are besides."""
        announced = unseal(self.retained[TOPICS.round], Manifest)
        found: dict[str, bytes | None] = {}
        for kind, blob in (("task", announced.task), ("model", announced.model)):
            assert blob is not None
            topic = TOPICS.task if kind == "task" else TOPICS.model
            assembler = Assembler(Limits(2**30, 2**30))
            frames = [unpack(self.retained[topic(blob.slot, i)], Frame) for i in range(blob.frames)]
            found[kind] = cast(bytes | None, [assembler.offer(kind, frame) for frame in frames][-1])
        return found

    def frames(self, slot: int) -> int:
        return sum(topic.startswith(f"fedge/v1/lab/model/{slot}/") for topic in self.retained)


@pytest.fixture
def broker() -> Broker:
    return Broker()


def announced(ledger: Ledger, broker: Broker, model_slot: int = 1) -> Announcements:
    """Connect, and publish the round."""
    announcements = Announcements(TOPICS, cast(Transport, broker), ledger, None)
    publish(announcements, ledger, broker, model_slot)
    return announcements


def publish(announcements: Announcements, ledger: Ledger, broker: Broker, model_slot: int = 1) -> None:
    task, model = blob_of(TASK, 0), blob_of(MODEL, model_slot)
    announcements.begin_anew()
    announcements.blobs(do.PublishBlobs(ROUND, task, model))
    with ledger.transaction():
        announcements.hold(cast(BlobsSent, broker.sent[-1]))
    announcements.manifest(
        Manifest(
            generation=1,
            round=1,
            kind="evaluate",
            state="open",
            seed=1,
            task=task,
            model=model,
            cohort=Cohort(fraction=1.0, seed=1),
            seconds_left=60.0,
        )
    )


@pytest.fixture
def ledger(ledger: Ledger) -> Ledger:
    with ledger.transaction():
        ledger.save_content("task", ROUND, blob_of(TASK, 0), TASK)
        ledger.save_content("model", ROUND, blob_of(MODEL, 1), MODEL)
    return ledger


@pytest.mark.parametrize(("takes", "frames"), [(131_072, 1), (20_000, 6), (4_096, 26)])
def test_the_announcement_says_how_it_is_cut(ledger: Ledger, broker: Broker, takes: int, frames: int) -> None:
    """100,000 bytes in frames of at most 20,000 - 115, or 4,096 - 115."""
    broker.takes = takes
    announced(ledger, broker)
    assert broker.whole() == {"task": TASK, "model": MODEL}
    assert broker.frames(1) == frames


@pytest.mark.parametrize("restarted", [False, True])
def test_another_connection_cuts_anew_only_if_the_frames_do_not_fit(
    ledger: Ledger, broker: Broker, restarted: bool
) -> None:
    announcements = announced(ledger, broker)
    for takes, frames in ((20_000, 6), (131_072, 6), (4_096, 26), (20_000, 26)):
        before, fits = dict(broker.retained), broker.frames(1) == frames
        broker.takes = takes
        if restarted:
            announcements = announced(ledger, broker)
        else:
            publish(announcements, ledger, broker)
        assert broker.whole() == {"task": TASK, "model": MODEL}
        assert broker.frames(1) == frames
        assert ledger.slots()["model", 1].frames == frames
        same = [topic for topic in before if "/model/" in topic and before[topic] == broker.retained[topic]]
        assert len(same) == (frames if fits else 0), "devices may be reading them"
    announcements.clear("model", 1)
    assert broker.frames(1) == 0
