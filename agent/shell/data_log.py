"""Logs which data the agent uses, and warnings about them."""

import logging

from agent.data.data_warnings import warnings_of
from agent.data.dataset import FEWEST_TO_CHOOSE, Dataset
from agent.data.inventory import take_inventory
from agent.data.inventory_texts import lines as lines_of
from agent.settings.data import DataSettings
from agent.sources.samples import Samples
from fedge.wire.messages.task import Task

log = logging.getLogger("fedge.agent")


class Logbook:
    """Logs which data are used when a source is first read for a task. Each warning is logged once, until its
    cause is gone."""

    def __init__(self) -> None:
        self._read: set[tuple[str, bytes]] = set()
        self._odd: dict[str, set[tuple[str, str | None]]] = {}
        self._capped: set[tuple[str, int | None]] = set()
        self._unread: dict[str, tuple[str, ...]] = {}
        self._divided: dict[str, bool] = {}
        """By source: whether there were enough rows to choose a model by."""

    def tell(self, source: str, samples: Samples, settings: DataSettings, task: Task, digest: bytes) -> None:
        """Log what is new.

        Args:
            source: the source's name in the configuration.
            samples: the samples as they were read.
            settings: the source's section.
            task: the task for which they are used.
            digest: the digest of the task.
        """
        found = take_inventory(samples, settings, task)
        if (source, digest) not in self._read:
            self._read.add((source, digest))
            for about, text in {**lines_of(found), "read as": "; ".join(samples.reading)}.items():
                if text:
                    log.info("source %s, %s: %s", source, about, text)
        unread = samples.notes({*task.features, *(task.targets or ())})
        if unread != self._unread.get(source, ()):
            self._unread[source] = unread
            for note in unread:
                log.warning("source %s: %s", source, note)
        odd = {(doubt.kind, doubt.column): doubt for doubt in warnings_of(found, settings, task)}
        before = self._odd.get(source, set())
        for key, doubt in odd.items():  # in the order in which they were found
            if key not in before:
                log.warning("source %s: %s", source, doubt)
        self._odd[source] = set(odd)

    def tell_cap(self, source: str, cap: int | None, dataset: Dataset) -> None:
        """Log once that a cap keeps the round from taking all of a source's training part."""
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

    def tell_choice(self, source: str, dataset: Dataset) -> None:
        """Log how many rows a model is chosen by, or that there are too few; again only if this changes."""
        enough = dataset.choose_X is not None
        if self._divided.get(source) is enough:
            return
        self._divided[source] = enough
        if dataset.choose_X is not None:
            log.info(
                "source %s: this device chooses among models by %d rows, which are neither trained on nor "
                "reported",
                source,
                len(dataset.choose_X),
            )
        else:
            log.warning(
                "source %s: too few rows to choose among models (it takes %d beside those to train on): this "
                "device uses the first one that it has",
                source,
                FEWEST_TO_CHOOSE,
            )
