"""Who runs the aggregators of a world: he loses ledgers and restores copies, moves, and does what he is told.

When an aggregator ends because its ledger is older than the fleet, the operator does what its message says:
he restores the newest copy that there is, or starts it with `--new-generation`. An aggregator that ends so
without such a reason is the programs' mistake.
"""

from collections.abc import Callable
from pathlib import Path

from aggregator.aggregation.rollback import Return
from fedge.errors import ConfigError
from fedge.wire.freshness import round_of
from fleet.simulator.books import Book
from fleet.simulator.disks import Disk
from fleet.simulator.faults import Fault
from fleet.simulator.hosts import RESTART_S, AggregatorHost, DeviceHost, Scene
from fleet.simulator.invariants import Invariant, Violation

DARK_S = 60.0
"""So long the first aggregator is cut off, when another one is started in its place."""
GIVEN_WAY_S = 120.0
"""Of two that hear each other, one has given way after so long."""


MOST_DECISIONS = 30
"""An aggregator that asks more often does not do what it was told, whatever it was."""


class Operator:
    """The aggregators of one world, of which `main` is the one that is meant to serve.

    Args:
        scene: of the world.
        folder: for ledgers in files; None: they are in memory.
        make: an aggregator of this name, with a ledger there.
        signed: announcements are signed; then nobody starts a second aggregator, which had the key of before.
    """

    def __init__(
        self,
        scene: Scene,
        folder: Path | None,
        make: Callable[[str, Path | None], AggregatorHost],
        *,
        signed: bool,
    ) -> None:
        self._scene, self._folder, self._make, self._signed = scene, folder, make, signed
        self._attic: list[Disk] = []
        """Disks that are no longer in use; of ledgers, copies that may be restored."""
        self._lost: list[Disk] = []
        """Disks that nobody has any more."""
        self._paths = 0
        self.hosts: list[AggregatorHost] = []
        self._decisions = 0
        self.acted_s = 0.0
        """When he did something last."""
        self.main = self._host(None)

    @property
    def book(self) -> Book:
        """What the main aggregator's ledger has promised."""
        return self.main.disk.book

    @property
    def disks(self) -> list[Disk]:
        """All that are not in a host."""
        return [*self._attic, *self._lost]

    # ── what goes wrong ────────────────────────────────────────────────────────────────────────────

    def happen(self, fault: Fault, device: DeviceHost) -> None:
        """Let a fault of an operator's kind happen; at night nobody does anything."""
        after = self._scene.clock.after
        if self.main.asleep:
            return
        match fault.kind:
            case "new generation":
                if fault.amount % 4 == 3:  # a bad model went out
                    self._set_aside(device.device)
                    after(fault.seconds, lambda: self._lift(device.device))
                    self._begin_anew(self.main, Return(), far=1 + fault.amount // 4)
                else:
                    self._begin_anew(self.main, Return() if fault.amount % 2 == 1 else None)
            case "ledger wiped":
                self._wipe(self.main)
            case "ledger restored":
                main, copy = self.main, self._copy(self.main)
                after(fault.seconds, lambda: self._restore(main, copy))
            case "aggregator moved":
                self._move(fault.seconds)
            case "second aggregator":
                self._start_second(fault)
            case "device wiped":
                self._replace(device, self._blank(device), frozenset())
                self._scene.oracle.states.replaced(device.device, wiped=True)
                (device.folder / "model.held").unlink(missing_ok=True)
                after(RESTART_S, device.start)
            case "device restored":
                outbox, older = self._scene.oracle.devices.outbox(device.device), self._copy(device)
                held = device.folder / "model.held"
                model = held.read_bytes() if held.exists() else None
                after(fault.seconds, lambda: self._restore_device(device, older, outbox, model))

    def must_decide(self, host: AggregatorHost, error: ConfigError) -> None:
        """An aggregator has ended: its ledger is older than the fleet, or the programs are wrong."""
        newest, (known, _) = self._scene.oracle.record.newest, host.known()
        done = newest is not None and newest.state == "done"
        ahead = newest is not None and (
            known is None or known < round_of(newest) or (known == round_of(newest) and done)
        )
        if not ahead:
            raise Violation(
                Invariant.GIVES_UP_WITH_REASON, f"{host.name} gives up, and its ledger is not behind: {error}"
            ) from error
        self._decisions += 1
        if self._decisions > MOST_DECISIONS:
            raise Violation(
                Invariant.GIVES_UP_WITH_REASON,
                f"{host.name} asks an operator for the {self._decisions}th time: {error}",
            ) from error
        host.end(f"{error}", host.offline_status())
        self.acted_s = self._scene.clock.now_s
        copies = [disk for disk in self._attic if disk.book.newest > host.disk.book.newest]
        if copies and self._scene.rng.random() < 0.5:
            newest_copy = max(copies, key=lambda disk: disk.book.newest)
            self._attic.remove(newest_copy)
            self._restore(host, newest_copy)
        else:
            self._begin_anew(host, Return() if self._scene.rng.random() < 0.5 else None)

    # ── what he does ───────────────────────────────────────────────────────────────────────────────

    def _host(self, disk: Disk | None) -> AggregatorHost:
        name = "aggregator" if not self.hosts else f"aggregator {len(self.hosts) + 1}"
        host = self._make(name, self._path())
        if disk is not None:
            disk.plug_into(host.power)
            host.disk = disk
        host.must_decide = self.must_decide
        self.hosts.append(host)
        return host

    def _set_aside(self, device: str) -> None:
        """Put it on the list, which is no ledger's."""
        for host in self.hosts:
            self._scene.oracle.record.sets_aside(device, host.disk.book.newest)
        self._tell(f"sets {device} aside")
        for host in self.hosts:
            host.set_aside()

    def _lift(self, device: str) -> None:
        self._scene.oracle.record.lifts(device)
        self._tell(f"lets {device} count again")
        for host in self.hosts:
            host.set_aside()

    def _begin_anew(self, host: AggregatorHost, back: Return | None, far: int = 0) -> None:
        self._stop(host)
        host.tell_new_generation(back, far)
        model = " and a model of before" if far else " and its model" if back else ""
        self._tell(f"starts {host.name} with --new-generation{model}")
        self._scene.clock.after(RESTART_S, host.start)

    def _wipe(self, host: AggregatorHost) -> None:
        self._stop(host)
        self._scene.oracle.record.ledger_replaced()
        self._lost.append(host.disk)
        host.disk, host.done = self._blank(host), False
        self._tell(f"wipes the ledger of {host.name}")
        self._scene.clock.after(RESTART_S, host.start)

    def _restore(self, host: AggregatorHost, copy: Disk) -> None:
        if host.gone:  # another one has taken its place
            self._attic.append(copy)
            return
        copy.plug_into(host.power)
        self._stop(host)
        self._scene.oracle.record.ledger_replaced()
        self._attic.append(host.disk)
        host.disk, host.done = copy, False
        self._tell(f"restores a ledger of {host.name} that has seen {copy.book.newest}")
        self._scene.clock.after(RESTART_S, host.start)

    def _move(self, seconds: float) -> None:
        """Another machine takes the ledger as it stands; the one before is off for good."""
        if self._signed:
            return
        before = self.main
        before.die(silently=True)
        self.main = self._host(self._copy(before))
        self.main.weather.usual_s = before.weather.usual_s
        self._shelve(before)
        self._scene.clock.after(seconds, self.main.start)

    def _start_second(self, fault: Fault) -> None:
        """Another one beside the main one, which may be cut off meanwhile and be taken for lost."""
        if self._signed or len(self.hosts) > 3:
            return
        kind, main = fault.amount % 3, self.main
        second = self._host(None if kind == 0 else self._copy(main))
        second.weather.usual_s = main.weather.usual_s
        oracle, now_s = self._scene.oracle, self._scene.clock.now_s
        oracle.record.several_until_s = max(oracle.record.several_until_s, now_s + fault.seconds)
        if kind == 2:
            main.darken(min(DARK_S, fault.seconds))
        second.start()
        self._scene.clock.after(fault.seconds, lambda: self._choose(main, second))

    def _choose(self, main: AggregatorHost, second: AggregatorHost) -> None:
        """Let one of two go on: the one that serves."""
        if main is self.main and self._heard_each_other_for_long(main, second):
            raise Violation(
                Invariant.ONE_AGGREGATOR,
                f"two aggregators serve, and none has given way within {GIVEN_WAY_S:.0f} s",
            )
        serves = second.alive and second.runtime is not None
        goes_on = second if serves and not (main.alive and main.runtime is not None) else main
        goes = main if goes_on is second else second
        if main is not self.main:
            goes = second
        elif goes_on is second:
            self.main = second
        self._tell(f"leaves the federation to {self.main.name}")
        goes.die(silently=True)
        self._shelve(goes)
        self._scene.oracle.record.ledger_replaced()
        self.main.start()

    def _heard_each_other_for_long(self, *hosts: AggregatorHost) -> bool:
        since_s = self._scene.clock.now_s - GIVEN_WAY_S
        return self._scene.broker.up_since_s <= since_s and all(
            host.alive and host.serves_since_s <= since_s and host.weather.dark_until_s <= since_s
            for host in hosts
        )

    def _stop(self, host: AggregatorHost) -> None:
        host.die(silently=False)
        host.runtime = None  # the key stays what it is: who is shown an older ledger must know its own word

    def _shelve(self, host: AggregatorHost) -> None:
        """Its disk is kept; the machine is started no more."""
        host.gone = True
        self._attic.append(host.disk)

    def _restore_device(
        self, device: DeviceHost, older: Disk, outbox: frozenset[bytes], model: bytes | None
    ) -> None:
        self._replace(device, older, outbox)
        self._scene.oracle.states.replaced(device.device, wiped=False)
        held = device.folder / "model.held"
        held.unlink(missing_ok=True)
        if model is not None:
            held.write_bytes(model)
        self._scene.clock.after(RESTART_S, device.start)

    def _replace(self, device: DeviceHost, disk: Disk, outbox: frozenset[bytes]) -> None:
        device.die(silently=False)
        self._lost.append(device.disk)
        device.disk = disk
        self._scene.oracle.devices.replaced(device.device, outbox)
        self._tell(f"gives {device.name} another state")

    def _blank(self, host: AggregatorHost | DeviceHost) -> Disk:
        return Disk(host.power, self._path())

    def _copy(self, host: AggregatorHost | DeviceHost) -> Disk:
        return host.disk.copy(host.power, self._path())

    def _path(self) -> Path | None:
        if self._folder is None:
            return None
        self._paths += 1
        return self._folder / f"state-{self._paths}.db"

    def _tell(self, what: str) -> None:
        self._scene.tell("operator", what)
