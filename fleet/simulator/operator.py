"""The operator of a world: starts generations, loses and restores ledgers and devices, moves aggregators.

An aggregator ends when its ledger is older than the fleet. The operator then does what its message says:
the newest copy is restored, or the aggregator is started with `--new-generation`. It is a violation if an
aggregator ends in this way without that reason.
"""

from collections.abc import Callable
from pathlib import Path

from aggregator.aggregation.rollback import Rollback
from fedge.errors import ConfigError
from fedge.wire.freshness import round_of
from fleet.simulator.aggregators import Aggregators
from fleet.simulator.books import Book
from fleet.simulator.disks import Disk
from fleet.simulator.faults import Fault
from fleet.simulator.hosts import RESTART_S, AggregatorHost, DeviceHost, Scene
from fleet.simulator.invariants import Invariant, Violation
from fleet.simulator.spare_disks import SpareDisks

MOST_DECISIONS = 30
"""The largest number of decisions; an aggregator that asks more often does not carry them out."""


class Operator:
    """The operator of one world's aggregators, who also replaces the disks of devices.

    Args:
        scene: of the world.
        folder: for ledgers in files; None: they are in memory.
        make: makes an aggregator with this name, and its ledger at this path.
        signed: whether announcements are signed; then no second aggregator is started, as it would have an
            old key.
    """

    def __init__(
        self,
        scene: Scene,
        folder: Path | None,
        make: Callable[[str, Path | None], AggregatorHost],
        *,
        signed: bool,
    ) -> None:
        self._scene = scene
        self._spare = SpareDisks(folder)
        self.aggregators = Aggregators(scene, self._spare, make, self.must_decide, signed=signed)
        self._decisions = 0
        self.acted_s = 0.0
        """When the operator last decided for an aggregator."""

    @property
    def book(self) -> Book:
        """The promises of the main aggregator's ledger."""
        return self.aggregators.main.disk.book

    @property
    def disks(self) -> list[Disk]:
        """The disks that are in no host."""
        return self._spare.all

    # ── faults ────────────────────────────────────────────────────────────────────────────

    def happen(self, fault: Fault, device: DeviceHost) -> None:
        """Carry out a fault that is an operator's doing; nothing happens while the main aggregator is off."""
        after, aggregators = self._scene.clock.after, self.aggregators
        main = aggregators.main
        if main.asleep:
            return
        match fault.kind:
            case "new generation":
                if fault.amount % 4 == 3:  # the operator found the model bad
                    self._set_aside(device.device)
                    after(fault.seconds, lambda: self._lift(device.device))
                    aggregators.begin_anew(main, Rollback(), far=1 + fault.amount // 4)
                else:
                    aggregators.begin_anew(main, Rollback() if fault.amount % 2 == 1 else None)
            case "ledger wiped":
                aggregators.wipe(main)
            case "ledger restored":
                copy = self._spare.copy(main)
                after(fault.seconds, lambda: aggregators.restore(main, copy))
            case "aggregator moved":
                aggregators.move(fault.seconds)
            case "second aggregator":
                aggregators.start_second(fault)
            case "device wiped":
                self._replace(device, self._spare.blank(device), frozenset())
                self._scene.oracle.states.replaced(device.device, wiped=True)
                self._scene.oracle.own_models.replaced(device.device, wiped=True)
                (device.folder / "model.held").unlink(missing_ok=True)
                after(RESTART_S, device.start)
            case "device restored":
                outbox, older = self._scene.oracle.devices.outbox(device.device), self._spare.copy(device)
                held = device.folder / "model.held"
                model = held.read_bytes() if held.exists() else None
                after(fault.seconds, lambda: self._restore_device(device, older, outbox, model))

    def must_decide(self, host: AggregatorHost, error: ConfigError) -> None:
        """Decide for an aggregator that has ended because its ledger is older than the fleet.

        Raises:
            Violation: the ledger is not older, or the aggregator asks too often.
        """
        newest, (known, _) = self._scene.oracle.record.newest, host.known()
        done = newest is not None and newest.state == "done"
        ahead = newest is not None and (
            known is None or known < round_of(newest) or (known == round_of(newest) and done)
        )
        if not ahead:
            raise Violation(
                Invariant.GIVES_UP_WITH_REASON, f"{host.name} gives up, but its ledger is not behind: {error}"
            ) from error
        self._decisions += 1
        if self._decisions > MOST_DECISIONS:
            raise Violation(
                Invariant.GIVES_UP_WITH_REASON,
                f"{host.name} asks an operator for the {self._decisions}th time: {error}",
            ) from error
        host.end(f"{error}", host.offline_status())
        self.acted_s = self._scene.clock.now_s
        copies = [disk for disk in self._spare.copies if disk.book.newest > host.disk.book.newest]
        if copies and self._scene.rng.random() < 0.5:
            newest_copy = max(copies, key=lambda disk: disk.book.newest)
            self._spare.copies.remove(newest_copy)
            self.aggregators.restore(host, newest_copy)
        else:
            self.aggregators.begin_anew(host, Rollback() if self._scene.rng.random() < 0.5 else None)

    def begins_anew(self) -> bool:
        """Start a generation with a new model, because too few devices can take part in the present one.

        Returns:
            Whether it does so; False: it has decided too often.
        """
        if self._decisions >= MOST_DECISIONS:
            return False
        self._decisions += 1
        self.acted_s = self._scene.clock.now_s
        self.aggregators.begin_anew(self.aggregators.main, None)
        return True

    # ── actions ─────────────────────────────────────────────────────────────────────

    def _set_aside(self, device: str) -> None:
        """Put a device into quarantine; the list belongs to no ledger."""
        for host in self.aggregators.hosts:
            self._scene.oracle.record.sets_aside(device, host.disk.book.newest)
        self._tell(f"sets {device} aside")
        for host in self.aggregators.hosts:
            host.set_aside()

    def _lift(self, device: str) -> None:
        self._scene.oracle.record.lifts(device)
        self._tell(f"lets {device} count again")
        for host in self.aggregators.hosts:
            host.set_aside()

    def _restore_device(
        self, device: DeviceHost, older: Disk, outbox: frozenset[bytes], model: bytes | None
    ) -> None:
        self._replace(device, older, outbox)
        self._scene.oracle.states.replaced(device.device, wiped=False)
        self._scene.oracle.own_models.replaced(device.device, wiped=False)
        held = device.folder / "model.held"
        held.unlink(missing_ok=True)
        if model is not None:
            held.write_bytes(model)
        self._scene.clock.after(RESTART_S, device.start)

    def _replace(self, device: DeviceHost, disk: Disk, outbox: frozenset[bytes]) -> None:
        device.die(silently=False)
        self._spare.lost.append(device.disk)
        device.disk = disk
        self._scene.oracle.devices.replaced(device.device, outbox)
        self._tell(f"gives {device.name} another state")

    def _tell(self, what: str) -> None:
        self._scene.tell("operator", what)
