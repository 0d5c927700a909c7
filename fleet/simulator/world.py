"""One world: a fleet, its broker, its aggregator, and their faults; a pure function of its seed.

Faults come first, then calm. In the calm each round, and learning as a whole, must end within a bounded time.
Every device that runs and takes part must count again, and hold the final model at the end.
"""

import hashlib
import random
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from fedge.storage.temporary import temporary_folder
from fedge.wire import frames
from fedge.wire.topics import Topics
from fleet.simulator import fastpaths
from fleet.simulator.adversary import NAME as LIAR
from fleet.simulator.broker import Broker
from fleet.simulator.calm import Calm
from fleet.simulator.clock import Clock
from fleet.simulator.compositions import Composition
from fleet.simulator.faults import Fault, schedule
from fleet.simulator.hosts import AggregatorHost, DeviceHost, Scene
from fleet.simulator.injection import Injection
from fleet.simulator.invariants import Invariant, Violation
from fleet.simulator.machines import Machines
from fleet.simulator.oracle import Ending, Oracle
from fleet.simulator.sessions import Message
from fleet.simulator.settings import NAME
from fleet.simulator.terms import ACCURACY, terms

TOPICS = Topics(NAME)
TRACE_LINES = 400
MEMORY = Path("/dev/shm")  # noqa: S108 # the files in it get a folder of their own, by tempfile


@dataclass(frozen=True)
class Outcome:
    """The result of one world."""

    seed: int
    events: int
    faults: Counter[str]
    violation: str | None
    broken: Invariant | None
    """The invariant that was broken."""
    trace: tuple[str, ...]
    """The last lines of the trace."""
    digest: str
    """Digest of the whole trace, which is a function of the seed."""
    schedule: tuple[Fault, ...]


class World:
    """One world, ready to run.

    Args:
        seed: everything follows from it.
        devices: how many.
        rounds: of training.
        prefix: the number of scheduled faults that happen; None: all.
        make_device: a `DeviceHost`, or a deliberately wrong one.
        make_aggregator: an `AggregatorHost`, or a deliberately wrong one.
        short: whether to use `fleet.simulator.fastpaths`.
        learns: the composition; None: it is drawn.
    """

    def __init__(
        self,
        seed: int,
        devices: int,
        rounds: int,
        prefix: int | None = None,
        make_device: Callable[..., DeviceHost] = DeviceHost,
        make_aggregator: Callable[..., AggregatorHost] = AggregatorHost,
        *,
        short: bool = True,
        learns: Composition | None = None,
    ) -> None:
        self.seed = seed
        self._short = short
        drawn = random.Random(f"what world {seed} is like")  # noqa: S311 # a simulation, not a secret
        self.terms = terms(drawn, seed, devices, rounds, learns)
        everything = schedule(drawn, devices)
        self.schedule = tuple(everything if prefix is None else everything[:prefix])
        self._folder = ""
        """The folder of its files; the trace must not name it, because it differs each time."""
        self._trace: deque[str] = deque(maxlen=TRACE_LINES)
        self._digest = hashlib.sha256()
        self._clock = Clock()
        self._rng = random.Random(f"how world {seed} goes")  # noqa: S311 # a simulation, not a secret
        self._broker = Broker(
            lambda: self._clock.now_s, self._clock.after, self._heard, self.terms.queue_limit
        )
        self.oracle = Oracle(
            TOPICS,
            lambda: self._clock.now_s,
            self.terms.quorum if self.terms.share is None else None,
            self.terms.deadline_s,
            Ending(self.terms.rounds, ACCURACY),
            clips=self.terms.clips,
            composition=self.terms.composition,
            staleness=self.terms.staleness,
        )
        self.oracle.record.liars.add(LIAR)
        self._scene = Scene(self._clock, self._broker, self.oracle, TOPICS, self._rng, self._tell)
        self.machines = Machines(self._scene, self.terms, make_device, make_aggregator)
        self._injection = Injection(self._scene, self.machines, self.terms)

    def run(self) -> Outcome:
        """Run the world."""
        violation, broken = None, None
        ways = fastpaths.taken() if self._short and not self.terms.real else nullcontext()
        with _folder(real=self.terms.real) as folder, _frames_of(self.terms.frame_bytes), ways:
            self._folder = f"{folder}/"
            try:
                self.machines.build(folder)
                self._go()
            except Violation as found:
                violation, broken = str(found), found.invariant
                self._tell("oracle", violation)
            finally:
                disks = [*self.machines.operator.disks, *(host.disk for host in self.machines.hosts)]
                for disk in dict.fromkeys(disks):
                    disk.discard()
        return Outcome(
            self.seed,
            self._clock.events,
            self._injection.happened,
            violation,
            broken,
            tuple(self._trace),
            self._digest.hexdigest(),
            self.schedule,
        )

    def _go(self) -> None:
        clock, calm = self._clock, Calm(self._scene, self.machines, self.terms)
        for fault in self.schedule:
            clock.at(fault.at_s, lambda fault=fault: self._injection.happen(fault))  # type: ignore[misc]
        calm_s = (
            max((fault.over_s for fault in self.schedule if fault.kind != "long sleep"), default=0.0) + 1.0
        )
        while clock.now_s < calm_s:
            calm.step()
        self._injection.end()
        calm.last(calm_s)

    def _heard(self, message: Message) -> None:
        self._injection.heard(message)
        self.oracle.retained.changed(self._broker.retained, message.topic)

    def _tell(self, who: str, what: str) -> None:
        line = f"{self._clock.now_s:10.3f} s  {who}: {what}".replace(self._folder, "")
        self._trace.append(line)
        self._digest.update(line.encode())


@contextmanager
def _folder(*, real: bool) -> Iterator[Path]:
    """A folder for the files of a world: in memory, unless its disk is to be real."""
    memory = None if real or not MEMORY.is_dir() else MEMORY
    with temporary_folder("fedge-world-", memory) as folder:
        yield folder


@contextmanager
def _frames_of(size: int) -> Iterator[None]:
    """Cut messages into smaller frames, so that small ones take several."""
    before = frames.FRAME_BYTES, frames.LEAST_FRAME
    frames.FRAME_BYTES, frames.LEAST_FRAME = size, 1
    try:
        yield
    finally:
        frames.FRAME_BYTES, frames.LEAST_FRAME = before
