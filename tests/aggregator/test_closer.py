"""The closer's thread: what it computes, what it dies of, and that it holds nobody up."""

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest

import aggregator.aggregation.updates
import fedge.algorithms.rules.mean
from aggregator.aggregation.aggregate import mean_of
from aggregator.aggregation.job import ClosingJob, Computed
from aggregator.aggregation.models import blob_of
from aggregator.core.parts import PartError
from aggregator.core.verdicts import Verdict
from aggregator.ledger.layout import FILE
from aggregator.ledger.writing import Ledger
from aggregator.shell.closer import Closed, Closer
from fedge.errors import DamagedState, StateError
from fedge.wire.models import model_message
from tests.aggregator.stories import OPEN, SURVEY, TASK, P, blob, digest_of, frames, update

PATIENCE_S = 90.0
DEVICES = ("pi-1", "pi-2", "pi-3")
BASE = model_message(SURVEY, np.ones(P, np.float32))
JOB = ClosingJob(OPEN, "train", TASK, blob("task"), blob_of(BASE, 0), seed=7, chosen=1.0)


@contextmanager
def open_ledger(path: Path) -> Iterator[Ledger]:
    ledger = Ledger(path)
    try:
        yield ledger
    finally:
        ledger.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger in which three updates are admitted."""
    path = tmp_path / FILE
    with open_ledger(path) as ledger, ledger.transaction():
        ledger.save_content("model", SURVEY, blob_of(BASE, 0), BASE)
        for samples, device in enumerate(DEVICES, 10):
            message = update(device, samples=samples)
            for frame in frames(message):
                ledger.spool(device, frame)
            ledger.save_answer(OPEN, device, Verdict(digest_of(message), "admitted", samples=samples))
    return path


class Office:
    """A closer at work on a ledger, and what it posts."""

    def __init__(self, path: Path) -> None:
        self.posted: SimpleQueue[Closed] = SimpleQueue()
        self.closer = Closer(path, self.posted.put)

    def closed(self) -> Closed:
        """What it posts next."""
        return self.posted.get(timeout=PATIENCE_S)

    def error(self) -> object:
        """What the job died of."""
        self.closer.submit(JOB)
        return self.closed().outcome


@pytest.fixture
def office(path: Path) -> Iterator[Office]:
    office = Office(path)
    yield office
    office.closer.end()
    assert not office.closer._thread.is_alive()


class Held:
    """A step of the work that waits, each time, until it is let go."""

    def __init__(self, patch: pytest.MonkeyPatch, step: str) -> None:
        self.times = 0
        self.begun, self.go_on = threading.Event(), threading.Event()
        module = aggregator.aggregation.updates if step == "read_update" else fedge.algorithms.rules.mean
        self._step = getattr(module, step)
        patch.setattr(module, step, self)

    def __call__(self, *arguments: Any) -> Any:
        self.times += 1
        self.begun.set()
        assert self.go_on.wait(PATIENCE_S)
        return self._step(*arguments)


def until(condition: Callable[[], bool]) -> None:
    due_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < due_s
        time.sleep(0.01)


def test_it_computes_what_is_committed_and_changes_nothing(office: Office, path: Path) -> None:
    with open_ledger(path) as ledger:
        vector, samples = mean_of(ledger, OPEN, P)
        files = {file: file.read_bytes() for file in (path, path.with_name(f"{FILE}-wal"))}
        with ledger.transaction():  # of the loop, which is at work meanwhile
            ledger.save_elapsed(OPEN, 1.0)
            office.closer.submit(JOB)
            closed = office.closed()
        assert closed.job is JOB
        assert isinstance(closed.outcome, Computed)
        assert closed.outcome.model_data == model_message(OPEN, vector)
        assert (closed.outcome.devices, closed.outcome.samples, closed.outcome.model.slot) == (3, samples, 1)
        assert all(file.read_bytes() == content for file, content in files.items())


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE frames SET data = zeroblob(length(data)) WHERE device = 'pi-2'",
        "DELETE FROM frames WHERE device = 'pi-3'",
        "UPDATE answers SET device = CAST(X'70692DF1' AS TEXT) WHERE device = 'pi-1'",
        "UPDATE answers SET metrics = '{' WHERE device = 'pi-1'",
        "DELETE FROM contents",
    ],
)
def test_what_is_damaged_is_said_to_be(office: Office, path: Path, damage: str) -> None:
    """Also a byte that makes a text none: an error of reading would be tried again for ever."""
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(damage)
    assert isinstance(office.error(), DamagedState)


def test_a_ledger_that_cannot_be_read_just_now_is_not_damaged(office: Office, path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    error = office.error()
    assert isinstance(error, StateError)
    assert not isinstance(error, DamagedState)
    path.with_name("elsewhere").rename(path)
    office.closer.submit(JOB)
    assert isinstance(office.closed().outcome, Computed)


@pytest.mark.parametrize(
    "error", [ValueError("a bug"), MemoryError("too much"), SystemExit("a rule of one's own")]
)
def test_what_a_rule_dies_of_is_posted_and_the_thread_lives(
    office: Office, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def wrong(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(fedge.algorithms.rules.mean, "finish", wrong)
        posted = office.error()
    if isinstance(error, MemoryError):
        assert posted is error
    else:
        assert isinstance(posted, PartError)
        assert posted.__cause__ is error
    assert posted.__traceback__ is not None
    office.closer.submit(JOB)
    assert isinstance(office.closed().outcome, Computed)


def test_what_is_cancelled_reads_no_further_update_and_is_not_posted(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = Held(monkeypatch, "joined")
    office.closer.submit(JOB)
    assert reading.begun.wait(PATIENCE_S)
    office.closer.cancel()
    reading.go_on.set()
    office.closer.end()
    office.closer._thread.join(PATIENCE_S)
    assert reading.times == 1
    assert office.posted.empty()


def test_the_next_job_waits_for_a_rule_that_nobody_waits_for_any_more(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = Held(monkeypatch, "finish")
    office.closer.submit(JOB)
    assert rule.begun.wait(PATIENCE_S)
    office.closer.cancel()
    again = ClosingJob(**vars(JOB))
    office.closer.submit(again)
    rule.go_on.set()
    assert office.closed().job is again
    assert rule.times == 2
    assert office.posted.empty()


def test_a_rule_that_hangs_is_found_out(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aggregator.shell.closer.LONGEST_SILENCE_S", 0.1)
    rule = Held(monkeypatch, "finish")
    office.closer.submit(JOB)
    until(lambda: office.closer.pulse.overdue_s() > 0)
    rule.go_on.set()
    office.closed()
    until(lambda: office.closer.pulse.overdue_s() == 0)


ENDS_IN_THE_MIDDLE = """
import sys, threading
from pathlib import Path
import numpy as np
import aggregator.shell.closer, fedge.algorithms.rules.mean
from tests.aggregator.test_closer import JOB

begun = threading.Event()
noise = np.random.default_rng(0).random(100_000)

def endless(*_sums):
    while True:
        np.sort(noise)
        begun.set()

aggregator.shell.closer.LAST_WAIT_S = 0.1
fedge.algorithms.rules.mean.finish = endless
closer = aggregator.shell.closer.Closer(Path(sys.argv[1]), print)
closer.submit(JOB)
begun.wait()
closer.end()
"""


@pytest.mark.parametrize(
    "code", [ENDS_IN_THE_MIDDLE, ENDS_IN_THE_MIDDLE.replace("np.sort(noise)", "sum(noise)")]
)
def test_a_rule_that_never_ends_keeps_no_program_from_ending(path: Path, code: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_a_closer_that_was_never_used_ends_at_once(tmp_path: Path) -> None:
    closer = Closer(tmp_path / FILE, print)
    closer.end()
    assert closer._thread.ident is None
    assert closer.pulse.overdue_s() == 0
