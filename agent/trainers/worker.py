"""The worker: one thread that reads the data, surveys or trains, and posts results to the inbox.

Training runs on this thread so that keep-alives and receipts never wait for it.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from queue import SimpleQueue
from weakref import ReferenceType, ref

from agent.config import AgentSettings
from agent.core.events import Done, Failed, Judged
from agent.data.snapshot import Snapshot
from agent.settings.sources import DEFAULT_SOURCE
from agent.sources import Source
from agent.trainers.assignment import Assignment
from agent.trainers.built_in import BuiltIn
from agent.trainers.comparison import Judgement, judge
from agent.trainers.contribution import Contributor
from agent.trainers.data import Data
from agent.trainers.declines import declined, unforeseen
from fedge.algorithms.trainer import Cancelled, Trainer
from fedge.service.liveness import Pulse
from fedge.wire.freshness import round_of

log = logging.getLogger(__name__)


class Worker:
    """Does assignments one after the other on its own thread.

    Args:
        settings: the configuration.
        sources: the owner's sources, by name.
        post: receives each assignment's `Done` or `Failed`, and each judgement's `Judged`.
        snapshots: the saved snapshot of each source, by its name.
        trainer: the trainer to use; by default the built-in one.
    """

    def __init__(
        self,
        settings: AgentSettings,
        sources: Mapping[str, Source],
        post: Callable[[Done | Failed | Judged], None],
        snapshots: Mapping[str, Snapshot] | None = None,
        trainer: Trainer | None = None,
    ) -> None:
        self._data = Data(settings, sources, snapshots or {})
        self._contributor = Contributor(settings, self._data, trainer or BuiltIn())
        self._post = post
        self._jobs: SimpleQueue[Assignment | Judgement] = SimpleQueue()
        self._current: Assignment | None = None
        self._answered: Assignment | None = None
        self._posted: tuple[Assignment, ReferenceType[Done | Failed]] | None = None
        """The newest outcome, and the assignment that it is of."""
        self._void: ReferenceType[Done | Failed] | None = None
        """The outcome of an assignment that was cancelled after it was posted."""
        self._thread: threading.Thread | None = None
        self._patience_s = settings.trainer.patience_s
        self.pulse = Pulse("the trainer")
        """The worker's heartbeat: during a job it announces before each step of training when it will report
        next."""

    # ── called by the loop's thread ────────────────────────────────────────────────────────────────

    def start(self, assignment: Assignment) -> None:
        """Start an assignment; the previous one should be cancelled or done."""
        self._current = assignment
        self._put(assignment)

    def judge(self, judgement: Judgement) -> None:
        """Compare a model with the one in use, after the current job; `post` receives its `Judged`."""
        self._put(judgement)

    def cancel(self) -> None:
        """Stop the current assignment at its next batch; a cancelled assignment posts nothing from now on."""
        if self._current is None:
            return
        self._current.cancelled.set()
        posted = self._posted  # after the flag is set: `_answer` has seen it, or its outcome is seen here
        if posted is not None and posted[0] is self._current:
            self._void = posted[1]

    def is_void(self, event: object) -> bool:
        """Return whether an event is the outcome of an assignment that was cancelled after it was posted."""
        return event is not None and self._void is not None and event is self._void()

    def _put(self, job: Assignment | Judgement) -> None:
        self.pulse.expect(self._patience_s)
        self._jobs.put(job)
        if self._thread is None or not self._thread.is_alive():
            if self._thread is not None:
                log.error("the worker's thread has died; a new thread replaces it")
            self._thread = threading.Thread(target=self._run, name="trainer", daemon=True)
            self._thread.start()

    # ── the worker's thread ────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        """Run jobs for ever, whatever they raise: otherwise the loop would wait for a result that never
        comes.

        Exceptions that are no `Exception` are caught too. None of them means that the user ends the program:
        signals, and with them Ctrl-C, reach only the main thread. But libraries raise
        `asyncio.CancelledError`, `SystemExit` and others, and another thread can raise them here at any line.
        """
        while True:
            try:
                self._take()
            except BaseException as error:
                job = self._current
                # An assignment still in the queue has not failed; the error came from the cancelled one
                # before it.
                if job is not None and job is not self._answered and self._jobs.empty():
                    self._answer(job, unforeseen(round_of(job.manifest), error))
                self.pulse.rest()

    def _take(self) -> None:
        job = self._jobs.get()
        self.pulse.within(self._patience_s)
        if isinstance(job, Judgement):
            self.judge_now(job)
        elif not job.cancelled.is_set():
            self._answer(job, self.work(job))
        self.pulse.rest()

    def _answer(self, job: Assignment, outcome: Done | Failed | None) -> None:
        self._answered = job
        if outcome is None:
            return
        self._posted = (job, ref(outcome))
        if not job.cancelled.is_set():
            self._post(outcome)

    def work(self, assignment: Assignment) -> Done | Failed | None:
        """Do an assignment on the caller's thread. An error becomes a `Failed`. None: it was cancelled."""
        round_id = round_of(assignment.manifest)
        try:
            return self._contributor.contribute(assignment, lambda: self._is_cancelled(assignment))
        except Cancelled:
            log.debug("round %s: cancelled", round_id)
            return None
        except Exception as error:
            return declined(round_id, error, self._data.extremes)

    def _is_cancelled(self, assignment: Assignment) -> bool:
        """Return whether the job is cancelled. Training calls this before each step, which also feeds the
        heartbeat."""
        self.pulse.within(self._patience_s)
        return assignment.cancelled.is_set()

    def judge_now(self, judgement: Judgement) -> None:
        """Compare two models on the caller's thread. An error becomes a verdict too, because the loop waits
        for it."""
        name = judgement.task.source or DEFAULT_SOURCE
        try:
            judged = judge(judgement, lambda task, digest: self._data.to_judge(name, task, digest))
        except BaseException as error:
            why = f"measuring it failed: {type(error).__name__}"
            self._post(Judged(judgement.digest, accepted=False, why=why))
            if not isinstance(error, Exception):
                raise
            log.error("the new model could not be measured", exc_info=error)
        else:
            self._post(judged)
