"""The aggregator's shell, with a real ledger and a link that is never opened."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from aggregator import events as on
from aggregator.config import FederationSettings
from aggregator.ledger.layout import FILE
from aggregator.opening import open_ledger, take_up
from aggregator.presence import Watch
from aggregator.rounds import BEAT_S
from aggregator.runtime import Runtime
from aggregator.takeover import TakeUp
from fedge.link import Link, MessageArrived
from fedge.messages import pack
from fedge.moments import Moments
from fedge.topics import Topics
from tests.aggregator.stories import DEADLINE_S, OURS, SURVEY, frames, survey


class Served:
    """A federation whose survey is open, and a clock."""

    def __init__(self, folder: Path) -> None:
        self.settings = FederationSettings.model_validate(
            {
                "federation": {"name": "lab"},
                "model": {"features": 2, "classes": ["a", "b"]},
                "rounds": {"deadline_s": DEADLINE_S},
            }
        )
        self.now_s = 1_000.0
        self.ledger = open_ledger(folder / FILE)
        self.start()

    def start(self) -> None:
        """Take up where the ledger stands, and announce the round."""
        state = take_up(self.settings, self.ledger, OURS, TakeUp(Watch(0.0)))
        link = Link(self.settings.broker, "aggregator", lambda _: None)
        self.runtime = Runtime(
            self.settings, state, self.ledger, link, lambda _: None, now_s=lambda: self.now_s
        )
        self.runtime.begin()
        self.runtime.turn([on.BlobsPublished(self.now_s, state.round, None)])

    def surveyed(self, device: str, *, amps: int = 100) -> None:
        """A device sends its survey, with so many values of the second column; then a turn without news."""
        state = self.runtime.now().state
        columns = Moments(np.array([100.0, amps]), np.zeros(2), np.zeros(2)).to_bytes()
        (frame,) = frames(survey(device, state.round, base=state.task.digest, features=columns))
        message = MessageArrived(Topics("lab").update(device), pack(frame), False, None, 1, 1)
        self.runtime.turn([message])
        self.runtime.turn([])


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


def test_a_close_that_failed_does_not_begin_a_rounds_time_anew(served: Served) -> None:
    served.now_s += 5
    for device in ("pi-1", "pi-2"):
        served.surveyed(device, amps=0)
    assert served.runtime.now().state.attempt == 1
    served.now_s += 3
    served.surveyed("pi-3")
    assert served.ledger.summary(SURVEY)["seconds"] == 8


def test_a_rounds_time_goes_on_after_a_restart(served: Served) -> None:
    served.now_s += 5
    served.runtime.end()
    served.now_s += 1_000  # nobody serves
    served.start()
    served.now_s += 3
    for device in ("pi-1", "pi-2"):
        served.surveyed(device)
    assert served.ledger.summary(SURVEY)["seconds"] == 8
