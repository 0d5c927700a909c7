"""The exporter: a thread that writes the chosen model's files, so that a slow disk never delays a round.

Beside the chosen model lies the other one, in a folder of its own: the newest beside the best, or reversed.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregator.aggregation.generations import task_of
from aggregator.aggregation.models import vector_of
from aggregator.aggregation.probes import Samples
from aggregator.core.choice import Candidate, Choice, How, choose, measures_of
from aggregator.core.federation import Federation, Stage
from aggregator.core.stopping import Progress, progress_of
from aggregator.export import model_files
from aggregator.ledger.reading import LedgerReader
from fedge.errors import FedgeError
from fedge.service.failpoints import after, before
from fedge.service.liveness import Pulse
from fedge.storage import atomic_files
from fedge.storage.atomic_files import make_folder
from fedge.wire.freshness import RoundId
from fedge.wire.messages.task import Task

log = logging.getLogger("fedge.aggregator")

LONGEST_EXPORT_S = 1_800.0
NEWEST, BEST = "newest", "best"
"""The folder of the other model."""


@dataclass(frozen=True)
class Job:
    """One model to export."""

    round: RoundId
    """Of the model."""
    digest: bytes
    """Of the model as announced."""
    task: Task
    vector: NDArray[np.float32]
    metrics: dict[str, float]
    last: bool
    """Learning is done: nothing follows."""
    came_from: str | None = None
    """Of which rounds the model was made, if it is one that a generation began with."""
    until: RoundId | None = None
    """The newest round when it was chosen; None: its own."""
    choice: Mapping[str, Any] = field(default_factory=dict)
    """What the manifest says of the choice."""
    beside: "Beside | None" = None
    """The other model."""


@dataclass(frozen=True)
class Beside:
    """Another model of the same task, for a folder of its own."""

    folder: str
    round: RoundId
    digest: bytes
    vector: NDArray[np.float32] = field(compare=False, repr=False)
    metrics: dict[str, float]
    choice: Mapping[str, Any] = field(default_factory=dict)
    came_from: str | None = None


def job_of(ledger: LedgerReader, state: Federation, until: RoundId, how: How) -> Job | None:
    """The export of what is chosen after the round `until`, which closed last.

    Where that was a survey, after which nobody has trained yet, it is what was chosen at the end of the
    generation before. Where the ledger does not keep that, None: the files stay that are there. Only the very
    first weights of a federation are exported.

    Raises:
        DamagedState: a model that the ledger holds is not what it was.
    """
    assert state.model is not None
    untrained = until.round == 0 and ledger.surveyed(until.generation)
    if untrained and (before := _before(ledger, until.generation)) is not None:
        earlier, task = before
        progress = progress_of(ledger.history(earlier), state.progress.by)
        job = _job(ledger, task_of(ledger, task), earlier, progress, how, None)
        waits = f"; generation {until.generation} has not closed a round of training yet"
        choice = {**job.choice["choice"], "why": job.choice["choice"]["why"] + waits}
        return replace(job, until=until, choice={**job.choice, "choice": choice})
    if untrained and until.generation > 1:
        return None
    job = _job(ledger, state.task_message, until.generation, state.progress, how, state.model.digest)
    return replace(job, last=state.stage is Stage.DONE, until=until)


def _before(ledger: LedgerReader, generation: int) -> tuple[int, bytes] | None:
    """The generation before this one in which somebody trained, if its newest model is kept, and its task."""
    last = ledger.trained_before(generation)
    task = ledger.task_after(last) if last is not None and ledger.model_of(last) is not None else None
    return (last.generation, task) if last is not None and task is not None else None


def _job(
    ledger: LedgerReader, task: Task, generation: int, progress: Progress, how: How, made: bytes | None
) -> Job:
    """The export of what is chosen of a generation; `made` is its newest model, None: as the ledger says."""
    size = task.network.schema.size
    models = {n: RoundId(generation, n) for n in ledger.kept_models(generation)}
    choice = choose(progress, models, how, begun_untrained=ledger.surveyed(generation))
    newest = RoundId(generation, progress.made)

    def digest_of(round_id: RoundId) -> bytes:
        found = made if made is not None and round_id == newest else ledger.model_of(round_id)
        assert found is not None
        return found

    def parts_of(candidate: Candidate) -> tuple[RoundId, bytes, NDArray[np.float32], dict[str, float]]:
        round_id = RoundId(generation, candidate.round)
        digest = digest_of(round_id)
        vector = vector_of(ledger, digest, size)
        metrics = {name: value for name, value in ledger.summary(round_id).items() if name != "seconds"}
        return round_id, digest, vector, metrics

    beside = None
    if choice.other is not None:
        round_id, digest, vector, metrics = parts_of(choice.other)
        said = {"measured": dict(choice.other.figures) or None}
        folder = NEWEST if how == "best" else BEST
        beside = Beside(folder, round_id, digest, vector, metrics, said, came_from(ledger, round_id))
    round_id, digest, vector, metrics = parts_of(choice.chosen)
    return Job(
        round_id,
        digest,
        task,
        vector,
        metrics,
        last=False,
        came_from=came_from(ledger, round_id),
        choice=told(choice, progress),
        beside=beside,
    )


def came_from(ledger: LedgerReader, round_id: RoundId) -> str | None:
    """Of which older rounds a model is, where a generation began with it."""
    beginning = ledger.beginning(round_id.generation) if round_id.round == 0 else None
    if beginning is None:
        return None
    source, last = beginning.source, beginning.source._replace(round=beginning.last)
    return f"{source}" if last == source else f"{source}, and on to {last} without some devices"


def told(choice: Choice, progress: Progress) -> dict[str, Any]:
    """What a manifest says of a choice: what was measured of the model, and what there was to choose."""
    best = progress.best
    return {
        "measured": dict(choice.chosen.figures) or None,
        "choice": {
            "choose": choice.how,
            "by": choice.by,
            "why": choice.why,
            "best": {"round": best.round, "value": best.value} if best is not None else None,
            "newest": {"round": progress.made, "measured": bool(measures_of(progress, progress.made))},
        },
    }


@dataclass(frozen=True)
class Exported:
    """What became of a job."""

    job: Job
    onnx: bytes | None
    withheld: str


class Exporter:
    """Exports one model at a time; of those that wait only the newest, for a file holds just one."""

    def __init__(
        self,
        federation: str,
        folder: Path,
        post: Callable[[Exported], None],
        samples: Samples | None = None,
    ) -> None:
        self._federation = federation
        self._folder = folder
        self._post = post
        self._samples = samples
        self._waiting: Job | None = None
        self._beside: Beside | None = None
        """What lies beside the chosen model."""
        self._closed = False
        self._wake = threading.Condition()
        self.pulse = Pulse("the exporter")
        """Promises while there is a model to export."""
        # Not a daemon: an interpreter that ends in the middle of onnxruntime's code is aborted by it.
        self._thread = threading.Thread(target=self._run, name="exporter")

    def submit(self, job: Job) -> None:
        """Export this model next."""
        with self._wake:
            self.pulse.expect(LONGEST_EXPORT_S)
            self._waiting = job
            self._wake.notify()
            if self._thread.ident is None:
                self._thread.start()

    def close(self) -> None:
        """Post nothing more; the program ends when the export under way has."""
        with self._wake:
            self._closed = True
            self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._wake:
                while self._waiting is None and not self._closed:
                    self._wake.wait()
                job, self._waiting = self._waiting, None
            if job is None:
                return
            self.pulse.within(LONGEST_EXPORT_S)
            before("Export")
            exported = self._export(job)
            after("Export")
            with self._wake:
                if self._closed:
                    return
                self._post(exported)
                if self._waiting is None:
                    self.pulse.rest()

    def _export(self, job: Job) -> Exported:
        """Write the files; whatever fails here is a reason, never the end of learning."""
        origin = model_files.Origin(self._federation, *job.round, job.digest.hex())
        try:
            made = model_files.write(
                self._folder,
                job.task,
                job.vector,
                origin,
                job.metrics,
                self._samples,
                job.came_from,
                job.choice,
            )
        except FedgeError as error:
            return Exported(job, None, str(error))
        except Exception as error:
            log.exception("the export failed")
            return Exported(job, None, f"{type(error).__name__}: {error}")
        try:
            self._write_beside(job.task, job.beside)
        except FedgeError as error:  # the chosen model is there all the same
            log.error("the other model is not exported: %s", error)
        except Exception:
            log.exception("the export of the other model failed")
        return Exported(job, made.onnx, made.withheld)

    def _write_beside(self, task: Task, other: Beside | None) -> None:
        """Write the other model, unless it lies there; one of another choice is removed."""
        if other == self._beside and other is not None:
            return
        self._beside = None
        for name in (NEWEST, BEST):
            if other is None or name != other.folder:
                _remove(self._folder / name)
        if other is None:
            return
        folder = make_folder(self._folder / other.folder, mode=0o755)
        origin = model_files.Origin(self._federation, *other.round, other.digest.hex())
        made = model_files.write(
            folder, task, other.vector, origin, other.metrics, self._samples, other.came_from, other.choice
        )
        if made.withheld:
            log.error("round %s: %s/%s is withheld: %s", other.round, folder, model_files.ONNX, made.withheld)
        self._beside = other


def _remove(folder: Path) -> None:
    """Remove our files from a folder, and the folder if nothing else lies there."""
    for name in (model_files.MANIFEST, model_files.ONNX, model_files.SAFETENSORS):
        if (folder / name).exists():
            atomic_files.remove(folder / name)
    with suppress(OSError):
        folder.rmdir()
