"""The exporter: a thread that writes the chosen model's files, so that a slow disk never delays a round.

Beside the chosen model lies the other one, in a folder of its own: the newest beside the best, or reversed.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from aggregator.export import model_files
from aggregator.export.job import BEST, NEWEST, Beside, Exported, Job
from aggregator.export.manifest import MANIFEST, ONNX, SAFETENSORS
from fedge.errors import FedgeError
from fedge.export.metadata import Origin
from fedge.nn.probes import Samples
from fedge.service.failpoints import after, before
from fedge.service.liveness import Pulse
from fedge.storage import atomic_files
from fedge.storage.atomic_files import make_folder
from fedge.wire.messages.task import Task

log = logging.getLogger("fedge.aggregator")

LONGEST_EXPORT_S = 1_800.0


class Exporter:
    """Exports one model at a time; only the newest of the waiting jobs, because a file holds one model.

    Args:
        federation: its name, for the files' metadata.
        folder: where the files are written.
        post: takes the result of each job, on the exporter's thread.
        samples: raw samples (n, d) that each ONNX file is compared on too, if there are some.
    """

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
        """The model in the folder beside the chosen one."""
        self._closed = False
        self._wake = threading.Condition()
        self.pulse = Pulse("the exporter")
        """Expects reports while there is a model to export."""
        # Not a daemon: onnxruntime aborts an interpreter that ends in the middle of its code.
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
        """Post nothing more; the program can end once the export under way has ended."""
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
        """Write the files; an error here withholds them and never ends learning."""
        origin = Origin(self._federation, *job.round, job.digest.hex())
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
                job.clusters,
            )
        except FedgeError as error:
            return Exported(job, None, str(error))
        except Exception as error:
            log.exception("round %s: the export of the model failed", job.round)
            return Exported(job, None, f"{type(error).__name__}: {error}")
        try:
            self._write_beside(job.task, job.beside)
        except FedgeError as error:  # the chosen model has been written
            log.error(
                "round %s: the other model, beside the chosen one, is not exported: %s", job.round, error
            )
        except Exception:
            log.exception("round %s: the export of the other model, beside the chosen one, failed", job.round)
        return Exported(job, made.onnx, made.withheld)

    def _write_beside(self, task: Task, other: Beside | None) -> None:
        """Write the other model unless it is there already; remove the one of an earlier choice."""
        if other == self._beside and other is not None:
            return
        self._beside = None
        for name in (NEWEST, BEST):
            if other is None or name != other.folder:
                _remove(self._folder / name)
        if other is None:
            return
        folder = make_folder(self._folder / other.folder, mode=0o755)
        origin = Origin(self._federation, *other.round, other.digest.hex())
        made = model_files.write(
            folder,
            task,
            other.vector,
            origin,
            other.metrics,
            self._samples,
            other.came_from,
            other.choice,
            other.clusters,
        )
        if made.withheld:
            log.error("round %s: %s/%s is withheld: %s", other.round, folder, ONNX, made.withheld)
        self._beside = other


def _remove(folder: Path) -> None:
    """Remove our files from a folder, and the folder if it is empty then."""
    for name in (MANIFEST, ONNX, SAFETENSORS):
        if (folder / name).exists():
            atomic_files.remove(folder / name)
    model_files.remove_clusters(folder)
    with suppress(OSError):
        folder.rmdir()
