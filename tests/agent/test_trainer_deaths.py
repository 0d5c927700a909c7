"""Whatever ends the worker's thread: each job is answered, and the next one is done."""

import asyncio
import ctypes
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from unittest.mock import Mock

import numpy as np
import pytest

from agent.core.events import Done, Failed
from agent.shell.loop import Loop, Stop
from agent.sources import Samples
from agent.sources.arrays import samples_from_arrays
from agent.trainers.assignment import Assignment
from agent.trainers.worker import Worker
from fedge.data.disclosure import withheld
from fedge.wire.reasons import Reason
from tests.agent.test_trainer_pulse import PATIENCE_S, job, settings, until
from tests.wording import assert_tells

Outcomes = SimpleQueue[Done | Failed]


class Bed:
    """A source that first does something else, and then has samples."""

    def __init__(self, *first: Callable[[], object]) -> None:
        self._first = list(first)
        self.threads: list[threading.Thread] = []

    def fingerprint(self) -> object:
        self.threads.append(threading.current_thread())
        return object()

    def read(self) -> Samples:
        if self._first:
            self._first.pop(0)()
        return samples_from_arrays("bed", np.arange(80.0).reshape(40, 2), [0, 1] * 20)


def raising(error: BaseException) -> Callable[[], object]:
    def fails() -> None:
        raise error

    return fails


def in_thread(thread: threading.Thread, error: type[BaseException]) -> None:
    """Have an exception raised there, as libraries do that end what takes too long."""
    assert thread.ident is not None
    assert (
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(error)) == 1
    )


def is_waiting(thread: threading.Thread) -> bool:
    """Whether the worker is in the first line of `_take`, where it waits for a job."""
    assert thread.ident is not None
    frame = sys._current_frames()[thread.ident]
    code = Worker._take.__code__
    return frame.f_code is code and frame.f_lineno == code.co_firstlineno + 1


def trainer(folder: Path, bed: Bed) -> tuple[Worker, Outcomes]:
    outcomes: Outcomes = SimpleQueue()
    return Worker(settings(folder, 600.0), {"data": bed}, outcomes.put), outcomes


def do(worker: Worker, outcomes: Outcomes, work: Assignment | None = None) -> Done | Failed:
    worker.start(work or job())
    return outcomes.get(timeout=PATIENCE_S)


@pytest.mark.parametrize(
    "error",
    [
        asyncio.CancelledError("x"),
        GeneratorExit("x"),
        KeyboardInterrupt("x"),
        SystemExit(3),
        BaseException("x"),
        RuntimeError("x"),
        RecursionError("x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_source_raises_is_a_decline_and_the_next_job_is_done(
    tmp_path: Path, error: BaseException
) -> None:
    bed = Bed(raising(error))
    worker, outcomes = trainer(tmp_path, bed)
    failed = do(worker, outcomes)
    assert isinstance(failed, Failed)
    assert (failed.reason, failed.told) == (Reason.FAILED, withheld(Reason.FAILED))
    assert_tells(failed.detail, type(error).__name__)
    assert isinstance(do(worker, outcomes), Done)
    until(lambda: worker.pulse.overdue_s() == 0.0)
    assert bed.threads[0] is bed.threads[1], "the thread lives on"


def test_an_exception_that_another_thread_has_raised_here_is_a_decline(tmp_path: Path) -> None:
    bed = Bed()
    worker, outcomes = trainer(tmp_path, bed)
    assert isinstance(do(worker, outcomes), Done)
    until(lambda: is_waiting(bed.threads[0]))
    in_thread(bed.threads[0], SystemExit)  # while it waits: it is raised when the next job is here
    assert isinstance(do(worker, outcomes), Failed)
    assert isinstance(do(worker, outcomes), Done)
    with pytest.raises(Empty):
        outcomes.get_nowait()


@pytest.fixture
def deaths(monkeypatch: pytest.MonkeyPatch) -> list[type[BaseException]]:
    """What threads of this test die of."""
    died: list[type[BaseException]] = []
    monkeypatch.setattr(threading, "excepthook", lambda death: died.append(death.exc_type))
    return died


def test_a_job_is_answered_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deaths: list[type[BaseException]]
) -> None:
    worker, outcomes = trainer(tmp_path, Bed())
    monkeypatch.setattr(worker.pulse, "rest", raising(SystemExit()))  # after it is answered
    assert isinstance(do(worker, outcomes), Done)
    until(lambda: not worker._thread.is_alive())  # type: ignore[union-attr]
    assert deaths == [SystemExit]
    with pytest.raises(Empty):
        outcomes.get_nowait()
    monkeypatch.undo()
    assert isinstance(do(worker, outcomes), Done), "a dead worker is replaced when work begins"


def test_a_worker_that_died_is_replaced_when_work_begins(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    deaths: list[type[BaseException]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    bed = Bed()
    worker, outcomes = trainer(tmp_path, bed)

    def takes_and_dies() -> None:
        worker._jobs.get()
        raise SystemExit

    monkeypatch.setattr(worker, "_take", takes_and_dies)
    monkeypatch.setattr(worker.pulse, "rest", raising(SystemExit()))
    assert isinstance(do(worker, outcomes), Failed)
    until(lambda: not worker._thread.is_alive())  # type: ignore[union-attr]
    assert deaths == [SystemExit]
    monkeypatch.undo()
    assert isinstance(do(worker, outcomes), Done)
    assert "ERROR" in {record.levelname for record in caplog.records}, "the owner is told"


def test_what_a_cancelled_job_comes_to_is_no_answer_to_the_next(tmp_path: Path) -> None:
    for ending in (raising(SystemExit()), raising(RuntimeError()), lambda: None):
        begun, end = threading.Event(), threading.Event()

        def held(ending: Callable[[], object] = ending, begun: threading.Event = begun) -> None:
            begun.set()
            assert end.wait(PATIENCE_S)  # noqa: B023 (it is called in this turn of the loop)
            ending()

        worker, outcomes = trainer(tmp_path, Bed(held))
        worker.start(job())
        assert begun.wait(PATIENCE_S)
        worker.cancel()
        worker.start(job())  # of the same round: another aggregator has announced another model
        end.set()
        assert isinstance(outcomes.get(timeout=PATIENCE_S), Done)
        with pytest.raises(Empty):
            outcomes.get_nowait()


def test_an_outcome_that_waits_while_its_job_is_cancelled_is_void(tmp_path: Path) -> None:
    worker, outcomes = trainer(tmp_path, Bed())
    worker.start(job())
    late = outcomes.get(timeout=PATIENCE_S)
    assert not worker.is_void(late)
    worker.cancel()
    worker.start(job())  # of the same round: its plan was changed
    assert worker.is_void(late)
    again = outcomes.get(timeout=PATIENCE_S)
    assert isinstance(again, Done)
    assert not worker.is_void(again)
    assert not worker.is_void(None)


def test_the_loop_hands_no_void_outcome_to_the_runtime(tmp_path: Path) -> None:
    worker, outcomes = trainer(tmp_path, Bed())
    worker.start(job())
    late = outcomes.get(timeout=PATIENCE_S)
    worker.cancel()
    loop = object.__new__(Loop)
    loop._worker, loop._inbox = worker, SimpleQueue()
    loop._watchdog, loop._runtime, loop._link = Mock(), Mock(), Mock()
    loop._watchdog.wait_s.return_value = PATIENCE_S
    loop._runtime.due_s.return_value = None
    loop._inbox.put(late)
    loop.stop()
    assert isinstance(loop._next(), Stop)
