"""The aggregator's shell, with a real ledger and a link that is never opened."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from aggregator import events as on
from aggregator.config import FederationSettings
from aggregator.ledger.layout import FILE
from aggregator.opening import open_ledger, take_up
from aggregator.presence import Watch
from aggregator.rounds import BEAT_S
from aggregator.runtime import Runtime
from fedge.link import Link, MessageArrived
from fedge.topics import Topics
from tests.aggregator.stories import DEADLINE_S, OURS


class Served:
    """A federation whose survey is open, and a clock."""

    def __init__(self, folder: Path) -> None:
        settings = FederationSettings.model_validate(
            {
                "federation": {"name": "lab"},
                "model": {"features": 2, "classes": ["a", "b"]},
                "rounds": {"deadline_s": DEADLINE_S},
            }
        )
        self.now_s = 1_000.0
        self.ledger = open_ledger(folder / FILE)
        state = take_up(settings, self.ledger, OURS, Watch(0.0), new_generation=False)
        link = Link(settings.broker, "aggregator", lambda _: None)
        self.runtime = Runtime(settings, state, self.ledger, link, lambda _: None, now_s=lambda: self.now_s)
        self.runtime.begin()
        self.runtime.turn([on.BlobsPublished(self.now_s, state.round, None)])


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path)
    yield served
    served.ledger.close()


@pytest.mark.parametrize("flooded", [False, True])
def test_deadline_and_beat_come_in_time_though_messages_never_pause(served: Served, flooded: bool) -> None:
    topic = Topics("lab").update("liar")
    for second in range(10 * int(DEADLINE_S)):
        served.now_s += 1
        served.runtime.turn([MessageArrived(topic, b"garbage", False, None, 1, second)] if flooded else [])
    state = served.runtime.now().state
    assert (state.attempt, state.beat) == (10, 10 * DEADLINE_S / BEAT_S)
