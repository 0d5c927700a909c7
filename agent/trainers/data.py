"""The data of a device's sources, prepared for tasks; sources are read again only after a change."""

from collections.abc import Mapping

from agent.config import AgentSettings
from agent.data.dataset import Dataset, fit
from agent.data.extremes import Extremes, extremes
from agent.data.snapshot import Snapshot, current
from agent.shell.data_log import Logbook
from agent.sources import Source
from agent.trainers.assignment import Assignment
from fedge.errors import DataError
from fedge.wire.messages.task import Task


class Data:
    """Keeps the newest dataset, and the snapshot that surveys report of each source.

    Args:
        settings: the configuration.
        sources: the owner's sources, by name.
        snapshots: the saved snapshot of each source, by its name.
        logbook: logs which data are used, and warnings about them.
    """

    def __init__(
        self,
        settings: AgentSettings,
        sources: Mapping[str, Source],
        snapshots: Mapping[str, Snapshot],
        logbook: Logbook | None = None,
    ) -> None:
        self._settings = settings
        self._sources = sources
        self._snapshots = dict(snapshots)
        self._newest: tuple[tuple[object, bytes], int | None, Dataset] | None = None
        """The newest dataset, with its key: the data's fingerprint, the task's digest, and the cap on
        rows."""
        self._logbook = logbook or Logbook()
        self.extremes: Extremes | None = None
        """The newest dataset's inputs that lie far outside the range that the fleet has measured."""

    def of(self, assignment: Assignment, *, tells_data: bool = False) -> Dataset:
        """Return the device's data, read again if they changed since the last round.

        If the round `tells_data`, this also chooses the snapshot to report; unchanged data keep theirs.

        Raises:
            DataError: the data cannot be read, or do not fit the task.
        """
        name, manifest = assignment.source, assignment.manifest
        source, settings = self._sources[name], self._settings.offered[name]
        fingerprint, digest, cap = source.fingerprint(), manifest.task.digest, manifest.max_samples
        told = not tells_data or name in self._snapshots
        if told and self._newest is not None and self._newest[:2] == ((fingerprint, digest), cap):
            return self._newest[2]
        self._newest = None
        samples = source.read()
        self._logbook.tell(name, samples, settings, assignment.task, digest)
        dataset = fit(samples, assignment.task, settings, cap)
        self._logbook.tell_cap(name, cap, dataset)
        if tells_data:
            self._snapshots[name] = current(self._snapshots.get(name), samples, settings)
        self.extremes = extremes(samples, dataset.X, dataset.rows, assignment.task)
        self._newest = (fingerprint, digest), cap, dataset
        return dataset

    def snapshot(self, name: str) -> Snapshot:
        """Return the snapshot to report of a source; call `of` first, with a round that `tells_data`."""
        return self._snapshots[name]

    def to_judge(self, name: str, task: Task, digest: bytes) -> Dataset:
        """Return the data of the owner's source `name`, prepared for a task, and read again if they changed.

        The model in use may come from a task that named another source. It is scored on the new source's
        rows.

        Raises:
            DataError: the data cannot be read, or there is no such source.
        """
        if name not in self._sources:
            raise DataError(f"this device has no source {name!r}")
        source = self._sources[name]
        if self._newest is not None and self._newest[0] == (source.fingerprint(), digest):
            return self._newest[2]
        return fit(source.read(), task, self._settings.offered[name])
