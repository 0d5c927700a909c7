"""The data of a device's sources as tasks want them: read anew only when they have changed."""

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
    """The newest dataset, and what surveys tell of each source.

    Args:
        settings: the configuration.
        sources: of the owner, by name.
        snapshots: what was told of each source, by its name.
    """

    def __init__(
        self, settings: AgentSettings, sources: Mapping[str, Source], snapshots: Mapping[str, Snapshot]
    ) -> None:
        self._settings = settings
        self._sources = sources
        self._snapshots = dict(snapshots)
        self._newest: tuple[tuple[object, bytes], int | None, Dataset] | None = None
        """By what of the data and the task, and of how many rows, the newest dataset was made."""
        self._logbook = Logbook()
        self.extremes: Extremes | None = None
        """What of the newest dataset lies far outside of what the fleet has measured."""

    def of(self, assignment: Assignment, *, tells_data: bool = False) -> Dataset:
        """The device's data, read anew if it changed since the last round.

        If the round `tells_data`, it is also decided what to tell: data that did not change has been told of.

        Raises:
            DataError: they cannot be read, or are not what the task needs.
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
        """What is told of a source, once `of` has read it to tell of it."""
        return self._snapshots[name]

    def to_judge(self, name: str, task: Task, digest: bytes) -> Dataset:
        """The data of the owner's source `name` as a task wants them, read anew if they have changed.

        A model in use may be of a task that named another source: it is measured on the rows of the new one.

        Raises:
            DataError: they cannot be read, or there is no such source.
        """
        if name not in self._sources:
            raise DataError(f"this device has no source {name!r}")
        source = self._sources[name]
        if self._newest is not None and self._newest[0] == (source.fingerprint(), digest):
            return self._newest[2]
        return fit(source.read(), task, self._settings.offered[name])
