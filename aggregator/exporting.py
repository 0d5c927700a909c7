"""The exporter: a thread that writes the newest model's files, so that a slow disk never delays a round."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aggregator import export
from fedge.errors import FedgeError
from fedge.failpoints import after, before
from fedge.freshness import RoundId
from fedge.liveness import Pulse
from fedge.messages import Task

log = logging.getLogger("fedge.aggregator")

LONGEST_EXPORT_S = 1_800.0


@dataclass(frozen=True)
class Job:
    """One model to export."""

    round: RoundId
    digest: bytes
    """Of the model as announced."""
    task: Task
    vector: NDArray[np.float32]
    metrics: dict[str, float]
    last: bool
    """Learning is done: nothing follows."""
    came_from: str | None = None
    """Of which rounds the model was made, if it is one that a generation began with."""


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
        samples: NDArray[np.float32] | None = None,
    ) -> None:
        self._federation = federation
        self._folder = folder
        self._post = post
        self._samples = samples
        self._waiting: Job | None = None
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
        origin = export.Origin(self._federation, *job.round, job.digest.hex())
        try:
            made = export.write(
                self._folder, job.task, job.vector, origin, job.metrics, self._samples, job.came_from
            )
        except FedgeError as error:
            return Exported(job, None, str(error))
        except Exception as error:
            log.exception("the export failed")
            return Exported(job, None, f"{type(error).__name__}: {error}")
        return Exported(job, made.onnx, made.withheld)
