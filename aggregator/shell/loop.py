"""The aggregator's loop: it loads the state, waits for events, and has the runtime process them."""

import logging
import os
import time
from collections.abc import Callable

from aggregator.config import FederationSettings
from aggregator.core import events as on
from aggregator.core.federation import Federation
from aggregator.export.exporter import Exporter
from aggregator.export.validation_samples import read_samples
from aggregator.ledger.layout import FILE
from aggregator.shell import orders
from aggregator.shell.closer import Closer
from aggregator.shell.counters import Counters, Snapshot
from aggregator.shell.inbox import Inbox, Stop
from aggregator.shell.ledger_file import begin_anew, open_ledger
from aggregator.shell.metrics_service import metrics
from aggregator.shell.quarantine import LOOK_S, QuarantineList
from aggregator.shell.runtime import Runtime
from aggregator.shell.signing import signer_of
from aggregator.shell.startup import open_federation
from fedge.errors import ConfigError, DamagedState, DataError, StateError
from fedge.service.systemd import ServiceManager, Watchdog
from fedge.storage.atomic_files import make_folder
from fedge.storage.locks import lock
from fedge.transport import Transport
from fedge.transport.mqtt import MqttTransport

log = logging.getLogger("fedge.aggregator")

SESSION_S = 86_400
"""How long the broker keeps messages for an aggregator without a connection."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
"""The shortest and the longest pause between attempts while the ledger cannot be written."""
BETWEEN_LIVES_S = 0.2
"""How long to drop events of the closed connection before a new generation begins."""


class Loop:
    """One federation's aggregator at work, until `stop` or the end of learning.

    If the ledger cannot be written (the disk is full or read-only), the program continues. Nothing of that
    turn was published, and none of its updates was acknowledged. The loop drops the state, and after a pause
    it loads the state from the ledger again. The broker redelivers what was not acknowledged. A damaged
    ledger is put aside; then the program starts as with an empty state folder.

    Args:
        settings: the configuration.
        new_generation: begin a new generation; the devices follow it.
        exit_when_done: end when learning has ended and the broker holds the final model.

    Raises:
        Conflict: another aggregator serves this federation or works with this state folder.
        ConfigError: the ledger does not fit the configuration or the fleet.
        StateError: the state folder cannot be used, when the program starts.
    """

    def __init__(
        self, settings: FederationSettings, *, new_generation: bool = False, exit_when_done: bool = False
    ) -> None:
        self._settings = settings
        self._new_generation = new_generation
        self._exit_when_done = exit_when_done
        self._signer = signer_of(settings)
        self._folder = folder = make_folder(settings.state.folder)
        self._lock = lock(folder)
        make_folder(settings.export.folder, mode=0o755)
        path = settings.export.samples
        self._quarantine = QuarantineList(settings.federation.quarantine)
        self._samples = read_samples(path, len(settings.model.features)) if path is not None else None
        self._path = folder / FILE
        self._ledger = open_ledger(self._path)
        self._stopped = False
        self._manager = ServiceManager()
        self._watchdog = Watchdog(self._manager)
        self._inbox = Inbox(self._watchdog)
        self._closer = Closer(self._path, self._inbox.put)
        self._counters = Counters()
        self._now: Callable[[], Snapshot | None] = lambda: None

    def stop(self) -> None:
        """End the loop soon; safe in a signal handler."""
        self._stopped = True
        self._inbox.put(Stop())

    def run(self) -> None:
        """Serve until `stop`, or until learning is done if asked to exit then."""
        with metrics(self._settings, self._counters, lambda: self._now()):
            self._run()

    def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        self._manager.ready()
        try:
            while True:
                began_s = time.monotonic()
                try:
                    if not self._live() or self._stopped or self._inbox.is_stopped_within(BETWEEN_LIVES_S):
                        return None
                    continue
                except DamagedState as error:
                    self._ledger.close()
                    self._ledger = begin_anew(self._path, error)
                except StateError as error:
                    if time.monotonic() - began_s > LONGEST_PAUSE_S:
                        pause_s = FIRST_PAUSE_S
                    log.error("%s; trying again in %.0f s", error, pause_s)
                if self._stopped or self._inbox.is_stopped_within(pause_s):
                    return None
                pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)
        finally:
            self._manager.stopping()
            self._closer.end()
            self._ledger.close()
            os.close(self._lock)
            log.info("stopped")

    def _live(self) -> bool:
        """Load the state from the ledger and serve; True: do it again, because of an order."""
        order = orders.to_begin(self._folder, self._settings, self._ledger)
        try:
            state = open_federation(
                self._settings,
                self._ledger,
                os.urandom(16),
                self._inbox,
                self._watchdog,
                new_generation=self._new_generation or order is not None,
                back=order.back if order is not None else None,
                signer=self._signer,
                quarantined=self._quarantine.devices,
                order=order.id if order is not None else None,
                begins=lambda: orders.standing(self._folder, order),
            )
        except orders.WithdrawnError:
            log.warning("the new generation that was ordered is not begun: the order was withdrawn meanwhile")
            return True
        except (ConfigError, DataError) as error:
            if order is None:
                raise
            orders.refuse(self._folder, order, error)
            return True
        if state is None:  # it was stopped while watching
            return False
        self._new_generation = False  # it has begun
        if order is not None:
            orders.withdraw(self._folder, order)
        return self._serve(state)

    def _serve(self, state: Federation) -> bool:
        """Serve until the end; True: a new generation was ordered."""
        settings = self._settings
        link: Transport = MqttTransport(
            settings.broker,
            f"{settings.federation.name}__aggregator",
            self._inbox.put,
            will=lambda _connection: runtime.offline_status(),
            keep_session_s=SESSION_S,
            manual_ack=True,
        )
        exporter = Exporter(settings.federation.name, settings.export.folder, self._inbox.put, self._samples)
        runtime = Runtime(
            settings,
            state,
            self._ledger,
            link,
            self._closer.submit,
            exporter.submit,
            counters=self._counters,
            signer=self._signer,
            samples=self._samples,
        )
        try:
            runtime.begin()
            # At the start too: a device set aside while nobody served may have an update in the open round.
            runtime.turn([on.Quarantined(time.monotonic(), self._quarantine.devices)])
            self._now = runtime.now
            link.open()
            ordered = False
            while not ordered and not (runtime.has_nothing_left_to_say and self._exit_when_done):
                self._watchdog.look(link.pulse, self._closer.pulse, exporter.pulse)
                events = self._inbox.turn(min(LOOK_S, runtime.due_s() - time.monotonic()), link.handle)
                if self._quarantine.has_changed():
                    events.append(on.Quarantined(time.monotonic(), self._quarantine.devices))
                runtime.turn([event for event in events if not isinstance(event, Stop)])
                if any(isinstance(event, Stop) for event in events):
                    break
                ordered = orders.is_given(self._folder)
            runtime.end()
            if ordered:
                log.info("a new generation is ordered")
            return ordered
        finally:
            self._now = lambda: None
            self._closer.cancel()
            exporter.close()
            link.close(runtime.offline_status())
