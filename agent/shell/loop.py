"""The agent's loop: one inbox, and one thread that empties it. This is the only place that waits."""

import logging
import os
import time
from collections.abc import Mapping
from queue import Empty, SimpleQueue

from agent.config import AgentSettings
from agent.shell import model_file
from agent.shell.measured_conditions import Conditions, this_host, today
from agent.shell.memory_layout import FILE
from agent.shell.runtime import InboxEvent, Runtime
from agent.shell.startup import open_device, open_memory
from agent.shell.traffic import TrafficBudget
from agent.sources import Source, open_sources
from agent.trainers.extensions import load_extensions, trainer_of
from agent.trainers.vectors import halves_lacking
from agent.trainers.worker import Worker
from fedge.service.systemd import ServiceManager, Watchdog
from fedge.storage.atomic_files import make_folder
from fedge.storage.locks import lock
from fedge.transport import Transport
from fedge.transport.mqtt import MqttTransport

log = logging.getLogger("fedge.agent")


class Stop:
    """Asks the loop to end. A signal handler puts it into the inbox."""


class Loop:
    """One device at work until `stop`.

    Args:
        settings: the configuration.
        sources: the sources of samples by name, instead of those that the settings describe.

    Raises:
        ConfigError: an extension, or the owner's trainer, cannot be loaded.
        Conflict: another agent works with this state folder.
        StateError: the state folder cannot be used.
    """

    def __init__(self, settings: AgentSettings, sources: Mapping[str, Source] | None = None) -> None:
        load_extensions(settings)
        trainer = trainer_of(settings.trainer)
        sources = open_sources(settings) if sources is None else sources
        folder = make_folder(settings.state.folder)
        self._lock = lock(folder)
        self._memory = open_memory(folder / FILE)
        self._inbox: SimpleQueue[InboxEvent | Stop] = SimpleQueue()
        self._link: Transport = MqttTransport(
            settings.broker,
            f"{settings.federation}_{settings.device}",
            self._inbox.put,
            will=lambda connection: self._runtime.offline_status(connection),
        )
        worker = Worker(settings, sources, self._inbox.put, self._memory.snapshots(), trainer)
        file = folder / model_file.FILE
        opened = open_device(
            settings, self._memory, file, os.urandom(16), time.monotonic(), halves_lacking(trainer)
        )
        host = this_host()
        meter = TrafficBudget(
            self._memory, settings.limits.bytes_per_day, lambda: today(host), time.monotonic
        )
        self._conditions = Conditions(settings, host, meter)
        self._runtime = Runtime(settings, opened, self._memory, file, self._link, worker, self._conditions)
        self._worker = worker
        self._manager = ServiceManager()
        self._watchdog = Watchdog(self._manager)

    def stop(self) -> None:
        """End the loop soon. This is safe in a signal handler."""
        self._inbox.put(Stop())

    def run(self) -> None:
        """Work until `stop`."""
        self._link.open()
        self._manager.ready()
        try:
            while not isinstance(event := self._next(), Stop):
                self._runtime.turn(event)
        finally:
            self._manager.stopping()
            self._worker.cancel()
            self._link.close(self._runtime.offline_status())
            self._conditions.close()
            self._memory.close()
            os.close(self._lock)
            log.info("stopped")

    def _next(self) -> InboxEvent | Stop | None:
        """Wait for the next event; None: something is due before one arrives."""
        while True:
            self._watchdog.look(self._link.pulse, self._worker.pulse)
            due_s = self._runtime.due_s()
            left_s = None if due_s is None else max(0.0, due_s - time.monotonic())
            try:
                event = self._inbox.get(timeout=self._watchdog.wait_s(left_s))
            except Empty:
                if due_s is not None and time.monotonic() >= due_s:
                    return None
            else:
                if not self._worker.is_void(event):
                    return event
