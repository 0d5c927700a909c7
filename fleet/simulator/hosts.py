"""The machines of a world: each runs production's own program, and dies and starts as real ones do."""

import random
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Any

from agent.config import AgentSettings
from agent.shell.runtime import Runtime as Agent
from agent.shell.startup import open_device
from aggregator.aggregation.generations import Return
from aggregator.aggregation.job import ClosingJob
from aggregator.aggregation.updates import admitted
from aggregator.config import FederationSettings
from aggregator.core import events as on
from aggregator.core.takeover import TakeUp
from aggregator.export.writer import Exported, Job
from aggregator.shell.closer import close
from aggregator.shell.leader_check import Watching, understood
from aggregator.shell.runtime import Runtime as Aggregator
from aggregator.shell.startup import known, take_up
from fedge.errors import ConfigError, Conflict, StateError
from fedge.identity.trust import Signer
from fedge.transport import LinkDown, LinkUp, MessageArrived, Publication
from fedge.wire.freshness import RoundId
from fedge.wire.topics import Topics
from fleet.simulator.broker import Broker
from fleet.simulator.clock import Clock
from fleet.simulator.crash import Power, PowerCut
from fleet.simulator.disks import Disk, WatchedLedger, WatchedMemory
from fleet.simulator.invariants import Invariant, Violation
from fleet.simulator.link import PATIENCE_S, Place, VirtualLink, Weather
from fleet.simulator.oracle import Oracle
from fleet.simulator.signing import signer
from fleet.simulator.trainers import Bench, Odd, RealTrainer, StandIn

RESTART_S = 2.0
"""So long a service manager waits before it starts a program again."""
GAVE_WAY_S = 30.0
CLOSING_S = (0.0, 0.1, 1.0, 30.0)
"""Until a job reads the ledger, and from then on until it is done: at most one of these each."""
SESSION_S = 86_400


@dataclass(frozen=True)
class Scene:
    """What all hosts of a world share."""

    clock: Clock
    broker: Broker
    oracle: Oracle
    topics: Topics
    rng: random.Random
    tell: Callable[[str, str], None]
    """Write a line of the trace: who, what."""


class Host:
    """One machine: power, a disk, a line to the broker, and the program that starts with it."""

    def __init__(self, name: str, scene: Scene, path: Path | None) -> None:
        self.name = name
        self.scene = scene
        self.power = Power()
        self.weather = Weather()
        self.disk = Disk(self.power, path)
        self.link: VirtualLink | None = None
        self.alive = False
        self.asleep = False
        """It has been put away for long: nothing but its alarm starts it."""
        self.slept = False
        self.gone = False
        """It is put away for good."""
        self.boots = 0
        self.restarts_after_s = RESTART_S
        self._inbox: deque[Any] = deque()
        self._at_work = False
        self._zero_s = 0.0
        self._tick_s: float | None = None

    # ── power ──────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Switch it on, unless it is."""
        if self.alive or self.asleep or self.gone:
            return
        self.alive = True
        self.boots += 1
        self.power.effects_left = None
        self._inbox.clear()
        self._tick_s = None
        # Monotonic clocks begin anew at each boot, and at no particular number.
        self._zero_s = self.scene.clock.now_s - 1_000 * self.scene.rng.random()
        self.scene.tell(self.name, "starts")
        self._guarded(self.begin)

    def die(self, *, silently: bool) -> None:
        """The program is gone; `silently`: with its machine, so that the broker only misses it."""
        if not self.alive:
            return
        self.alive = False
        self.scene.tell(self.name, "loses its power" if silently else "is killed")
        if self.link is not None:
            noticed_s = PATIENCE_S if silently else self.weather.delay_s
            self.link.kill(noticed_s=noticed_s, lose_what_is_under_way=self.scene.rng.random() < 0.5)
            self.link = None
        self.disk.unmount()

    def end(self, why: str, offline_status: Publication | None = None) -> None:
        """The program ends by itself; nothing starts it again."""
        self.scene.tell(self.name, f"ends: {why}")
        if self.link is not None:
            self.link.close(offline_status)
            self.link = None
        self.alive = False
        self.disk.unmount()

    def now_s(self) -> float:
        """Its monotonic clock."""
        return self.scene.clock.now_s - self._zero_s

    def reset_line(self) -> None:
        """End its connection, if it has one."""
        if self.link is not None and self.link.wire is not None:
            self.link.wire.reset()

    def darken(self, seconds: float) -> None:
        """Let none of its packets through for so long."""
        self.weather.dark_until_s = self.scene.clock.now_s + seconds
        if self.link is not None and self.link.wire is not None:
            self.link.wire.darken(seconds)

    @property
    def connected(self) -> bool:
        """Whether its program is at work and has a line to the broker."""
        wire = self.link.wire if self.link is not None else None
        return self.alive and wire is not None and wire.whole

    # ── the program ────────────────────────────────────────────────────────────────────────────────

    def begin(self) -> None:
        """Start the program."""
        raise NotImplementedError

    def turn(self, events: list[Any]) -> None:
        """Let the program handle what happened; nothing means that time has passed."""
        raise NotImplementedError

    def due_s(self) -> float | None:
        """When the program wants a turn, by its own clock."""
        raise NotImplementedError

    def gather(self) -> list[Any]:
        """What the program takes out of its inbox at once."""
        return [self._inbox.popleft()]

    def place(self) -> Place:
        """Where its link is."""
        boot = self.boots
        return Place(
            self.scene.clock,
            self.scene.broker,
            self.weather,
            self.power,
            self.scene.rng,
            lambda piece: self._said(piece) if boot == self.boots else None,
            self.handed,
            self.acknowledging,
        )

    def offline_status(self) -> Publication | None:
        """What the program says when it ends by itself."""
        return None

    def gives_up(self, error: ConfigError) -> None:
        """The program wants a human to decide."""
        raise Violation(Invariant.GIVES_UP_WITH_REASON, f"{self.name} gives up: {error}") from error

    def says(self, piece: Publication) -> None:
        """A publication leaves the host."""

    def handed(self, piece: Publication) -> None:
        """A reply is handed to the link."""

    def acknowledging(self, message: MessageArrived) -> None:
        """An acknowledgement leaves the host."""

    def _said(self, piece: Publication) -> None:
        self.scene.tell(self.name, f"says {piece.topic} ({len(piece.payload)} bytes)")
        self.power.spare(lambda: self.says(piece))

    def poster(self) -> Callable[[Any], None]:
        """The inbox of the program that runs now; of a later one it is none."""
        boot = self.boots

        def post(event: Any) -> None:
            if self.alive and boot == self.boots:
                self._inbox.append(event)
                self.rouse()

        return post

    def rouse(self) -> None:
        """Something is in the inbox."""
        if not self._at_work:
            self.work()

    def work(self) -> None:
        """Empty the inbox."""
        while self._inbox and self.alive:
            events = self.gather()
            self._guarded(lambda events=events: self.turn(events))  # type: ignore[misc]
        self._arm()

    def _arm(self) -> None:
        due_s = self.due_s() if self.alive else None
        if due_s is None:
            return
        when_s = max(self.scene.clock.now_s, due_s + self._zero_s) + 0.001
        if self._tick_s is None or when_s < self._tick_s:
            self._tick_s = when_s
            boot = self.boots
            self.scene.clock.at(when_s, lambda: self._tick(boot, when_s))

    def _tick(self, boot: int, when_s: float) -> None:
        if not self.alive or boot != self.boots or when_s != self._tick_s:
            return
        self._tick_s = None
        self._guarded(lambda: self.turn([]))
        self.work()

    def _guarded(self, action: Callable[[], None]) -> None:
        """Run a piece of the program, and let what it dies of happen."""
        self._at_work = True
        try:
            self._ending(action)
        except PowerCut:  # in its last words, too
            self.die(silently=self.scene.rng.random() < 0.5)
            self.scene.clock.after(self.restarts_after_s, self.start)
        finally:
            self._at_work = False

    def _ending(self, action: Callable[[], None]) -> None:
        """Run a piece of the program, and let it end as it says."""
        try:
            action()
        except StateError as error:
            self.die(silently=False)
            self.scene.tell(self.name, f"ends: {error}")
            self.scene.clock.after(RESTART_S, self.start)
        except Conflict as error:
            self.end(str(error), self.offline_status())
            self.scene.clock.after(GAVE_WAY_S, self.start)
        except ConfigError as error:
            self.gives_up(error)
        except Exception as error:
            raise Violation(
                Invariant.PROGRAM_GOES_ON, f"{self.name} breaks:\n{traceback.format_exc()}"
            ) from error


class DeviceHost(Host):
    """A device with its agent."""

    def __init__(
        self, name: str, number: int, scene: Scene, settings: AgentSettings, folder: Path, *, real: bool
    ) -> None:
        super().__init__(name, scene, folder / "agent.db" if real else None)
        self.device = settings.device
        self.number = number
        self.honest = True
        """Nobody else has this identity, and had it."""
        self.willing = True
        self.training_s = 1.0
        self.odd: Odd = ""
        self.tries = 0
        self.folder = folder
        self.runtime: Agent | None = None
        self._settings = settings
        self._real = real

    def begin(self) -> None:
        """As `agent.shell.loop`."""
        post = self.poster()
        memory = self.disk.mount(
            lambda path, connect: WatchedMemory(path, connect, self.device, self.disk, self.scene.oracle)
        )
        self.scene.oracle.device_starts(self.device, self.disk, memory.seen().round)
        file = self.folder / "model.held"
        boot = self.scene.rng.randbytes(16)
        opened = open_device(self._settings, memory, file, boot, self.now_s())
        self.link = VirtualLink(
            self.place(),
            f"{self._settings.federation}_{self.device}",
            post,
            will=lambda connection: runtime.offline_status(connection),
        )
        bench = Bench(
            device=self.device,
            now_s=self.now_s,
            later=lambda action: self.scene.clock.after(self.training_s, action),
            post=post,
            begun=lambda manifest: self.scene.oracle.work_begins(self.device, manifest),
            made=self.scene.oracle.made.__setitem__,
            willing=lambda: self.willing,
            tries=self._try,
        )
        trainer: Any
        trainer = (
            RealTrainer(bench, self.number, self._settings)
            if self._real
            else StandIn(bench, self.number, self.odd)
        )
        runtime = self.agent(opened, memory, file, trainer)
        self.runtime = runtime
        self.link.open()

    def agent(self, opened: Any, memory: Any, file: Path, trainer: Any) -> Agent:
        """Production's runtime on this host's parts."""
        assert self.link is not None
        return Agent(self._settings, opened, memory, file, self.link, trainer, now_s=self.now_s)

    def turn(self, events: list[Any]) -> None:
        """As `agent.shell.loop`."""
        assert self.runtime is not None
        event = events[0] if events else None
        if isinstance(event, MessageArrived) and event.topic == self.scene.topics.round and event.payload:
            self.scene.oracle.device_hears(self.device, event.payload)
        self.runtime.turn(event)

    def due_s(self) -> float | None:
        """As `agent.shell.loop`."""
        return self.runtime.due_s() if self.runtime is not None else None

    def says(self, piece: Publication) -> None:
        """Tell the oracle."""
        self.scene.oracle.device_says(self.device, self.disk, piece, honest=self.honest)

    def _try(self) -> int:
        self.tries += 1
        return self.tries


class AggregatorHost(Host):
    """The machine of the aggregator: it watches the federation first, then serves it."""

    def __init__(
        self, scene: Scene, settings: FederationSettings, path: Path | None, name: str = "aggregator"
    ) -> None:
        super().__init__(name, scene, path)
        self.settings = settings
        self.ledger: WatchedLedger | None = None
        self.runtime: Aggregator | None = None
        self.done = False
        self.serves_since_s = inf
        """In the world's time; for ever to come, if it does not."""
        self.new_generation = False
        """It is told to begin one when it starts next."""
        self.back: Return | None = None
        """To which model it is to go back then; None: it begins with a survey."""
        self.far = 0
        """How far, if not to the newest: which of the models that are there."""
        self._told_in: int | None = None
        """The generation in which it was told so; it is told once."""
        self.key_number = 1
        """Which of its keys it signs with: another one after each life in which it served."""
        self.must_decide: Callable[[AggregatorHost, ConfigError], None] | None = None
        """Whom it asks when a human has to decide."""
        self._watching: Watching | None = None
        self._roused = False

    def begin(self) -> None:
        """As `aggregator.shell.loop`: watch."""
        if self.runtime is not None:
            self.key_number += 1
        self.runtime, self._watching, self._roused = None, None, False
        self.serves_since_s = inf
        book = self.disk.book
        self.ledger = self.disk.mount(
            lambda path, connect: WatchedLedger(path, connect, self.power, self.scene.oracle, book)
        )
        if self.new_generation:
            newest, _ = self.known()
            now = newest.generation if newest is not None else 0
            self._told_in = now if self._told_in is None else self._told_in
            self.new_generation = now == self._told_in
        name = f"{self.settings.federation.name}__watch-{self.name}-{self.boots}"
        self.link = VirtualLink(self.place(), name, self.poster())
        memory = known(self.settings, self.ledger)
        self._watching = Watching(
            self.settings,
            self.link,
            memory,
            self.now_s,
            self._signer,
            new_generation=self.new_generation,
            quarantined=frozenset(self.scene.oracle.aside),
        )
        self.link.open()

    def set_aside(self) -> None:
        """The list of those in quarantine has changed."""
        if self.alive and self.runtime is not None:
            self._inbox.append(on.Quarantined(self.now_s(), frozenset(self.scene.oracle.aside)))
            self.rouse()

    def tell_new_generation(self, back: Return | None) -> None:
        """Have it begin a generation when it starts next: once, however often it dies before it serves."""
        self.new_generation, self.back, self._told_in = True, back, None
        self.done = False

    def offline_status(self) -> Publication | None:
        """As `aggregator.shell.loop`."""
        return self.runtime.offline_status() if self.runtime is not None else None

    def gives_up(self, error: ConfigError) -> None:
        """Ask the operator."""
        if self.must_decide is None:
            super().gives_up(error)
        else:
            self.must_decide(self, error)

    def rouse(self) -> None:
        """It takes what has come within a few milliseconds in one turn, as a busy program does."""
        if not self._roused:
            self._roused = True
            boot = self.boots
            self.scene.clock.after(0.005 * self.scene.rng.random(), lambda: self._wake(boot))

    def _wake(self, boot: int) -> None:
        if boot == self.boots and self.alive:
            self._roused = False
            self.work()

    def gather(self) -> list[Any]:
        """As `aggregator.shell.loop`."""
        events = list(self._inbox)
        self._inbox.clear()
        return events

    def turn(self, events: list[Any]) -> None:
        """As `aggregator.shell.loop`: one turn of watching or serving."""
        if self.runtime is None:
            assert self._watching is not None
            self._watching.turn(events)
            if self._watching.seen is not None:
                self._serve(self._watching.seen)
            return
        for event in events:
            if isinstance(event, LinkUp | LinkDown):
                self.scene.oracle.aggregator_linked(self.name, up=isinstance(event, LinkUp))
            elif isinstance(event, MessageArrived):
                self.scene.oracle.aggregator_hears(self.disk.book, event)
        self.runtime.turn(events)
        if self.runtime.has_nothing_left_to_say:
            self.done = True

    def die(self, *, silently: bool) -> None:
        """As any host, which may have watched until then."""
        if self.alive:
            self._watched()
            self.scene.oracle.aggregator_linked(self.name, up=False)
        super().die(silently=silently)

    def end(self, why: str, offline_status: Publication | None = None) -> None:
        """As any host."""
        self.scene.oracle.aggregator_linked(self.name, up=False)
        super().end(why, offline_status)

    def stop(self) -> None:
        """As when it is asked to exit once learning is done."""
        if self.alive and self.runtime is not None:
            self.end("learning is done", self.runtime.offline_status())

    def due_s(self) -> float | None:
        """When the watching is over, or what the runtime says."""
        if self.runtime is not None:
            return self.runtime.due_s()
        return self._watching.due_s() if self._watching is not None else None

    def says(self, piece: Publication) -> None:
        """Tell the oracle."""
        assert self.ledger is not None
        self.scene.oracle.aggregator_says(self.ledger, self.disk.book, piece)

    def handed(self, piece: Publication) -> None:
        """Tell the oracle."""
        self.scene.oracle.aggregator_answers(self.disk.book, piece)

    def acknowledging(self, message: MessageArrived) -> None:
        """Tell the oracle."""
        if self.runtime is not None:
            self.scene.oracle.aggregator_acknowledges(self.disk.book, message)

    def _serve(self, seen: TakeUp) -> None:
        """As `aggregator.shell.loop`."""
        self._watched()
        assert self.link is not None
        assert self.ledger is not None
        self.link.close()
        self._inbox.clear()
        instance = self.scene.rng.randbytes(16)
        before, has_model = self.known()
        back = self._wish() if has_model else None
        if seen.generation is not None:
            self.disk.book.wishes[seen.generation] = back
            self.scene.oracle.generation_begins(seen.generation, before)
        state = take_up(self.settings, self.ledger, instance, seen, back=back)
        aside = frozenset(self.scene.oracle.aside)
        state = replace(state, quarantined=aside)
        said = self.scene.broker.retained.get(self.scene.topics.round)
        told = said and MessageArrived(said.topic, said.payload, True, None, 0, 0)
        if not self.new_generation and told and understood(self.scene.topics, told, 0.0, self._signer):
            self.scene.oracle.aggregator_begins(self.scene.broker.retained, before)
        self.new_generation, self.back, self._told_in = False, None, None
        self.disk.book.over_s = inf  # nothing is announced yet: what a life before announced is over
        self.disk.book.heard.clear()
        post = self.poster()
        self.link = VirtualLink(
            self.place(),
            f"{self.settings.federation.name}__aggregator",
            post,
            will=lambda _: runtime.offline_status(),
            keep_session_s=SESSION_S,
            manual_ack=True,
        )
        runtime = self.aggregator(state, self._closer(post), self._exporter(post))
        self.runtime, self.serves_since_s = runtime, self.scene.clock.now_s
        runtime.begin()
        runtime.turn([on.Quarantined(self.now_s(), aside)])
        self.link.open()

    def _wish(self) -> Return | None:
        """What it is told, of what its ledger holds: how far is known only here."""
        found: list[Return | None] = []

        def look() -> None:
            assert self.ledger is not None
            life, back = self.ledger.life(), self.back
            models = self.ledger.kept_models(life.generation) if life is not None else []
            if back is None or not self.far or life is None or not models:
                found.append(back)
                return
            source = models[self.far % len(models)]
            parts = [
                set(admitted(self.ledger, RoundId(life.generation, number)))
                for number in models
                if number > source
            ]
            culprit = min(self.scene.oracle.aside, default=None)
            some = parts and all(len(part - {culprit}) >= 2 for part in parts)
            without = (culprit,) if culprit in set().union(*parts) and some else ()
            found.append(replace(back, round=source, without=without))

        self.power.spare(look)
        return found[0]

    def known(self) -> tuple[RoundId | None, bool]:
        """The newest round that its ledger knows, and whether its generation has a model."""
        found: list[tuple[RoundId | None, bool]] = []

        def look() -> None:
            assert self.ledger is not None
            newest = self.ledger.newest_round()
            found.append((newest, newest is not None and newest.round > 0))

        self.power.spare(look)
        return found[0]

    def _watched(self) -> None:
        """It watched until now."""
        since_s = self._watching.subscribed_s if self._watching is not None else None
        if self._watching is not None and self.runtime is None and since_s is not None:
            since_s += self._watching.patience_s
            self.scene.oracle.aggregator_watched(since_s + self._zero_s)

    def aggregator(
        self, state: Any, close: Callable[[ClosingJob], None], export: Callable[[Job], None]
    ) -> Aggregator:
        """Production's runtime on this host's parts."""
        assert self.ledger is not None
        assert self.link is not None
        return Aggregator(
            self.settings, state, self.ledger, self.link, close, export, self.now_s, signer=self._signer
        )

    @property
    def _signer(self) -> Signer | None:
        """Its key is changed whenever it is off."""
        return signer(self.scene.topics, self.key_number) if self.settings.signing.key is not None else None

    def _closer(self, post: Callable[[Any], None]) -> Callable[[ClosingJob], None]:
        """Production's work: it reads the ledger some time later, and is done some time after that.

        The power may fail at each of its looks into the ledger; with the host the job is lost.
        """
        ledger, boot, rng = self.ledger, self.boots, self.scene.rng
        assert ledger is not None

        def later(action: Callable[[], None]) -> None:
            self.scene.clock.after(rng.choice(CLOSING_S) * rng.random(), action)

        def work(job: ClosingJob) -> None:
            closed = close(lambda: nullcontext(ledger), job)
            later(lambda: post(closed))

        def begin(job: ClosingJob) -> None:
            if self.alive and boot == self.boots:
                self._guarded(lambda: work(job))

        def submit(job: ClosingJob) -> None:
            oracle, retained = self.scene.oracle, self.scene.broker.retained
            self.power.spare(lambda: oracle.aggregator_closes(ledger, self.disk.book, retained))
            later(lambda: begin(job))

        return submit

    def _exporter(self, post: Callable[[Exported], None]) -> Callable[[Job], None]:
        """One at a time, as in production."""
        over_s = 0.0

        def export(job: Job) -> None:
            nonlocal over_s
            exported = Exported(job, b"onnx of " + job.digest, "")
            over_s = max(over_s, self.scene.clock.now_s) + self.scene.rng.random()
            self.scene.clock.at(over_s, lambda: post(exported))

        return export
