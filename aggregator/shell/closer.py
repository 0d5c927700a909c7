"""The closer: a thread that computes a closing round's model, so that no rule, however slow, stops the loop.

Meanwhile the loop keeps its beat, its watchdog and its word to the devices. The thread reads the ledger over
a connection of its own, which cannot change anything; the loop saves what comes of it, in a turn of its own.
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
"""Between two updates, and after the last one of a round: a rule may take long."""
LAST_WAIT_S = 2.0
"""For the thread, when the program ends; a rule that takes longer is left alone."""


@dataclass(frozen=True)
class Closed:
    """What became of a job; an error is for the loop to die of, as if it had computed by itself."""

    job: ClosingJob
    outcome: Outcome | BaseException


class Cancelled(Exception):  # noqa: N818 (an outcome)
    """Nobody waits for the result any more."""


def close(
    open_ledger: Callable[[], AbstractContextManager[LedgerReader]],
    job: ClosingJob,
    go_on: Callable[[], None] = lambda: None,
) -> Closed:
    """Do a job.

    Args:
        open_ledger: begins to read, when the job does.
        job: which round, and of what.
        go_on: called before each update is read; may raise `Cancelled`.

    Raises:
        Cancelled: by `go_on`. What else goes wrong is the outcome.
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
    """Closes one round at a time, for one runtime after the other.

    Args:
        path: the ledger's file.
        post: takes the result.
    """

    def __init__(self, path: Path, post: Callable[[Closed], None]) -> None:
        self._path = path
        self._post = post
        self._wanted: ClosingJob | None = None
        """Whose result is waited for."""
        self._waiting: ClosingJob | None = None
        self._ended = False
        self._wake = threading.Condition()
        self.pulse = Pulse("the closer")
        """Promises while there is a round to close."""
        # A daemon, so that the program can end in the middle of a rule: nothing of it is lost, for the next
        # life computes the same anew. NumPy and sqlite3 are C, and let a thread of theirs go without a word.
        self._thread = threading.Thread(target=self._run, name="closer", daemon=True)

    def submit(self, job: ClosingJob) -> None:
        """Close this round next; the result of another that is under way is not wanted any more."""
        with self._wake:
            self.pulse.expect(LONGEST_SILENCE_S)
            self._wanted = self._waiting = job
            self._wake.notify()
            if self._thread.ident is None:
                self._thread.start()

    def cancel(self) -> None:
        """Post nothing of what was submitted."""
        with self._wake:
            self._wanted = self._waiting = None

    def end(self) -> None:
        """Cancel, and wait a moment for the thread, which ends before the next update that it would read."""
        with self._wake:
            self._wanted = self._waiting = None
            self._ended = True
            self._wake.notify()
        if self._thread.ident is not None:
            self._thread.join(LAST_WAIT_S)

    def _run(self) -> None:
        while True:
            with self._wake:
                if self._waiting is None:
                    self.pulse.rest()
                while self._waiting is None and not self._ended:
                    self._wake.wait()
                job, self._waiting = self._waiting, None
            if job is None:
                return
            try:
                closed = close(lambda: read_only(self._path), job, partial(self._go_on, job))
            except Cancelled:
                continue
            except BaseException as error:  # whatever it is: a thread that dies in silence closes no round
                closed = Closed(job, error)
            with self._wake:
                if self._wanted is job:
                    self._wanted = None
                    self._post(closed)

    def _go_on(self, job: ClosingJob) -> None:
        if self._wanted is not job:
            raise Cancelled
        self.pulse.within(LONGEST_SILENCE_S)
