"""The exported file that is announced can be read at any moment, whichever rounds are exported."""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from aggregator.config import FederationSettings
from aggregator.export.job import Exported, Job
from aggregator.ledger.writing import Ledger
from aggregator.shell.announcements import ExportSent
from aggregator.shell.runtime import Runtime
from fedge.transport import LinkDown, LinkEvent, LinkUp, Publication, Sent, Transport
from fedge.wire.assembly import Assembler, Limits
from fedge.wire.encoding import MAX_PAYLOAD
from fedge.wire.frames import FRAME_BYTES
from fedge.wire.freshness import RoundId
from fedge.wire.messages.envelope import unseal
from fedge.wire.messages.export import Export
from fedge.wire.messages.frame import Frame
from fedge.wire.messages.message import unpack
from fedge.wire.topics import Topics
from tests.aggregator.stories import TASK, federation

TOPICS = Topics("greenhouse")
TOML = """\
[federation]
name = "greenhouse"
[model]
features = 2
classes = ["idle", "busy"]
"""


class Broker:
    """Retains the exports, and looks at the announced file after each message."""

    def __init__(self) -> None:
        self.retained: dict[str, bytes] = {}
        self.read: list[RoundId] = []
        """The rounds whose files were announced, one after the other."""
        self.takes = 10**6
        """So many messages more, then the connection is lost."""

    def room(self, topic: str) -> int:
        return MAX_PAYLOAD

    def send(self, publications: Iterable[Publication], token: object = None, *, bulk: bool = False) -> None:
        if not isinstance(token, ExportSent):
            return
        for publication in islice(publications, self.takes):
            self.retained[publication.topic] = publication.payload
            self._look()
        self.sent = Sent(token, None)

    def _look(self) -> None:
        if TOPICS.export not in self.retained:
            return
        said = unseal(self.retained[TOPICS.export], Export)
        assert said.file is not None
        assembler = Assembler(Limits(2**30, 2**30))
        frames = (self.retained[TOPICS.export_frame(said.file.slot, i)] for i in range(said.file.frames))
        whole = [assembler.offer("file", unpack(frame, Frame)) for frame in frames][-1]
        round_id = RoundId(said.generation, said.round)
        assert whole == content(round_id), f"the file of round {round_id} is announced"
        if self.read[-1:] != [round_id]:
            self.read.append(round_id)

    def handle(self, event: LinkEvent) -> None:
        if isinstance(event, LinkUp):
            self.takes = 10**6

    def subscribe(self, *_filters: str) -> None:
        pass


def content(round_id: RoundId) -> bytes:
    return repr(round_id).encode() * (FRAME_BYTES // 10)


def exported(round_id: RoundId) -> Exported:
    return Exported(
        Job(round_id, bytes(32), TASK, np.zeros(1, np.float32), {}, last=False), content(round_id), ""
    )


@pytest.fixture
def settings(tmp_path: Path) -> FederationSettings:
    (tmp_path / "federation.toml").write_text(TOML)
    return FederationSettings.load(tmp_path / "federation.toml", {})


def started(settings: FederationSettings, ledger: Ledger, broker: Broker) -> Runtime:
    runtime = Runtime(
        settings, federation(), ledger, cast(Transport, broker), lambda _job: None, lambda _job: None
    )
    runtime.turn([LinkUp(1, session_present=False, max_packet=2**20)])
    return runtime


def test_skipped_rounds_and_restarts(settings: FederationSettings, ledger: Ledger) -> None:
    broker = Broker()
    runtime = started(settings, ledger, broker)
    rounds = [RoundId(1, 0), RoundId(1, 2), RoundId(1, 4)]
    for round_id in rounds:
        runtime.turn([exported(round_id)])
        runtime.turn([broker.sent])
    rounds += [RoundId(1, 6), RoundId(2, 0)]
    for round_id in rounds[-2:]:
        runtime = started(settings, ledger, broker)
        runtime.turn([exported(round_id)])
        runtime.turn([broker.sent])
    assert broker.read == rounds


def test_the_next_is_ready_before_the_broker_has_answered(
    settings: FederationSettings, ledger: Ledger
) -> None:
    broker = Broker()
    runtime = started(settings, ledger, broker)
    rounds = [RoundId(1, number) for number in (0, 2, 4, 6)]
    for round_id in rounds:
        runtime.turn([exported(round_id)])
    assert broker.read == rounds


@pytest.mark.parametrize("takes", [0, 3])
@pytest.mark.parametrize("restart", [False, True])
def test_what_was_cut_short_comes_again(
    settings: FederationSettings, ledger: Ledger, takes: int, restart: bool
) -> None:
    broker = Broker()
    runtime = started(settings, ledger, broker)
    runtime.turn([exported(RoundId(1, 0))])
    runtime.turn([broker.sent])
    for _ in range(2):
        broker.takes = takes
        runtime.turn([exported(RoundId(1, 1))])
        runtime.turn([LinkDown("cut")])
        if restart:
            runtime = started(settings, ledger, broker)
        else:
            runtime.turn([LinkUp(2, session_present=True, max_packet=2**20)])
    runtime.turn([exported(RoundId(1, 2))])
    assert broker.read == [RoundId(1, 0), RoundId(1, 2)]


def test_a_crash_between_announcement_and_answer(settings: FederationSettings, ledger: Ledger) -> None:
    """The same round is exported again, and the same bytes may be written over what is announced."""
    broker = Broker()
    runtime = started(settings, ledger, broker)
    runtime.turn([exported(RoundId(1, 0))])
    runtime.turn([broker.sent])
    runtime.turn([exported(RoundId(1, 2))])
    runtime = started(settings, ledger, broker)
    runtime.turn([exported(RoundId(1, 2))])
    runtime.turn([broker.sent])
    runtime.turn([exported(RoundId(1, 4))])
    assert broker.read == [RoundId(1, 0), RoundId(1, 2), RoundId(1, 4)]


def test_a_ledger_that_knows_of_no_export_goes_on_as_it_was_done_before(
    settings: FederationSettings, ledger: Ledger
) -> None:
    broker = Broker()
    started(settings, ledger, broker).turn([exported(RoundId(1, 3))])
    assert TOPICS.export_frame(1, 0) in broker.retained
    assert TOPICS.export_frame(0, 0) not in broker.retained


def test_a_file_that_the_broker_refused_is_not_taken_for_the_announced_one(
    settings: FederationSettings, ledger: Ledger
) -> None:
    broker = Broker()
    runtime = started(settings, ledger, broker)
    runtime.turn([exported(RoundId(1, 0))])
    runtime.turn([broker.sent])
    broker.takes = 3
    runtime.turn([exported(RoundId(1, 1))])
    broker.takes = 10**6
    runtime.turn([Sent(broker.sent.token, "Quota exceeded")])
    runtime.turn([exported(RoundId(1, 2))])
    assert broker.read == [RoundId(1, 0), RoundId(1, 2)]
