"""The aggregator's shell, with a real ledger, a link that is never opened and a closer driven by hand."""

import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aggregator.aggregation.job import ClosingJob
from aggregator.config import FederationSettings
from aggregator.core import events as on
from aggregator.core.presence import LeaderCheck
from aggregator.core.receipts import BUSY_RETRY_S
from aggregator.core.rounds import BEAT_S
from aggregator.core.takeover import TakeUp
from aggregator.ledger.layout import FILE
from aggregator.ledger.reading import read_only
from aggregator.shell.closer import Closed, close
from aggregator.shell.ledger_file import open_ledger
from aggregator.shell.runtime import Runtime
from aggregator.shell.startup import take_up
from fedge.data.moments import Moments
from fedge.errors import DamagedState, FedgeError, StateError
from fedge.transport import LinkDown, LinkUp, MessageArrived, Publication, Sent
from fedge.transport.mqtt import MqttTransport
from fedge.wire.freshness import RoundId
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.receipt import Receipt
from fedge.wire.topics import Topics
from tests.aggregator.stories import DEADLINE_S, OURS, SURVEY, frames, status, survey
from tests.wording import assert_tells


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
        self.path = folder / FILE
        self.jobs: list[ClosingJob] = []
        """What the closer was given."""
        self.said: list[Publication] = []
        self.start()

    def start(self) -> None:
        """Take up where the ledger stands, and announce the round."""
        state = take_up(self.settings, self.ledger, OURS, TakeUp(LeaderCheck(0.0)))
        link = MqttTransport(self.settings.broker, "aggregator", lambda _: None)
        link.reply = self.said.append  # type: ignore[method-assign]
        self.runtime = Runtime(
            self.settings,
            state,
            self.ledger,
            link,
            self.jobs.append,
            lambda _: None,
            now_s=lambda: self.now_s,
        )
        self.runtime.begin()
        self.runtime.turn([on.LinkUp(self.now_s), on.BlobsPublished(self.now_s, state.round, None)])

    def closed(self) -> Closed:
        """What the closer makes of its last job."""
        return close(lambda: read_only(self.path), self.jobs[-1])

    def surveyed(self, device: str, *, amps: int = 100) -> None:
        """A device sends its survey, with so many values of the second column."""
        state = self.runtime.now().state
        columns = Moments(np.array([100.0, amps]), np.zeros(2), np.zeros(2)).to_bytes()
        (frame,) = frames(survey(device, state.round, base=state.task.digest, features=columns))
        message = MessageArrived(Topics("lab").update(device), pack(frame), False, None, 1, 1)
        self.runtime.turn([message])

    def closing(self) -> None:
        """Enough have answered: the survey is being closed."""
        for device in ("pi-1", "pi-2"):
            self.surveyed(device)
        assert len(self.jobs) == 1

    @property
    def stage(self) -> str:
        return self.runtime.now().state.stage


def says(served: Served, device: str, seen: RoundId) -> None:
    """A device's status tells which round it has seen last."""
    message = MessageArrived(Topics("lab").status(device), pack(status(seen=seen)), False, None, 1, 1)
    served.runtime.turn([message])


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
    served.runtime.turn([served.closed()])
    assert served.runtime.now().state.attempt == 1
    served.now_s += 3
    served.surveyed("pi-3")
    served.runtime.turn([served.closed()])
    assert served.ledger.summary(SURVEY)["seconds"] == 8


def test_a_rounds_time_goes_on_after_a_restart(served: Served) -> None:
    served.now_s += 5
    served.runtime.end()
    served.now_s += 1_000  # nobody serves
    served.start()
    served.now_s += 3
    for device in ("pi-1", "pi-2"):
        served.surveyed(device)
    served.runtime.turn([served.closed()])
    assert served.ledger.summary(SURVEY)["seconds"] == 8


def test_while_a_round_is_closed_time_passes_and_devices_are_answered(served: Served) -> None:
    served.closing()
    before = served.runtime.now().state
    for _ in range(60):
        served.now_s += 1
        served.runtime.turn([])
    served.surveyed("pi-3")
    receipt = unpack(served.said[-1].payload, Receipt)
    state = served.runtime.now().state
    assert (state.stage, state.beat - before.beat) == ("closing", 60 / BEAT_S)
    assert (receipt.verdict, receipt.after_s) == ("retry", BUSY_RETRY_S)
    assert served.ledger.answers(SURVEY).keys() == {"pi-1", "pi-2"}
    served.runtime.turn([served.closed()])
    assert served.stage == "preparing"
    assert served.ledger.last_closed(1) == SURVEY
    assert served.ledger.summary(SURVEY)["seconds"] == 60
    assert len(served.jobs) == 1


def test_all_that_counts_can_be_read_over_another_connection_when_the_job_begins(served: Served) -> None:
    found: list[Closed] = []

    def at_once(job: ClosingJob) -> None:
        served.jobs.append(job)
        found.append(served.closed())

    served.runtime._job._close = at_once
    served.closing()
    served.runtime.turn(found)
    assert served.ledger.last_closed(1) == SURVEY
    assert served.runtime._counters.rounds == 1


def test_what_was_computed_for_another_runtime_is_dropped(served: Served) -> None:
    """Of the same round even: the ledger could not be written, and its last word was taken up again."""
    served.closing()
    late = served.closed()
    served.start()
    assert served.jobs[1] == served.jobs[0], "the same is computed once more"
    served.runtime.turn([late])
    assert served.stage == "closing"
    assert served.ledger.last_closed(1) is None
    served.runtime.turn([served.closed()])
    assert served.ledger.last_closed(1) == SURVEY


def test_what_was_computed_of_another_round_or_twice_is_dropped(served: Served) -> None:
    served.closing()
    closed = served.closed()
    for round_id in (SURVEY._replace(round=1), SURVEY._replace(generation=2)):
        served.runtime.turn([Closed(replace(closed.job, round=round_id), closed.outcome)])
        assert served.ledger.last_closed(1) is None
    served.runtime.turn([closed])
    state = served.runtime.now().state
    served.runtime.turn([closed])
    assert served.runtime.now().state == state
    assert served.runtime._counters.rounds == 1


@pytest.mark.parametrize(
    "error", [StateError("full"), DamagedState("bits"), MemoryError("vast"), ValueError("a bug")]
)
def test_what_a_job_dies_of_ends_the_turn_and_nothing_of_it_is_kept(served: Served, error: Exception) -> None:
    served.closing()
    topic, silence = Topics("lab").update("liar"), len(served.said)
    with pytest.raises(type(error)) as caught:
        served.runtime.turn(
            [MessageArrived(topic, b"garbage", False, None, 1, 1), Closed(served.jobs[-1], error)]
        )
    assert caught.value is error
    assert len(served.said) == silence
    served.start()
    assert served.jobs[1] == served.jobs[0]
    served.runtime.turn([served.closed()])
    assert served.ledger.last_closed(1) == SURVEY


def test_a_stop_while_a_round_is_closed_is_no_gift_of_time(served: Served) -> None:
    served.now_s += 5
    served.closing()
    served.now_s += BEAT_S
    served.runtime.turn([])
    saved = served.ledger.round_as_saved(SURVEY)
    assert saved is not None
    assert saved.elapsed_s == 15
    served.now_s += 2
    served.runtime.end()
    saved = served.ledger.round_as_saved(SURVEY)
    assert saved is not None
    assert saved.elapsed_s == 17


@pytest.mark.parametrize(("young", "code"), [(True, os.EX_TEMPFAIL), (False, os.EX_CONFIG)])
def test_what_others_may_still_change_is_no_end_for_a_human_to_look_at(
    served: Served, young: bool, code: int
) -> None:
    """An empty ledger that began while the broker had lost its memory too, and then hears who has one."""
    if not young:
        for device in ("pi-1", "pi-2"):
            says(served, device, RoundId(0, 0))
        served.closing()
        served.runtime.turn([served.closed()])
        served.start()
    newer = RoundId(1, 500)
    says(served, "pi-1", newer)
    with pytest.raises(FedgeError, match=r"pi-1 \(1\.500\), pi-2 \(1\.500\)") as caught:
        says(served, "pi-2", newer)
    assert caught.value.exit_code == code
    assert ("listening for others" in str(caught.value)) == young


def test_after_the_survey_the_log_says_who_took_part_and_what_suits_their_sizes(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    """Surveys of 100 samples: with E = 5 and B = 16 that is 5 · 7 steps."""
    caplog.set_level(logging.INFO, "fedge.aggregator")
    served.closing()
    served.runtime.turn([served.closed()])
    assert_tells(caplog.text, "2 of 2 online")
    assert_tells(caplog.text, "round 1.0: ", "2 devices", "100 rows", "[plan] epochs = 5", "35 local steps")


def test_a_broker_that_ends_each_connection_is_told_of_once(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    """10 s up and down for an hour is 360 times: said after 0, 30, 90, 210, 450, 930 and 1,890 s."""
    caplog.set_level(logging.INFO, "fedge.aggregator")
    for number in range(360):
        served.runtime.turn([LinkDown("b:1883 closed the connection"), LinkUp(number, True, 1_000)])
        served.now_s += 10.0
    lines = [record.getMessage() for record in caplog.records]
    lost = [line for line in lines if "b:1883 closed" in line]
    assert len(lost) == 7
    assert_tells(lost[-1], "95 more times")
    assert len(lines) - len(lost) < 40, "and not 360"


def test_what_is_not_published_each_time_is_told_once(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    for size in range(5_000, 5_010):
        text = f"fedge/v1/lab/round: a packet of {size} bytes is over the broker's limit of 4200"
        served.runtime.turn([Sent(None, text)])
    (line,) = (
        record.getMessage() for record in caplog.records if "fedge/v1/lab/round" in record.getMessage()
    )
    assert_tells(line, "not published", "5000", "4200")
