"""One world: a fleet, its broker and its aggregator, and what goes wrong; a pure function of its seed.

Faults come first, then calm. In the calm the federation must come to its end within a bounded time, round by
round, and every device that lives and is willing must take part again and hold the final model.
"""

import hashlib
import random
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

from agent.config import AgentSettings
from aggregator.config import FederationSettings
from fedge.identity.ed25519 import public_pem
from fedge.wire import frames
from fedge.wire.freshness import round_of
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.message import unpack
from fedge.wire.messages.status import Status
from fedge.wire.topics import Topics
from fleet.simulator import fastpaths
from fleet.simulator.adversary import NAME as LIAR
from fleet.simulator.adversary import Liar
from fleet.simulator.broker import Broker, Disk, Message
from fleet.simulator.clock import Clock
from fleet.simulator.crash import Power
from fleet.simulator.faults import LATEST_CUT_S, SHORT_LIFE_S, Fault, schedule
from fleet.simulator.hosts import RESTART_S, AggregatorHost, DeviceHost, Host, Scene
from fleet.simulator.invariants import Invariant, Violation
from fleet.simulator.link import Place, Weather
from fleet.simulator.members import LyingMember, Silent
from fleet.simulator.operator import Operator
from fleet.simulator.oracle import Ending, Oracle
from fleet.simulator.signing import forgeries, key
from fleet.simulator.trainers import Odd

NAME = "world"
TOPICS = Topics(NAME)
REAL_ONE_IN = 50
"""So many worlds to one with databases and data in files, and real SGD."""
ODD_OF = 8
ODD: Mapping[int, Mapping[int, Odd]] = {
    2: {0: "many samples", 1: "far away"},
    4: {0: "as large as can be"},
    6: {0: "many samples", 1: "far away", 2: "as large as can be"},
}
"""Of so many worlds these, by the rest of their seed, have such devices."""
UNCLIPPED = 4
"""In these no difference is clipped, so that a mean may be unusable however many devices there are."""
SHARE_ONE_IN, SHARE = 8, 0.5
"""So many worlds to one whose quorum is this share of the devices online, and not a number."""
SIGNED_ONE_IN = 9
"""So many worlds to one with signed announcements, whose liar forges them."""
SILENT_ONE_IN = 6
"""So many worlds to one with a device that is online and never answers."""
LYING_ONE_IN = 7
"""So many worlds to one with a member that lies in each round."""
SETTLE_S = 480.0
"""After so long in the calm nobody waits any more: keep-alives, back-offs, three pauses of a clone."""
SETTLED_S = 10.0
"""All are back when they have been for so long: who finds that it was cloned leaves again at once."""
LINES_LOST_S = 2.0
"""Within so long after wills have begun to be late each device's line is reset."""
STANDS_S = 30.0
"""A device that is at the broker is not said to be away for so long, in the calm."""
ROUND_TRIPS_S = 5.0
"""What a device's messages may take, beside its training."""
PROGRESS_S = 300.0
"""A round in the calm is closed after so long and two deadlines, whatever happened before."""
ACCURACY = 0.9
"""Learning ends there, and no honest stand-in tells as much."""
TRACE_LINES = 400
MEMORY = Path("/dev/shm")  # nosec B108 # the files in it get a folder of their own, by tempfile


@dataclass(frozen=True)
class Terms:
    """What a world is like, apart from its faults."""

    devices: int
    rounds: int
    quorum: int
    target: int | None
    fraction: float
    deadline_s: float
    frame_bytes: int
    queue_limit: int
    training_s: tuple[float, ...]
    delays_s: tuple[float, ...]
    real: bool
    signed: bool
    silent: bool
    """A member is online and never answers."""
    lying: bool
    """A member answers each round, and says anything in any field."""
    clips: bool
    share: float | None
    """The quorum is this share of the devices online."""
    odd: Mapping[int, Odd]
    """What is unusual about which device."""


@dataclass(frozen=True)
class Outcome:
    """What became of one world."""

    seed: int
    events: int
    faults: Counter[str]
    violation: str | None
    broken: Invariant | None
    """Which invariant the violation is of."""
    trace: tuple[str, ...]
    """Its last lines."""
    digest: str
    """Of the whole trace: the same seed gives the same."""
    schedule: tuple[Fault, ...]


def terms(rng: random.Random, seed: int, devices: int, rounds: int) -> Terms:
    """Draw what a world is like."""
    quorum = rng.randint(min(2, devices), max(min(2, devices), devices - 2))
    target = rng.randint(quorum, devices) if rng.random() < 0.25 else None
    return Terms(
        devices=devices,
        rounds=rounds,
        quorum=quorum,
        target=target,
        fraction=rng.choice((1.0, 1.0, 1.0, 0.6)),
        deadline_s=rng.choice((20.0, 40.0, 90.0)),
        frame_bytes=rng.choice((frames.FRAME_BYTES, frames.FRAME_BYTES, 100, 40)),
        queue_limit=rng.choice((1_000, 1_000, 60)),
        training_s=tuple(rng.choice((0.5, 3.0, 8.0, 30.0)) * rng.uniform(0.8, 1.2) for _ in range(devices)),
        delays_s=tuple(rng.choice((0.002, 0.02, 0.2)) for _ in range(devices + 1)),
        real=seed % REAL_ONE_IN == REAL_ONE_IN - 1,
        signed=seed % SIGNED_ONE_IN == SIGNED_ONE_IN - 1,
        silent=seed % SILENT_ONE_IN == SILENT_ONE_IN - 1,
        lying=seed % LYING_ONE_IN == LYING_ONE_IN - 1,
        clips=seed % ODD_OF != UNCLIPPED,
        share=SHARE if seed % SHARE_ONE_IN == SHARE_ONE_IN - 1 else None,
        odd=ODD.get(seed % ODD_OF, {}),
    )


class World:
    """One world, ready to run.

    Args:
        seed: everything follows from it.
        devices: how many.
        rounds: of training.
        prefix: only so many of the scheduled faults happen; None: all.
        make_device: a `DeviceHost`, or a deliberately wrong one.
        make_aggregator: an `AggregatorHost`, or a deliberately wrong one.
        short: with `fleet.simulator.fastpaths`.
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
    ) -> None:
        self.seed = seed
        self._short = short
        drawn = random.Random(f"what world {seed} is like")  # nosec B311 # a simulation, not a secret
        self.terms = terms(drawn, seed, devices, rounds)
        everything = schedule(drawn, devices)
        self.schedule = tuple(everything if prefix is None else everything[:prefix])
        self._make_device, self._make_aggregator = make_device, make_aggregator
        self._folder = ""
        """Where its files lie: another place each time, so that the trace must not name it."""
        self._trace: deque[str] = deque(maxlen=TRACE_LINES)
        self._digest = hashlib.sha256()
        self._faults: Counter[str] = Counter()
        self._clock = Clock()
        self._rng = random.Random(f"how world {seed} goes")  # nosec B311 # a simulation, not a secret
        self._broker = Broker(
            lambda: self._clock.now_s, self._clock.after, self._heard, self.terms.queue_limit
        )
        self._oracle = Oracle(
            TOPICS,
            lambda: self._clock.now_s,
            self.terms.quorum if self.terms.share is None else None,
            self.terms.deadline_s,
            Ending(self.terms.rounds, ACCURACY),
            clips=self.terms.clips,
        )
        self._oracle.liars.add(LIAR)
        self._scene = Scene(self._clock, self._broker, self._oracle, TOPICS, self._rng, self._tell)
        self._devices: list[DeviceHost] = []
        self._clones: list[DeviceHost] = []
        self._frames_heard: deque[bytes] = deque(maxlen=50)
        self._disk: Disk | None = None
        self._awake_s = 0.0
        """When the last device that slept has been started again."""
        self._said_away_s: dict[str, float] = {}
        """Since when devices that are at the broker have been said to be away."""

    def run(self) -> Outcome:
        """Let it happen."""
        violation, broken = None, None
        ways = fastpaths.taken() if self._short and not self.terms.real else nullcontext()
        with _folder(real=self.terms.real) as folder, _frames_of(self.terms.frame_bytes), ways:
            self._folder = f"{folder}/"
            try:
                self._build(folder)
                self._go()
            except Violation as found:
                violation, broken = str(found), found.invariant
                self._tell("oracle", violation)
            finally:
                for disk in dict.fromkeys([*self._operator.disks, *(host.disk for host in self._hosts)]):
                    disk.discard()
        return Outcome(
            self.seed,
            self._clock.events,
            self._faults,
            violation,
            broken,
            tuple(self._trace),
            self._digest.hexdigest(),
            self.schedule,
        )

    # ── its life ───────────────────────────────────────────────────────────────────────────────────

    @property
    def _hosts(self) -> list[Host]:
        return [*self._devices, *self._clones, *self._operator.hosts]

    @property
    def _aggregator(self) -> AggregatorHost:
        return self._operator.main

    def _build(self, folder: Path) -> None:
        wanted = self.terms
        settings = _federation(wanted)
        self._operator = Operator(
            self._scene,
            folder if wanted.real else None,
            lambda name, path: self._make_aggregator(self._scene, settings, path, name),
            signed=wanted.signed,
        )
        self._aggregator.weather.usual_s = wanted.delays_s[-1]
        for number in range(wanted.devices):
            device = self._device(f"d{number}", number, folder / f"d{number}")
            self._devices.append(device)
            self._clock.at(self._rng.uniform(0.0, 3.0), device.start)
        self._clock.at(self._rng.uniform(0.0, 3.0), self._aggregator.start)
        if wanted.silent:
            self._clock.at(1.0, Silent(self._outside(), TOPICS).start)
        if wanted.lying:
            made = self._oracle.made.__setitem__
            self._clock.at(1.0, LyingMember(self._outside(), TOPICS, self._rng, made).start)

    def _outside(self) -> Place:
        """Where a client is that is none of the hosts."""
        return Place(
            self._clock,
            self._broker,
            Weather(),
            Power(),
            self._rng,
            lambda _: None,
            lambda _: None,
            lambda _: None,
        )

    def _device(self, name: str, number: int, folder: Path) -> DeviceHost:
        folder.mkdir()
        real, wanted = self.terms.real, self.terms
        if real:
            _write_data(folder / "data.csv", number)
        pin = None
        if wanted.signed:
            pin = folder / "signing.pub"
            pin.write_bytes(public_pem(key("0").public))
        settings = _agent(f"d{number}", folder if real else None, pin)
        host = self._make_device(name, number, self._scene, settings, folder, real=real)
        host.training_s, host.odd = wanted.training_s[number], wanted.odd.get(number, "")
        host.weather.usual_s = wanted.delays_s[number]
        return host

    def _go(self) -> None:
        clock = self._clock
        for fault in self.schedule:
            clock.at(fault.at_s, lambda fault=fault: self._happen(fault))  # type: ignore[misc]
        calm_s = (
            max((fault.over_s for fault in self.schedule if fault.kind != "long sleep"), default=0.0) + 1.0
        )
        while clock.now_s < calm_s:
            self._step()
        self._calm_down()
        settled_s: float | None = None
        all_back_s = clock.now_s
        while not self._ended():
            self._step()
            if settled_s is None:
                if not self._all_are_back():
                    all_back_s = clock.now_s
                    self._require_presence()
                elif clock.now_s > all_back_s + SETTLED_S:
                    settled_s = clock.now_s
                    self._tell("world", "settled")
                late = clock.now_s > max(calm_s, self._awake_s, self._operator.acted_s) + SETTLE_S
                if late and settled_s is None and self._aggregator.alive:
                    raise Violation(
                        Invariant.ALL_COME_BACK,
                        f"{SETTLE_S:.0f} s into the calm not everybody is back: {self._lacking()}",
                    )
            if self._ended(but_the_sleepers=True):  # only the alarm is waited for
                self._aggregator.stop()
                continue
            limit_s = PROGRESS_S + 2 * self.terms.deadline_s
            since_s = max(calm_s, self._awake_s, self._operator.acted_s, self._oracle.closed_s)
            if clock.now_s > since_s + limit_s + (SETTLE_S if self._aggregator.done else 0.0):
                lacking = self._lacking(but_the_sleepers=True) or self._lacking()
                raise Violation(
                    Invariant.PROGRESS, f"in the calm, nothing has come of {limit_s:.0f} s: {lacking}"
                )
        if settled_s is not None:
            self._require_part(settled_s)

    def _all_are_back(self) -> bool:
        """Whether all who are awake are at the broker and known to be, and nothing of before is to come."""
        if self._broker.wills_to_come or not self._aggregator.connected or self._aggregator.runtime is None:
            return False
        lines = [session.line for session in self._broker.sessions.values() if session.line is not None]
        if not all(line.whole for line in lines):  # whose will is still to come
            return False
        for device in self._devices:
            said = self._broker.retained.get(TOPICS.status(device.device))
            if device.asleep:
                continue
            if not device.connected or said is None or not _status(said.payload).online:
                return False
        return True

    def _require_presence(self) -> None:
        """Whoever is at the broker for long is not said to be away: a will that came late is answered."""
        for device in self._devices:
            said = self._broker.retained.get(TOPICS.status(device.device))
            if not device.connected or said is None or _status(said.payload).online:
                self._said_away_s.pop(device.device, None)
                continue
            since_s = self._said_away_s.setdefault(device.device, self._clock.now_s)
            if self._clock.now_s > since_s + STANDS_S:
                raise Violation(
                    Invariant.PRESENCE,
                    f"{device.name} is at the broker, and said to be away for {STANDS_S:.0f} s",
                )

    def _step(self) -> None:
        if not self._clock.step():
            raise Violation(Invariant.PROGRESS, f"nothing will ever happen again: {self._lacking()}")

    def _calm_down(self) -> None:
        self._tell("world", "calm")
        for clone in self._clones:
            clone.die(silently=False)
            clone.gone = True
        self._broker.will_delay_s, self._broker.says_twice = 0.0, lambda: False
        if not self._broker.up:
            self._broker.start(self._disk)
        for host in self._hosts:
            host.power.effects_left, host.power.writes_that_fail = None, 0
            host.start()
        for device in self._devices:
            device.willing = True

    def _ended(self, *, but_the_sleepers: bool = False) -> bool:
        return self._aggregator.done and not self._lacking(but_the_sleepers=but_the_sleepers)

    def _lacking(self, *, but_the_sleepers: bool = False) -> str:
        """What is still to come."""
        if not self._aggregator.done:
            return f"{len(self._operator.book.closed)} rounds are closed"
        closed = self._operator.book.closed
        final = closed[max(closed)]
        for device in self._devices:
            if device.asleep and but_the_sleepers:
                continue
            if not device.alive:
                return f"{device.name} is not started"
            said = self._broker.retained.get(TOPICS.status(device.device))
            if said is None:
                return f"{device.name} has no status"
            status = _status(said.payload)
            if not status.online or status.holds != final:
                word = "online" if status.online else "offline"
                return f"{device.name} is said to be {word}, and to hold {(status.holds or b'').hex()[:8]}"
        return ""

    def _require_part(self, since_s: float) -> None:
        """Once all are back, every round that takes all has all who can be in time."""
        if self.terms.target is not None or self.terms.fraction < 1:
            return
        time_s = self.terms.deadline_s - ROUND_TRIPS_S
        able = {device.device for device in self._devices if not device.slept and device.training_s < time_s}
        first: dict[tuple[int, int], float] = {}
        for seen in self._oracle.announced:
            first.setdefault(round_of(seen.manifest), seen.at_s)
        for round_id, part in self._operator.book.part.items():
            excused = self._operator.book.given_up.get(round_id, frozenset())
            absent = able - part - excused - self._oracle.set_aside(self._operator.book, round_id)
            if first.get(round_id, 0.0) >= since_s and absent:
                raise Violation(
                    Invariant.ALL_TAKE_PART,
                    f"all are back, and round {round_id} goes without {sorted(absent)}",
                )

    # ── what goes wrong ────────────────────────────────────────────────────────────────────────────

    def _happen(self, fault: Fault) -> None:
        host = self._aggregator if fault.host < 0 else self._devices[fault.host]
        self._faults[fault.kind] += 1
        self._tell("fault", str(fault))
        over, rng = self._clock.after, self._rng
        match fault.kind:
            case "kill" | "power cut":
                self._cut(host, fault)
            case "crash loop":
                self._crash(host, self._clock.now_s + fault.seconds, silently=True)
            case "reset":
                host.reset_line()
            case "darkness":
                host.darken(fault.seconds)
            case "broker restart" | "broker crash" | "broker wiped":
                self._stop_broker(fault)
            case "disk full":
                host.power.writes_that_fail = 1 + fault.amount % 5
            case "clone":
                self._clone(self._devices[fault.host], fault)
            case "late wills":
                for device in self._devices:  # each is back before the will of its lost line
                    over(LINES_LOST_S * rng.random(), device.reset_line)
                self._broker.will_delay_s = min(60.0, fault.seconds)
                over(fault.seconds, lambda: setattr(self._broker, "will_delay_s", 0.0))
            case "duplicates":
                self._broker.says_twice = lambda: rng.random() < 0.3
                over(fault.seconds, lambda: setattr(self._broker, "says_twice", lambda: False))
            case "slow network":
                host.weather.slowed += 1  # one may begin before another is over
                over(fault.seconds, lambda: setattr(host.weather, "slowed", host.weather.slowed - 1))
            case "sensor away":
                self._devices[fault.host].willing = False
                over(fault.seconds, lambda: setattr(self._devices[fault.host], "willing", True))
            case "lies":
                self._lie(fault)
            case "night":
                for each in self._hosts:
                    self._put_away(each, fault.seconds)
            case "long sleep":
                self._put_away(host, fault.seconds)
            case _:
                self._operator.happen(fault, self._devices[fault.host])

    def _cut(self, host: Host, fault: Fault) -> None:
        """Kill it between two of its next effects, or at the latest a little later."""
        silently = fault.kind == "power cut"
        boot = host.boots
        host.restarts_after_s = fault.seconds
        if host.alive:
            host.power.effects_left = fault.amount

        def at_the_latest() -> None:
            if host.alive and host.boots == boot:
                host.die(silently=silently)
                self._clock.after(fault.seconds, host.start)

        self._clock.after(LATEST_CUT_S, at_the_latest)

    def _crash(self, host: Host, until_s: float, *, silently: bool) -> None:
        """Kill it, and again soon after each start."""
        host.die(silently=silently)
        self._clock.after(RESTART_S, host.start)
        again_s = RESTART_S + SHORT_LIFE_S * (0.2 + 0.8 * self._rng.random())
        if self._clock.now_s + again_s < until_s:
            self._clock.after(again_s, lambda: self._crash(host, until_s, silently=False))

    def _stop_broker(self, fault: Fault) -> None:
        if not self._broker.up:
            return
        broker = self._broker
        if fault.kind == "broker crash":  # what Mosquitto has not written yet, with autosave_interval 1
            saved = broker.save()
            self._clock.after(min(1.0, fault.amount / 40), lambda: self._stop_with(saved, fault.seconds))
        else:
            self._stop_with(broker.save() if fault.kind == "broker restart" else None, fault.seconds)

    def _stop_with(self, disk: Disk | None, seconds: float) -> None:
        if not self._broker.up:
            return
        self._disk = disk
        self._broker.stop()
        self._clock.after(seconds, lambda: None if self._broker.up else self._broker.start(disk))

    def _clone(self, device: DeviceHost, fault: Fault) -> None:
        if not device.honest:
            return
        device.honest = False
        folder = device.folder.with_name(f"{device.name}-clone")
        clone = self._device(f"{device.name}'s clone", device.number, folder)
        clone.honest, clone.tries = False, 1_000
        clone.disk = device.disk.copy(clone.power, folder / "agent.db" if self.terms.real else None)
        if (device.folder / "model.held").exists():
            shutil.copy(device.folder / "model.held", folder / "model.held")
        self._clones.append(clone)
        clone.start()
        self._clock.after(fault.seconds, lambda: self._put_away(clone, None))

    def _lie(self, fault: Fault) -> None:
        said = self._oracle.announced
        manifest: Manifest | None = said[-1].manifest if said else None
        liar = Liar(self._outside(), TOPICS, self._rng, self._oracle.made.__setitem__)
        forged = (
            forgeries(TOPICS, manifest, self._aggregator.key_number, self._rng)
            if self.terms.signed and manifest is not None
            else []
        )
        liar.lie(manifest, list(self._frames_heard), fault.amount, forged)

    def _put_away(self, host: Host, seconds: float | None) -> None:
        """Switch a host off for so long; None: for ever."""
        host.die(silently=True)
        if seconds is None:
            host.gone = True
            return
        host.asleep = host.slept = True

        def wake() -> None:
            host.asleep = False
            self._awake_s = self._clock.now_s
            host.start()

        self._clock.after(seconds, wake)

    # ── who listens ────────────────────────────────────────────────────────────────────────────────

    def _heard(self, message: Message) -> None:
        if "/update/" in message.topic:
            self._frames_heard.append(message.payload)
        self._oracle.broker_holds(self._broker.retained, message.topic)

    def _tell(self, who: str, what: str) -> None:
        line = f"{self._clock.now_s:10.3f} s  {who}: {what}".replace(self._folder, "")
        self._trace.append(line)
        self._digest.update(line.encode())


@contextmanager
def _folder(*, real: bool) -> Iterator[Path]:
    """A folder for the files of a world: in memory, unless its disk is to be real."""
    memory = None if real or not MEMORY.is_dir() else MEMORY
    with TemporaryDirectory(prefix="fedge-world-", dir=memory) as folder:
        yield Path(folder)


@contextmanager
def _frames_of(size: int) -> Iterator[None]:
    """Cut messages into smaller frames, so that small ones take several."""
    before = frames.FRAME_BYTES
    frames.FRAME_BYTES = size
    try:
        yield
    finally:
        frames.FRAME_BYTES = before


def _federation(wanted: Terms) -> FederationSettings:
    quorum = wanted.quorum if wanted.share is None else wanted.share
    rounds = {"fraction": wanted.fraction, "quorum": quorum, "deadline_s": wanted.deadline_s}
    if wanted.target is not None:
        rounds["target"] = wanted.target
    if not wanted.clips:
        rounds["clip_norm"] = 0.0
    return FederationSettings.model_validate(
        {
            "federation": {"name": NAME, "max_samples": 1_000_000},
            "model": {"features": ("x",), "classes": ("low", "high")},
            "plan": {"epochs": 1, "batch_size": 16},
            "rounds": rounds,
            "stopping": {"rounds": wanted.rounds, "accuracy": ACCURACY},
            "signing": {"key": "signing.key"} if wanted.signed else {},
        }
    )


@lru_cache(maxsize=256)
def _status(payload: bytes) -> Status:
    """Statuses are looked at after each event, and seldom change."""
    return unpack(payload, Status)


@lru_cache(maxsize=256)
def _agent(device: str, folder: Path | None, pin: Path | None) -> AgentSettings:
    data = {"source": "csv", "path": str((folder or Path()) / "data.csv")}
    trust = {"key": str(pin)} if pin is not None else {}
    return AgentSettings.model_validate({"federation": NAME, "device": device, "data": data, "trust": trust})


def _write_data(path: Path, number: int) -> None:
    rng = random.Random(number)  # nosec B311 # made-up samples, not a secret
    rows = [(rng.gauss(number % 3, 1.0), rng.choice(("low", "high"))) for _ in range(60)]
    path.write_text("x,label\n" + "".join(f"{x:.4f},{label}\n" for x, label in rows))
