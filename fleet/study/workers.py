"""Processes that run the cells of a study at once, and tell of each round."""

import logging
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from fedge.algorithms.registry import load
from fedge.errors import ConfigError, FedgeError
from fleet.demo.threads import ONE_THREAD
from fleet.library.simulation import remove_left_by
from fleet.study.deal import Deal, Table
from fleet.study.runs import Cell, Run, run
from fleet.study.settings import StudySettings

ENDING_S = 5.0
"""How long a process may take to remove its temporary folder before it is killed."""


@dataclass(frozen=True)
class Round:
    """A round of a run has closed."""

    cell: Cell
    round: int
    figure: float | None
    """Of the model on the test rows."""
    seconds: float | None = None
    """When the model was made, in virtual seconds; None: devices train in no time."""


@dataclass(frozen=True)
class Failed:
    """A run cannot be done."""

    cell: Cell
    text: str
    error: type[FedgeError] = FedgeError


@dataclass
class _Worker:
    process: BaseProcess
    line: Connection
    cell: Cell | None = None


def run_all(
    settings: StudySettings,
    asked: Sequence[Cell],
    jobs: int,
    table: Callable[[StudySettings], Table] | None = None,
    most: Callable[[Cell], int] | None = None,
) -> Generator[Round | Run | Failed]:
    """Run cells in processes of their own; yield each round that closes and each run that is done.

    A run that cannot be done does not end the others: it is told when it fails, and raised at the end. When
    the caller stops to ask, the processes end.

    Args:
        settings: of the study.
        asked: what to run, in this order.
        jobs: the number of processes.
        table: reads the rows, in each process; a function of a module. Default: as `[data]` says.
        most: the number of rounds after which a run ends, asked when it begins. Default: as `[study]` says.

    Raises:
        FedgeError: a run could not be done, or its process has died; the text names the run.
    """
    failed: list[Failed] = []
    waiting = deque(asked)
    rounds = most or (lambda _: settings.study.rounds)
    workers = [_started(settings, table) for _ in range(min(jobs, len(asked)))]
    try:
        for worker in workers:
            _ask(worker, waiting, rounds)
        while busy := [worker for worker in workers if worker.cell is not None]:
            for line in wait([worker.line for worker in busy]):
                worker = next(one for one in busy if one.line is line)
                told = _heard(worker)
                yield told
                if isinstance(told, Round):
                    continue
                if isinstance(told, Failed):
                    failed.append(told)
                if worker.line.closed and waiting:  # its process has died: another does the others
                    fresh = _started(settings, table)
                    workers[workers.index(worker)] = worker = fresh
                _ask(worker, waiting, rounds)
    finally:
        _end(workers)
    if failed:
        raise _raised(failed)


def _end(workers: Sequence[_Worker]) -> None:
    """End the processes: they have nothing to save. Each removes its temporary folder."""
    left = [worker for worker in workers if not worker.line.closed]
    for worker in left:
        worker.process.terminate()
    for worker in left:
        wait([worker.process.sentinel], ENDING_S)
        worker.process.kill()
        _bury(worker)


def _bury(worker: _Worker) -> None:
    """Wait until a process has ended, and remove what it has left.

    SIGTERM raises an exception in it. Python ignores exceptions in a finalizer, and then the process goes on
    until it is killed.
    """
    wait([worker.process.sentinel])
    if worker.process.pid is not None:
        remove_left_by(worker.process.pid)
    worker.process.join()
    worker.line.close()


def named(cell: Cell) -> str:
    """The run, for people."""
    return f"{cell.algorithm}, rate {cell.rate:g}, seed {cell.seed}"


def _started(settings: StudySettings, table: Callable[[StudySettings], Table] | None) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, settings, table), daemon=True)
    os.environ.update(ONE_THREAD)
    process.start()
    theirs.close()
    return _Worker(process, ours)


def _ask(worker: _Worker, waiting: deque[Cell], rounds: Callable[[Cell], int]) -> None:
    worker.cell = waiting.popleft() if waiting else None
    if worker.cell is not None:
        with suppress(OSError):  # it has died, which is heard next
            worker.line.send((worker.cell, rounds(worker.cell)))


def _heard(worker: _Worker) -> Round | Run | Failed:
    assert worker.cell is not None
    try:
        told: Round | Run | Failed = worker.line.recv()
    except (EOFError, OSError):
        _bury(worker)
        code = worker.process.exitcode
        return Failed(
            worker.cell,
            f"its process has ended with exit code {code}; if it lacks memory, set fewer --jobs",
        )
    return told


def _raised(failed: Sequence[Failed]) -> FedgeError:
    first, *others = failed
    more = f"; other runs that cannot be done: {len(others)}" if others else ""
    return first.error(f"{named(first.cell)}: {first.text}{more}")


def _work(line: Connection, settings: StudySettings, table: Callable[[StudySettings], Table] | None) -> None:
    """Run cells until the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.disable(logging.WARNING)  # what devices tell their owners of the data
    rows: Table | None = None
    dealt: tuple[int, Deal] | None = None
    while True:
        try:
            cell, rounds = line.recv()
        except EOFError:
            return
        try:
            if rows is None:
                for extension in settings.extensions:
                    load(extension)
                rows = Table(settings.data) if table is None else table(settings)
            if dealt is None or dealt[0] != cell.seed:
                dealt = cell.seed, rows.deal(cell.seed)
            line.send(_run(line, _of(settings, rounds), rows, dealt[1], cell))
        except FedgeError as error:
            kind = type(error) if type(error) in (ConfigError, FedgeError) else FedgeError
            line.send(Failed(cell, str(error), kind))
        except BrokenPipeError:
            return
        except Exception as error:
            line.send(Failed(cell, _unexpected(error)))


def _unexpected(error: Exception) -> str:
    """What an error says that is not Fedge's own, and where it was raised."""
    *_, place = traceback.extract_tb(error.__traceback__)
    return f"{error!r}, in {place.filename}, line {place.lineno}"


def _end_with_parent() -> None:
    """End this process when its parent has died, also in the middle of a round."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)  # so that the main thread removes its temporary folder
    time.sleep(ENDING_S)
    remove_left_by(os.getpid())
    os._exit(1)


def _of(settings: StudySettings, rounds: int) -> StudySettings:
    return settings.model_copy(update={"study": settings.study.model_copy(update={"rounds": rounds})})


def _run(line: Connection, settings: StudySettings, rows: Table, deal: Deal, cell: Cell) -> Run:
    from fleet.library.results import Progress
    from fleet.study.runs import figure_of

    def tell(told: Progress) -> None:
        figure = None if told.point is None else figure_of(told.point)
        seconds = None if told.point is None else told.point.seconds
        line.send(Round(cell, told.round, figure, seconds))

    return run(settings, rows.rows, deal, cell, tell)
