"""The calm after the faults, in which the federation must finish with every device that takes part."""

from functools import lru_cache

from fedge.wire.freshness import RoundId, round_of
from fedge.wire.messages.status import Status
from fleet.simulator.fastpaths import decode
from fleet.simulator.hosts import Scene
from fleet.simulator.invariants import Invariant, Violation
from fleet.simulator.machines import Machines
from fleet.simulator.oracle.overflows import cannot_train, refused
from fleet.simulator.terms import Terms

SETTLE_S = 480.0
"""The seconds after which all earlier waits have ended: keep-alives, retries, three pauses of a clone."""
SETTLED_S = 10.0
"""The seconds that all must stay connected to count as back; a clone loses its connection at once."""
STANDS_S = 30.0
"""The seconds after which no connected device may still have the status "offline" in the calm."""
ROUND_TRIPS_S = 5.0
"""The seconds that a device's messages may take, besides its training."""
PROGRESS_S = 300.0
"""In the calm a round closes within this many seconds and two deadlines, whatever happened before."""


class Calm:
    """The last part of a world, in which no fault is injected.

    Args:
        scene: the world's clock, broker and settings.
        machines: the world's programs.
        wanted: the world's terms.
    """

    def __init__(self, scene: Scene, machines: Machines, wanted: Terms) -> None:
        self._scene, self._machines, self._terms = scene, machines, wanted
        self._said_away_s: dict[str, float] = {}
        """Since when each connected device has had the status "offline"."""
        self._late_s = 0.0
        """The time before which no round counts as late."""
        self._status = lru_cache(maxsize=None)(scene.topics.status)

    def step(self) -> None:
        """Run the next event.

        Raises:
            Violation: no event is left.
        """
        if not self._scene.clock.step():
            raise Violation(Invariant.PROGRESS, f"no event is left, but {self._lacking()}")

    def last(self, calm_s: float) -> None:
        """Run the world until learning has ended.

        Args:
            calm_s: when the last fault was over.

        Raises:
            Violation: an invariant breaks, or learning does not end in time.
        """
        clock, machines = self._scene.clock, self._machines
        all_back_s = clock.now_s
        settled_s: float | None = None
        while not self._ended():
            self.step()
            if settled_s is None:
                if not self._all_are_back():
                    all_back_s = clock.now_s
                    self._require_presence()
                elif clock.now_s > all_back_s + SETTLED_S:
                    settled_s = clock.now_s
                    self._scene.tell("world", "settled")
                acted_s = max(calm_s, machines.awake_s, machines.operator.acted_s)
                if settled_s is None and clock.now_s > acted_s + SETTLE_S and machines.aggregator.alive:
                    raise Violation(
                        Invariant.ALL_COME_BACK,
                        f"not all are back after {SETTLE_S:.0f} s of calm: {self._lacking()}",
                    )
            if self._ended(but_the_sleepers=True):  # only the alarm of a sleeping device is left
                machines.aggregator.stop()
                continue
            self._require_progress(calm_s)
        if settled_s is not None:
            self._require_part(settled_s)

    def _require_progress(self, calm_s: float) -> None:
        """Check that no more time has passed than a round may take since something last delayed it."""
        clock, machines = self._scene.clock, self._machines
        if clock.now_s <= self._late_s:
            return
        limit_s = PROGRESS_S + 2 * self._terms.deadline_s
        closed_s = self._scene.oracle.record.closed_s
        since_s = max(calm_s, machines.awake_s, machines.operator.acted_s, closed_s)
        self._late_s = since_s + limit_s
        if clock.now_s > since_s + limit_s + (SETTLE_S if machines.aggregator.done else 0.0):
            if self._too_few_can_take_part() and machines.operator.begins_anew():
                return
            lacking = self._lacking(but_the_sleepers=True) or self._lacking()
            raise Violation(Invariant.PROGRESS, f"no progress in {limit_s:.0f} s of calm: {lacking}")

    def _too_few_can_take_part(self) -> bool:
        """Whether the open round lacks its quorum without the devices that cannot take part in it.

        Some cannot train from its model, and what others make of it is far from it, and refused. Some have
        seen newer rounds, of an aggregator that gave way to one with an older copy of the ledger.
        """
        machines, record = self._machines, self._scene.oracle.record
        book = machines.operator.book
        if machines.aggregator.done or book.attempt is None:
            return False
        here, number = book.attempt
        awake = [device for device in machines.devices if not device.asleep]
        unable = 0
        for device in awake:
            said = self._scene.broker.retained.get(self._status(device.device))
            status = decode(said.payload, Status) if said is not None else None
            no = status.declined if status is not None else None
            unable += (
                refused(record, book, here, device.device)
                or (status is not None and RoundId(status.generation, status.round) > here)
                or (no is not None and round_of(no) == here and cannot_train(record, book, no))
            )
        return unable > 0 and len(awake) - unable < book.quorums.get((here, number), 0)

    def _all_are_back(self) -> bool:
        """Whether all programs that are awake are connected and have that status, and no will is pending."""
        aggregator, broker = self._machines.aggregator, self._scene.broker
        if broker.wills_to_come or not aggregator.connected or aggregator.runtime is None:
            return False
        lines = [session.line for session in broker.sessions.values() if session.line is not None]
        if not all(line.whole for line in lines):  # its will has not been published yet
            return False
        for device in self._machines.devices:
            said = self._scene.broker.retained.get(self._status(device.device))
            if device.asleep:
                continue
            if not device.connected or said is None or not decode(said.payload, Status).online:
                return False
        return True

    def _require_presence(self) -> None:
        """Check that no connected device keeps the status "offline": it must correct a late will."""
        for device in self._machines.devices:
            said = self._scene.broker.retained.get(self._status(device.device))
            if not device.connected or said is None or decode(said.payload, Status).online:
                self._said_away_s.pop(device.device, None)
                continue
            since_s = self._said_away_s.setdefault(device.device, self._scene.clock.now_s)
            if self._scene.clock.now_s > since_s + STANDS_S:
                raise Violation(
                    Invariant.PRESENCE,
                    f"{device.name} is connected, but its status is offline for {STANDS_S:.0f} s",
                )

    def _ended(self, *, but_the_sleepers: bool = False) -> bool:
        return self._machines.aggregator.done and not self._lacking(but_the_sleepers=but_the_sleepers)

    def _lacking(self, *, but_the_sleepers: bool = False) -> str:
        """Describe what has not happened yet."""
        if not self._machines.aggregator.done:
            return f"{len(self._machines.operator.book.closed)} rounds are closed"
        closed = self._machines.operator.book.closed
        final = closed[max(closed)]
        for device in self._machines.devices:
            if device.asleep and but_the_sleepers:
                continue
            if not device.alive:
                return f"{device.name} is not started"
            said = self._scene.broker.retained.get(self._status(device.device))
            if said is None:
                return f"{device.name} has no status"
            status = decode(said.payload, Status)
            if not status.online or status.holds != final:
                word = "online" if status.online else "offline"
                return f"{device.name} has the status {word} and holds {(status.holds or b'').hex()[:8]}"
        return ""

    def _require_part(self, since_s: float) -> None:
        """Check that, once all are back, each round of all devices counts all that can be in time."""
        if self._terms.target is not None or self._terms.fraction < 1:
            return
        time_s = self._terms.deadline_s - ROUND_TRIPS_S
        oracle, book = self._scene.oracle, self._machines.operator.book
        awake = [device for device in self._machines.devices if not device.slept]
        able = {device.device for device in awake if device.training_s < time_s}
        first: dict[tuple[int, int], float] = {}
        for seen in oracle.record.announced:
            first.setdefault(round_of(seen.manifest), seen.at_s)
        for round_id, part in book.part.items():
            excused = book.given_up.get(round_id, frozenset()) | oracle.models.set_aside(book, round_id)
            absent = able - part - excused
            if first.get(round_id, 0.0) >= since_s and absent:
                raise Violation(
                    Invariant.ALL_TAKE_PART,
                    f"all are back, but round {round_id} closed without {sorted(absent)}",
                )
