"""The jobs of an aggregator beside its loop: closing rounds and exporting models."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from aggregator.aggregation.job import ClosingJob
from aggregator.export.job import Exported, Job
from aggregator.ledger.reading import LedgerReader
from aggregator.shell.closer import close
from fleet.simulator.books import Book
from fleet.simulator.hosts.machine import Host

CLOSING_S = (0.0, 0.1, 1.0, 30.0)
"""The longest delays of a job, before it reads the ledger and again before it is done."""


class Jobs:
    """The jobs of one life of an aggregator, which end with it.

    Args:
        host: the host that they run on.
        ledger: the ledger that they read.
        book: the promises of this ledger.
        post: puts a result into the inbox of the program.
    """

    def __init__(self, host: Host, ledger: LedgerReader, book: Book, post: Callable[[Any], None]) -> None:
        self._host, self._ledger, self._book, self._post = host, ledger, book, post
        self._boot = host.boots
        self._exported_s = 0.0
        """The end of the last export."""

    def close(self, job: ClosingJob) -> None:
        """Close a round with production's code, which reads the ledger later, and is done later still.

        The power may fail at each read of the ledger.
        """
        scene = self._host.scene
        oracle, retained = scene.oracle, scene.broker.retained
        self._host.power.spare(lambda: oracle.waits.closes(self._ledger, self._book, retained))
        self._later(lambda: self._begin(job))

    def export(self, job: Job) -> None:
        """Export a model; one at a time, as in production."""
        clock = self._host.scene.clock
        exported = Exported(job, b"onnx of " + job.digest, "")
        self._exported_s = max(self._exported_s, clock.now_s) + self._host.scene.rng.random()
        clock.at(self._exported_s, lambda: self._post(exported))

    def _begin(self, job: ClosingJob) -> None:
        if self._host.alive and self._boot == self._host.boots:
            self._host.guarded(lambda: self._work(job))

    def _work(self, job: ClosingJob) -> None:
        closed = close(lambda: nullcontext(self._ledger), job)
        self._later(lambda: self._post(closed))

    def _later(self, action: Callable[[], None]) -> None:
        rng = self._host.scene.rng
        self._host.scene.clock.after(rng.choice(CLOSING_S) * rng.random(), action)
