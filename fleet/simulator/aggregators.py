"""The aggregators of a world: how they are added, moved and replaced, and what happens to their ledgers."""

from collections.abc import Callable
from pathlib import Path

from aggregator.aggregation.rollback import Rollback
from fedge.errors import ConfigError
from fleet.simulator.disks import Disk
from fleet.simulator.faults import Fault
from fleet.simulator.hosts import RESTART_S, AggregatorHost, Scene
from fleet.simulator.invariants import Invariant, Violation
from fleet.simulator.spare_disks import SpareDisks

DARK_S = 60.0
"""How long the first aggregator is cut off when another one is started in its place."""
GIVEN_WAY_S = 120.0
"""The time within which one of two aggregators that hear each other gives way."""


class Aggregators:
    """The aggregators of one world, of which `main` is the one that is meant to serve.

    Args:
        scene: of the world.
        spare: the disks that are in no host.
        make: makes an aggregator with this name, and its ledger at this path.
        must_decide: called when an aggregator ends and asks for a human's decision.
        signed: whether announcements are signed; then no second aggregator is started, as it would have an
            old key.
    """

    def __init__(
        self,
        scene: Scene,
        spare: SpareDisks,
        make: Callable[[str, Path | None], AggregatorHost],
        must_decide: Callable[[AggregatorHost, ConfigError], None],
        *,
        signed: bool,
    ) -> None:
        self._scene, self._spare, self._make, self._signed = scene, spare, make, signed
        self._must_decide = must_decide
        self.hosts: list[AggregatorHost] = []
        self.main = self._add(None)

    def begin_anew(self, host: AggregatorHost, back: Rollback | None, far: int = 0) -> None:
        """Restart it with `--new-generation`.

        Args:
            host: which.
            back: the model that the generation begins with; None: a new one.
            far: the number of that model among the kept ones; 0: the newest model.
        """
        self._stop(host)
        host.tell_new_generation(back, far)
        model = " and an earlier model" if far else " and its model" if back else ""
        self._tell(f"starts {host.name} with --new-generation{model}")
        self._scene.clock.after(RESTART_S, host.start)

    def wipe(self, host: AggregatorHost) -> None:
        """Give it an empty ledger."""
        self._stop(host)
        self._scene.oracle.record.ledger_replaced()
        self._spare.lost.append(host.disk)
        host.disk, host.done = self._spare.blank(host), False
        self._tell(f"wipes the ledger of {host.name}")
        self._scene.clock.after(RESTART_S, host.start)

    def restore(self, host: AggregatorHost, copy: Disk) -> None:
        """Give it this copy of a ledger."""
        if host.gone:  # another aggregator has replaced it
            self._spare.copies.append(copy)
            return
        copy.plug_into(host.power)
        self._stop(host)
        self._scene.oracle.record.ledger_replaced()
        self._spare.copies.append(host.disk)
        host.disk, host.done = copy, False
        self._tell(f"restores a ledger of {host.name} that has seen {copy.book.newest}")
        self._scene.clock.after(RESTART_S, host.start)

    def move(self, seconds: float) -> None:
        """Let another machine continue with a copy of the ledger; this machine never starts again."""
        if self._signed:
            return
        before = self.main
        before.die(silently=True)
        self.main = self._add(self._spare.copy(before))
        self.main.weather.usual_s = before.weather.usual_s
        self._shelve(before)
        self._scene.clock.after(seconds, self.main.start)

    def start_second(self, fault: Fault) -> None:
        """Start another aggregator beside the main one, which may be cut off meanwhile."""
        if self._signed or len(self.hosts) > 3:
            return
        kind, main = fault.amount % 3, self.main
        second = self._add(None if kind == 0 else self._spare.copy(main))
        second.weather.usual_s = main.weather.usual_s
        oracle, now_s = self._scene.oracle, self._scene.clock.now_s
        oracle.record.several_until_s = max(oracle.record.several_until_s, now_s + fault.seconds)
        if kind == 2:
            main.darken(min(DARK_S, fault.seconds))
        second.start()
        self._scene.clock.after(fault.seconds, lambda: self._choose(main, second))

    def _choose(self, main: AggregatorHost, second: AggregatorHost) -> None:
        """Keep the one of two that serves, and switch the other off."""
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
        host.runtime = None  # the key stays, so that it recognizes its own announcements

    def _shelve(self, host: AggregatorHost) -> None:
        """Never start this host again; its disk is kept."""
        host.gone = True
        self._spare.copies.append(host.disk)

    def _add(self, disk: Disk | None) -> AggregatorHost:
        name = "aggregator" if not self.hosts else f"aggregator {len(self.hosts) + 1}"
        host = self._make(name, self._spare.path())
        if disk is not None:
            disk.plug_into(host.power)
            host.disk = disk
        host.must_decide = self._must_decide
        self.hosts.append(host)
        return host

    def _tell(self, what: str) -> None:
        self._scene.tell("operator", what)
