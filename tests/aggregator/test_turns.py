"""A turn of many updates: ledger, receipts and acknowledgements are those of one update after the other."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aggregator.core import events as on
from aggregator.shell import reception
from fedge.algorithms.codecs import float32
from fedge.transport import MessageArrived
from fedge.wire.frames import asking, split
from fedge.wire.freshness import RoundId
from fedge.wire.messages.message import pack
from fedge.wire.topics import Topics
from tests.aggregator.stories import frames, status, update
from tests.aggregator.test_runtime import Served

FLEET = tuple(f"pi-{number}" for number in range(6))
TOPICS = Topics("lab")
KINDS = (
    "plain",
    "samples",
    "far",
    "nan",
    "round",
    "pieces",
    "digest",
    "garbage",
    "foreign",
    "asks",
    "status",
)
sent = st.lists(
    st.tuples(st.sampled_from(FLEET), st.just("plain") | st.sampled_from(KINDS)), min_size=1, max_size=12
)


class Training(Served):
    """A federation whose first round of training is announced to all devices."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        super().__init__(folder)
        self.acknowledged: list[int] = []
        self.runtime._link.acknowledge = lambda message: self.acknowledged.append(message.mid)  # type: ignore[method-assign] # the rest of the link stays
        self.arrive(
            [MessageArrived(TOPICS.status(device), pack(status()), True, None, 1, 1) for device in FLEET]
        )
        for device in FLEET:
            self.surveyed(device)
        self.runtime.turn([self.closed()])
        state = self.runtime.now().state
        assert (state.kind, len(state.online)) == ("train", len(FLEET))
        self.arrive([on.BlobsPublished(self.now_s, state.round, None)])
        self.said.clear()
        self.acknowledged.clear()

    def arrive(self, events: list[Any]) -> None:
        self.runtime.turn(events)

    def messages(self, what: list[tuple[str, str]]) -> list[MessageArrived]:
        """The messages of these devices, in order."""
        found = []
        for device, kind in what:
            topic = TOPICS.status(device) if kind == "status" else TOPICS.update(device)
            for payload in self.payloads(device, kind):
                found.append(MessageArrived(topic, payload, False, None, 1, len(found) + 1))
        return found

    def payloads(self, device: str, kind: str) -> list[bytes]:
        state = self.runtime.now().state
        assert state.model is not None
        vector = np.full(state.weights, 0.25, np.float32)
        changes: dict[str, Any] = {"base": state.model.digest}
        match kind:
            case "samples":
                changes["samples"] = 0
            case "far":
                vector *= np.float32(1e30)
            case "nan":
                vector[0] = np.nan
            case "foreign":
                changes["device"] = "pi-99"
        changes = {"device": device, "body": float32.encode(vector)} | changes
        asked = RoundId(1, 0) if kind == "round" else state.round
        message = update(changes.pop("device"), asked, changes.pop("base"), **changes)
        match kind:
            case "status":
                return [pack(status())]
            case "garbage":
                return [b"garbage"]
            case "pieces":
                return [pack(frame) for frame in frames(message, 2)]
            case "digest":
                (frame,) = frames(message)
                return [pack(frame.model_copy(update={"id": bytes(32)}))]
            case "asks":
                return [asking(split(pack(message))[0], state.round)]
        return [pack(frame) for frame in frames(message)]

    def stored(self) -> list[list[tuple[Any, ...]]]:
        """What the ledger holds of updates and devices."""
        tables = ("answers", "frames", "devices", "rounds")
        with closing(sqlite3.connect(self.path)) as db:
            rows = [db.execute(f"SELECT * FROM {table}").fetchall() for table in tables]
        # When something was written differs; and a transaction writes what belongs together in its own order.
        return [
            sorted(
                repr([each for each in row if not (isinstance(each, float) and each > 1e9)]) for row in table
            )
            for table in rows
        ]


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sent)
def test_a_turn_comes_to_the_same_as_its_messages_one_by_one(
    tmp_path_factory: pytest.TempPathFactory, what: list[tuple[str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("turns")
    together, apart = Training(folder / "together"), Training(folder / "apart")
    messages = together.messages(what)
    together.arrive(messages)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reception, "_whole", lambda *_: None)
        for message in apart.messages(what):
            apart.arrive([message])
    assert together.said == apart.said
    assert together.acknowledged == apart.acknowledged == [message.mid for message in messages]
    assert together.stored() == apart.stored()
    assert together.runtime.now().state.answers == apart.runtime.now().state.answers
    assert len(together.jobs) == len(apart.jobs)
    for each in (together, apart):
        each.ledger.close()


def test_no_receipt_and_no_acknowledgement_goes_before_the_commit(tmp_path: Path) -> None:
    served = Training(tmp_path / "served")
    messages = served.messages([(device, "plain") for device in FLEET])

    def broken() -> None:
        assert (served.said, served.acknowledged) == ([], [])
        raise OSError("no room")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(served.ledger, "_catch_up", broken)
        with pytest.raises(OSError, match="no room"):
            served.arrive(messages)
    assert (served.said, served.acknowledged) == ([], [])
    served.ledger.close()
