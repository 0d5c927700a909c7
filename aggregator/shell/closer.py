"""The closer: a thread that computes the model of a closing round, so that a slow rule never stops the loop.

Meanwhile the loop sends its beat and receipts, and feeds the watchdog. The thread reads the ledger over its
own read-only connection; the loop saves the result in one of its turns.
"""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from aggregator.aggregation.job import ClosingJob, Outcome
from aggregator.aggregation.outcome import compute
from aggregator.ledger.reading import LedgerReader, read_only
from fedge.service.failpoints import after, before
from fedge.service.liveness import Pulse

LONGEST_SILENCE_S = 1_800.0
"""The longest time between two updates, and after the last one: a rule may take long."""
LAST_WAIT_S = 2.0
"""How long the ending program waits for the thread; a rule that takes longer is abandoned."""


@dataclass(frozen=True)
class Closed:
    """The result of a job; an error is raised again in the loop."""

    job: ClosingJob
    outcome: Outcome | BaseException


class Cancelled(Exception):  # noqa: N818 (an outcome)
    """The result is not wanted any more."""


def close(
    open_ledger: Callable[[], AbstractContextManager[LedgerReader]],
    job: ClosingJob,
    go_on: Callable[[], None] = lambda: None,
) -> Closed:
    """Compute the result of a job.

    Args:
        open_ledger: opens the ledger for reading.
        job: the round, and what its model is computed from.
        go_on: called before each update is read; may raise `Cancelled`.

    Raises:
        Cancelled: by `go_on`. Any other error is the outcome.
    """
    try:
        before("Average")
        with open_ledger() as ledger:
            outcome = compute(ledger, job, go_on)
        after("Average")
    except Cancelled:
        raise
    except Exception as error:
        return Closed(job, error)
    return Closed(job, outcome)


class Closer:
    """Closes one round at a time; it outlives a runtime.

    Args:
        path: the ledger's file.
        post: takes the result.
    """

    def __init__(self, path: Path, post: Callable[[Closed], None]) -> None:
        self._path = path
        self._post = post
        self._wanted: ClosingJob | None = None
        """The job whose result is wanted."""
        self._waiting: ClosingJob | None = None
        self._ended = False
        self._wake = threading.Condition()
        self.pulse = Pulse("the closer")
        """Expects reports while there is a round to close."""
        # A daemon thread, so that the program can end while a rule computes; the next start computes the same
        # again. The thread runs NumPy and sqlite3, which can be stopped at any point.
        self._thread = threading.Thread(target=self._run, name="closer", daemon=True)

    def submit(self, job: ClosingJob) -> None:
        """Close this round next; the result of a job that is under way is dropped."""
        with self._wake:
            self.pulse.expect(LONGEST_SILENCE_S)
            self._wanted = self._waiting = job
            self._wake.notify()
            if self._thread.ident is None:
                self._thread.start()

    def cancel(self) -> None:
        """Post no result of what was submitted."""
        with self._wake:
            self._wanted = self._waiting = None

    def end(self) -> None:
        """Cancel, and wait briefly for the thread, which ends before it reads the next update."""
        with self._wake:
            self._wanted = self._waiting = None
            self._ended = True
            self._wake.notify()
        if self._thread.ident is not None:
            self._thread.join(LAST_WAIT_S)

    def _run(self) -> None:
        while (job := self._next()) is not None:
            self._do(job)
            del job  # it holds a round's answers, and the next one may be long in coming

    def _next(self) -> ClosingJob | None:
        """Wait for a job; None: the program ends."""
        with self._wake:
            if self._waiting is None:
                self.pulse.rest()
            while self._waiting is None and not self._ended:
                self._wake.wait()
            job, self._waiting = self._waiting, None
        return job

    def _do(self, job: ClosingJob) -> None:
        try:
            closed = close(lambda: read_only(self._path), job, partial(self._go_on, job))
        except Cancelled:
            return
        except BaseException as error:  # if the thread ended silently, the round would never close
            closed = Closed(job, error)
        with self._wake:
            if self._wanted is job:
                self._wanted = None
                self._post(closed)

    def _go_on(self, job: ClosingJob) -> None:
        if self._wanted is not job:
            raise Cancelled
        self.pulse.within(LONGEST_SILENCE_S)
