"""A simulated machine with power, a disk and a connection, which crashes and starts as real ones do."""

import traceback
from collections.abc import Callable
from pathlib import Path

from fedge.errors import ConfigError, Conflict, StateError
from fedge.service import failpoints
from fedge.transport import MessageArrived, Publication
from fleet.simulator.crash import Power, PowerCut
from fleet.simulator.disks import Disk
from fleet.simulator.hosts.scene import Scene
from fleet.simulator.invariants import Invariant, Violation
from fleet.simulator.link import VirtualLink
from fleet.simulator.place import Place, Weather
from fleet.simulator.turns import Turns
from fleet.simulator.wire import PATIENCE_S

RESTART_S = 2.0
"""How long the service manager waits before it starts a program again."""
GAVE_WAY_S = 30.0


class Host(Turns):
    """One machine: power, a disk, a connection to the broker, and the program that starts with it."""

    def __init__(self, name: str, scene: Scene, path: Path | None) -> None:
        super().__init__(scene.clock)
        self.alive = False
        self.name = name
        self.scene = scene
        self.power = Power()
        self.weather = Weather()
        self.disk = Disk(self.power, path)
        self.link: VirtualLink | None = None
        self.asleep = False
        """Whether it is switched off for long; only its alarm starts it."""
        self.slept = False
        self.gone = False
        """Whether it is switched off for ever."""
        self.restarts_after_s = RESTART_S

    # ── power ──────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Switch it on, unless it runs or is put away."""
        if self.alive or self.asleep or self.gone:
            return
        self.alive = True
        self.boots += 1
        self.power.effects_left = None
        self._inbox.clear()
        self._alarm_s = None
        # A monotonic clock begins anew at each boot, with an arbitrary number.
        self._zero_s = self.scene.clock.now_s - 1_000 * self.scene.rng.random()
        self.scene.tell(self.name, "starts")
        self.guarded(self.begin)

    def die(self, *, silently: bool) -> None:
        """Kill the program; `silently`: with its machine, so that the connection stays half open."""
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
        """End the program by its own decision; nothing starts it again."""
        self.scene.tell(self.name, f"ends: {why}")
        if self.link is not None:
            self.link.close(offline_status)
            self.link = None
        self.alive = False
        self.disk.unmount()

    def reset_line(self) -> None:
        """Break its connection, if it has one."""
        if self.link is not None and self.link.wire is not None:
            self.link.wire.reset()

    def darken(self, seconds: float) -> None:
        """Let none of its packets through for this time."""
        self.weather.dark_until_s = self.scene.clock.now_s + seconds
        if self.link is not None and self.link.wire is not None:
            self.link.wire.darken(seconds)

    @property
    def connected(self) -> bool:
        """Whether its program runs and is connected to the broker."""
        wire = self.link.wire if self.link is not None else None
        return self.alive and wire is not None and wire.whole

    # ── the program ────────────────────────────────────────────────────────────────────────────────

    def begin(self) -> None:
        """Start the program."""
        raise NotImplementedError

    def place(self) -> Place:
        """The place of its link."""
        boot = self.boots
        return Place(
            self.scene.clock,
            self.scene.broker,
            self.scene.rng,
            self.weather,
            self.power,
            lambda piece: self._said(piece) if boot == self.boots else None,
            self.handed,
            self.acknowledging,
        )

    def offline_status(self) -> Publication | None:
        """The status that the program publishes when it ends by itself."""
        return None

    def gives_up(self, error: ConfigError) -> None:
        """Handle a program that ends because a human has to decide."""
        raise Violation(Invariant.GIVES_UP_WITH_REASON, f"{self.name} gives up: {error}") from error

    def says(self, piece: Publication) -> None:
        """Observe a publication that leaves the host."""

    def handed(self, piece: Publication) -> None:
        """Observe a reply that is handed to the link."""

    def acknowledging(self, message: MessageArrived) -> None:
        """Observe an acknowledgement that leaves the host."""

    def _said(self, piece: Publication) -> None:
        self.scene.tell(self.name, f"says {piece.topic} ({len(piece.payload)} bytes)")
        self.power.spare(lambda: self.says(piece))

    def run(self, action: Callable[[], None]) -> None:
        """Run a part of the program; a power cut kills the host."""
        try:
            if self.power.effects_left is None:
                self._ending(action)
            else:
                with failpoints.watched_by(self.power):
                    self._ending(action)
        except PowerCut:  # also while it publishes its last status
            self.die(silently=self.scene.rng.random() < 0.5)
            self.scene.clock.after(self.restarts_after_s, self.start)

    def _ending(self, action: Callable[[], None]) -> None:
        """Run a part of the program, and end it by the error that it raises."""
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
