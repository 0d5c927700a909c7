"""The worker: one thread that reads the data, surveys or trains, and posts the result to the inbox.

Training runs here so that keep-alives and receipts never wait for it.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from agent.config import AgentSettings
from agent.dataset import Dataset, Unfit, fit
from agent.events import Done, Failed, Judged
from agent.extremes import Extremes, extremes
from agent.judging import Judgement, judge
from agent.local.sgd import Cancelled, Diverged, train
from agent.local.shuffling import generator
from agent.local.timekeeping import Timekeeper, TooLong
from agent.logbook import Logbook
from agent.settings.sources import DEFAULT_SOURCE
from agent.snapshot import Snapshot, current
from agent.sources import Source
from fedge.codecs import CODECS
from fedge.disclosure import public
from fedge.errors import DataError
from fedge.freshness import RoundId, round_of
from fedge.liveness import Pulse
from fedge.messages.manifest import Manifest
from fedge.messages.message import pack
from fedge.messages.survey import Survey
from fedge.messages.task import Task
from fedge.messages.update import FIGURES, WEIGHTS, Update
from fedge.moments import FEWEST, as_if_of, withhold
from fedge.nn import Network
from fedge.nn.spec import clip_of
from fedge.reasons import Reason

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One round's work; `weights` of shape (p,) is the model to start from, None for a survey."""

    manifest: Manifest
    task: Task
    weights: NDArray[np.float32] | None
    traffic: dict[str, float]
    """Bytes sent and received since the update before, to be reported with this one."""
    cancelled: threading.Event = field(default_factory=threading.Event)


class Trainer:
    """Runs jobs one after the other on a thread of its own; `post` gets each one's `Done` or `Failed`."""

    def __init__(
        self,
        settings: AgentSettings,
        sources: Mapping[str, Source],
        post: Callable[[Done | Failed | Judged], None],
        snapshots: Mapping[str, Snapshot] | None = None,
    ) -> None:
        self._snapshots = dict(snapshots or {})
        """What was told of each source, by its name."""
        self._settings = settings
        self._sources = sources
        self._post = post
        self._jobs: SimpleQueue[Job | Judgement] = SimpleQueue()
        self._current: Job | None = None
        self._answered: Job | None = None
        self._data: tuple[tuple[object, bytes], int | None, Dataset] | None = None
        """By what of the data and the task, and of how many rows, the newest dataset was made."""
        self._extremes: Extremes | None = None
        """What of these data lies far outside of what the fleet has measured."""
        self._network: tuple[bytes, Network] | None = None
        self._logbook = Logbook()
        self._thread: threading.Thread | None = None
        self._patience_s = settings.trainer.patience_s
        self.pulse = Pulse("the trainer")
        """Promises while there is a job, from one step of training to the next."""

    def start(self, job: Job) -> None:
        """Begin a job; the one before should have been cancelled or done."""
        self._current = job
        self._put(job)

    def judge(self, judgement: Judgement) -> None:
        """Measure a model against the one in use, after what is at work; `post` gets its `Judged`."""
        self._put(judgement)

    def _put(self, job: Job | Judgement) -> None:
        self.pulse.expect(self._patience_s)
        self._jobs.put(job)
        if self._thread is None or not self._thread.is_alive():
            if self._thread is not None:
                log.error("the worker's thread has died; another one takes its place")
            self._thread = threading.Thread(target=self._run, name="trainer", daemon=True)
            self._thread.start()

    def cancel(self) -> None:
        """Stop the job under way at its next batch; it posts nothing then, however it ends."""
        if self._current is not None:
            self._current.cancelled.set()

    def _run(self) -> None:
        """Go on whatever is raised: who waits for the outcome of a job would else wait for ever.

        It is no wish to end the program: signals, and with them Ctrl-C, reach the main thread alone. But
        libraries raise `asyncio.CancelledError`, `SystemExit` and others that are no `Exception`, and another
        thread can have them raised here, at any place.
        """
        while True:
            try:
                self._take()
            except BaseException as error:
                job = self._current
                # One that is still to be taken has not failed: it was the one before, which was cancelled.
                if job is not None and job is not self._answered and self._jobs.empty():
                    self._answered = job
                    self._post(_failed(round_of(job.manifest), error))
                self.pulse.rest()

    def _take(self) -> None:
        job = self._jobs.get()
        self.pulse.within(self._patience_s)
        if isinstance(job, Judgement):
            self.judge_now(job)
        elif not job.cancelled.is_set():
            outcome = self.work(job)
            self._answered = job
            if outcome is not None and not job.cancelled.is_set():
                self._post(outcome)
        self.pulse.rest()

    def judge_now(self, judgement: Judgement) -> None:
        """On the caller's thread; whatever goes wrong is a verdict too, for it is waited for."""
        name = judgement.task.source or DEFAULT_SOURCE
        try:
            judged = judge(judgement, lambda task, digest: self._held_data(name, task, digest))
        except BaseException as error:
            why = f"measuring it failed: {type(error).__name__}"
            self._post(Judged(judgement.digest, accepted=False, why=why))
            if not isinstance(error, Exception):
                raise
            log.error("the new model could not be measured", exc_info=error)
        else:
            self._post(judged)

    def _held_data(self, name: str, task: Task, digest: bytes) -> Dataset:
        """The data of the owner's source `name` as a task wants them, read anew if they have changed.

        A model in use may be of a task that named another source: it is measured on the rows of the new one.
        """
        if name not in self._sources:
            raise DataError(f"this device has no source {name!r}")
        source = self._sources[name]
        if self._data is not None and self._data[0] == (source.fingerprint(), digest):
            return self._data[2]
        return fit(source.read(), task, self._settings.offered[name])

    def _is_cancelled(self, job: Job) -> bool:
        """Asked before each step of training, which is a sign of life."""
        self.pulse.within(self._patience_s)
        return job.cancelled.is_set()

    def _timekeeper(self, job: Job, samples: int) -> Callable[[], bool]:
        assert job.manifest.plan is not None
        limit_s = self._settings.limits.seconds
        if limit_s is None:
            return lambda: self._is_cancelled(job)
        return Timekeeper(lambda: self._is_cancelled(job), job.manifest.plan.steps(samples), limit_s)

    def work(self, job: Job) -> Done | Failed | None:
        """Do a job on the caller's thread; whatever goes wrong is a reason. None: it was cancelled."""
        round_id = round_of(job.manifest)
        try:
            return self._work(job, round_id)
        except Cancelled:
            log.debug("round %s: cancelled", round_id)
            return None
        except Unfit as unfit:
            return Failed(round_id, unfit.reason, str(unfit), unfit.public)
        except DataError as error:
            return Failed(round_id, Reason.BAD_DATA, str(error), error.public)
        except Diverged as error:
            return self._diverged(round_id, error)
        except TooLong as error:
            return Failed(round_id, Reason.TOO_LONG, str(error), error.public)
        except MemoryError:
            told = public("not enough memory for this model and its data")
            return Failed(round_id, Reason.FAILED, told, told)
        except Exception as error:
            return _failed(round_id, error)

    def _work(self, job: Job, round_id: RoundId) -> Done:
        started_s = time.monotonic()
        dataset = self._dataset(job)
        snapshot: tuple[str, Snapshot] | None = None
        if job.manifest.kind == "survey":
            name = job.task.source or DEFAULT_SOURCE
            snapshot = name, self._snapshots[name]
            message: Survey | Update = self._survey(job, self._snapshots[name])
        elif job.manifest.kind == "evaluate":
            message = self._evaluate(job, dataset, started_s)
        else:
            message = self._train(job, dataset, started_s)
        payload = pack(message)
        return Done(
            now_s=time.monotonic(),
            round=round_id,
            digest=hashlib.sha256(payload).digest(),
            payload=payload,
            samples=message.samples,
            snapshot=snapshot,
        )

    def _dataset(self, job: Job) -> Dataset:
        """The device's data, read anew if it changed since the last round.

        For a survey it is also decided what to tell of it: the data that did not change has been told of.
        """
        name = job.task.source or DEFAULT_SOURCE  # one of the owner's: `lifecycle` begins no other work
        source, settings = self._sources[name], self._settings.offered[name]
        fingerprint, digest, cap = source.fingerprint(), job.manifest.task.digest, job.manifest.max_samples
        surveyed = job.manifest.kind != "survey" or name in self._snapshots
        if surveyed and self._data is not None and self._data[:2] == ((fingerprint, digest), cap):
            return self._data[2]
        self._data = None
        samples = source.read()
        self._logbook.tell(name, samples, settings, job.task, digest)
        dataset = fit(samples, job.task, settings, cap)
        self._logbook.tell_cap(name, cap, dataset)
        if job.manifest.kind == "survey":
            self._snapshots[name] = current(self._snapshots.get(name), samples, settings)
        self._extremes = extremes(samples, dataset.X, dataset.rows, job.task)
        self._data = (fingerprint, digest), cap, dataset
        return dataset

    def _survey(self, job: Job, snapshot: Snapshot) -> Survey:
        features, targets = snapshot.tell(job.task)
        offered = self._settings.offered[job.task.source or DEFAULT_SOURCE]
        told = snapshot.mix if job.task.classes else None
        samples, cap = snapshot.samples, job.manifest.max_samples
        if cap is not None and samples > cap:
            features = as_if_of(features, samples, cap)
            targets = as_if_of(targets, samples, cap) if targets is not None else None
            told = told.as_if_of(samples, cap) if told is not None else None
            samples = cap
        return Survey(
            generation=job.manifest.generation,
            round=job.manifest.round,
            base=job.manifest.task.digest,
            device=self._settings.device,
            samples=samples,
            features=withhold(features, FEWEST).to_bytes(),
            targets=withhold(targets, FEWEST).to_bytes() if targets is not None else b"",
            classes=told.tell(job.task.classes or (), offered.first_class) if told is not None else None,
            metrics=job.traffic,
        )

    def _train(self, job: Job, dataset: Dataset, started_s: float) -> Update:
        manifest, weights = job.manifest, job.weights
        assert manifest.model is not None
        assert manifest.plan is not None
        assert weights is not None
        network = self._network_of(job)
        trained = train(
            network,
            weights,
            network.prepare(dataset.X),
            network.prepare_targets(dataset.y),
            manifest.plan,
            generator(manifest.seed, manifest.generation, manifest.round, self._settings.device),
            self._timekeeper(job, len(dataset.X)),
        )
        metrics = {
            "loss_before": trained.loss_before,
            "loss_after": trained.loss_after,
            **job.traffic,
        }
        if len(dataset.held_X):
            metrics["held_out"] = float(len(dataset.held_X))
            if job.task.classes is not None:
                metrics["held_unseen"] = float(dataset.held_unseen)
            for when, vector in (("before", weights), ("after", trained.vector)):
                metrics |= measured(network, vector, dataset, when)
        if clip_of(job.task.network) is not None:
            metrics["clipped"] = float(self._extremes.rows if self._extremes is not None else 0)
        metrics["seconds"] = time.monotonic() - started_s
        return Update(
            generation=manifest.generation,
            round=manifest.round,
            base=manifest.model.digest,
            device=self._settings.device,
            samples=len(dataset.X),
            steps=trained.steps,
            kind=WEIGHTS,
            codec=manifest.plan.codec,
            body=CODECS[manifest.plan.codec].encode(trained.vector),
            metrics={name: value for name, value in metrics.items() if np.isfinite(value)},
        )

    def _diverged(self, round_id: RoundId, error: Diverged) -> Failed:
        """Where inputs lie far outside they are the first to look at, and only then the learning rate."""
        if self._extremes is None:
            return Failed(round_id, Reason.TRAINING_DIVERGED, str(error), error.public)
        told = public("{what}, and {extremes}", what=error.what, extremes=self._extremes.told)
        first = self._extremes.columns[0]
        full = f"{told} ({first.place} is {first.distance:,.0f} away)"
        return Failed(round_id, Reason.TRAINING_DIVERGED, full, told)

    def _evaluate(self, job: Job, dataset: Dataset, started_s: float) -> Update:
        """The figures of the model on the rows that are held out, and nothing else."""
        manifest, weights = job.manifest, job.weights
        assert manifest.model is not None
        assert weights is not None
        metrics = dict(job.traffic)
        if len(dataset.held_X):
            metrics["held_out"] = float(len(dataset.held_X))
            metrics |= measured(self._network_of(job), weights, dataset, "before")
        metrics["seconds"] = time.monotonic() - started_s
        return Update(
            generation=manifest.generation,
            round=manifest.round,
            base=manifest.model.digest,
            device=self._settings.device,
            samples=len(dataset.X),
            steps=0,
            kind=FIGURES,
            codec="float32",
            body=b"",
            metrics={name: value for name, value in metrics.items() if np.isfinite(value)},
        )

    def _network_of(self, job: Job) -> Network:
        """The task's network; the one before is used again while the task is the same."""
        digest = job.manifest.task.digest
        if self._network is None or self._network[0] != digest:
            self._network = (digest, Network(job.task.network))
        return self._network[1]


def measured(network: Network, vector: NDArray[np.float32], dataset: Dataset, when: str) -> dict[str, float]:
    """What weights of shape (p,) bring on the rows that are held out, of which there are some."""
    found = network.evaluate(vector, dataset.held_X, dataset.held_y)
    metrics = {f"held_loss_{when}": found.loss}
    if found.accuracy is not None:
        metrics[f"accuracy_{when}"] = found.accuracy
    if found.errors is not None:
        metrics[f"rmse_{when}"] = found.errors.rmse
        metrics[f"mae_{when}"] = found.errors.mae
    return metrics


def _failed(round_id: RoundId, error: BaseException) -> Failed:
    """What nobody has foreseen. Its own text may hold anything, so it stays in the log."""
    log.error("round %s: the worker failed", round_id, exc_info=error)
    return Failed(round_id, Reason.FAILED, f"the worker failed: {type(error).__name__}")
