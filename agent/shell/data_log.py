"""What the agent's log says of the data it works with: what is used of them, and what is odd about them."""

import logging

from agent.data.account import account
from agent.data.dataset import Dataset
from agent.data.doubts import doubts
from agent.settings.data import DataSettings
from agent.sources.samples import Samples
from fedge.wire.messages.task import Task

log = logging.getLogger("fedge.agent")


class Logbook:
    """Says what is used of a source when it is read first for a task, and each oddity until it is gone."""

    def __init__(self) -> None:
        self._read: set[tuple[str, bytes]] = set()
        self._odd: dict[str, set[tuple[str, str | None]]] = {}
        self._capped: set[tuple[str, int | None]] = set()
        self._unread: dict[str, tuple[str, ...]] = {}

    def tell(self, source: str, samples: Samples, settings: DataSettings, task: Task, digest: bytes) -> None:
        """Say what is new.

        Args:
            source: its name in the configuration.
            samples: as they were read.
            settings: the source's section.
            task: what is learnt of them.
            digest: the task's.
        """
        found = account(samples, settings, task)
        if (source, digest) not in self._read:
            self._read.add((source, digest))
            for about, text in {**found.lines, "read as": "; ".join(samples.reading)}.items():
                if text:
                    log.info("source %s, %s: %s", source, about, text)
        unread = samples.notes({*task.features, *(task.targets or ())})
        if unread != self._unread.get(source, ()):
            self._unread[source] = unread
            for note in unread:
                log.warning("source %s: %s", source, note)
        odd = {(doubt.kind, doubt.column): doubt for doubt in doubts(found, settings, task)}
        before = self._odd.get(source, set())
        for key, doubt in odd.items():  # in their own order
            if key not in before:
                log.warning("source %s: %s", source, doubt)
        self._odd[source] = set(odd)

    def tell_cap(self, source: str, cap: int | None, dataset: Dataset) -> None:
        """Say once of a cap that the round does not take all of a source's training part."""
        if dataset.capped and (source, cap) not in self._capped:
            self._capped.add((source, cap))
            log.info(
                "source %s: the federation takes at most %d samples of a device: "
                "the newest %d of %d are used",
                source,
                cap,
                len(dataset.X),
                len(dataset.X) + dataset.capped,
            )
