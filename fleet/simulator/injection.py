"""Carry out the scheduled faults: on programs, machines, connections and brokers, by clones and liars."""

import shutil
from collections import Counter, deque

from fedge.wire.messages.manifest import Manifest
from fleet.simulator.adversary import Liar
from fleet.simulator.faults import LATEST_CUT_S, SHORT_LIFE_S, Fault
from fleet.simulator.hosts import RESTART_S, DeviceHost, Host, Scene
from fleet.simulator.machines import Machines
from fleet.simulator.sessions import BrokerDisk, Message
from fleet.simulator.signing import forgeries
from fleet.simulator.terms import LIMITS, Terms

LINES_LOST_S = 2.0
"""Each device's connection is reset within this time after wills begin to be late."""


class Injection:
    """Carries out the faults of one world.

    Args:
        scene: of the world.
        machines: its hosts.
        wanted: the terms of the world.
    """

    def __init__(self, scene: Scene, machines: Machines, wanted: Terms) -> None:
        self._scene, self._machines, self._terms = scene, machines, wanted
        self.happened: Counter[str] = Counter()
        self._frames_heard: deque[bytes] = deque(maxlen=50)
        self._disk: BrokerDisk | None = None
        """The content of the broker's disk when it starts again."""

    def heard(self, message: Message) -> None:
        """Keep a frame that the broker has got, for a liar to replay."""
        if "/update/" in message.topic:
            self._frames_heard.append(message.payload)

    def happen(self, fault: Fault) -> None:
        """Carry out one fault."""
        host = self._machines.aggregator if fault.host < 0 else self._machines.devices[fault.host]
        self.happened[fault.kind] += 1
        self._scene.tell("fault", str(fault))
        over, rng = self._scene.clock.after, self._scene.rng
        match fault.kind:
            case "kill" | "power cut":
                self._cut(host, fault)
            case "crash loop":
                self._crash(host, self._scene.clock.now_s + fault.seconds, silently=True)
            case "reset":
                host.reset_line()
            case "darkness":
                host.darken(fault.seconds)
            case "broker restart" | "broker crash" | "broker wiped":
                self._stop_broker(fault)
            case "disk full":
                host.power.writes_that_fail = 1 + fault.amount % 5
            case "clone":
                self._clone(self._machines.devices[fault.host], fault)
            case "late wills":
                for device in self._machines.devices:  # each reconnects before its will is published
                    over(LINES_LOST_S * rng.random(), device.reset_line)
                self._scene.broker.will_delay_s = min(60.0, fault.seconds)
                over(fault.seconds, lambda: setattr(self._scene.broker, "will_delay_s", 0.0))
            case "duplicates":
                self._scene.broker.says_twice = lambda: rng.random() < 0.3
                over(fault.seconds, lambda: setattr(self._scene.broker, "says_twice", lambda: False))
            case "slow network":
                host.weather.slowed += 1  # two such faults may overlap
                over(fault.seconds, lambda: setattr(host.weather, "slowed", host.weather.slowed - 1))
            case "sensor away":
                self._machines.devices[fault.host].willing = False
                over(fault.seconds, lambda: setattr(self._machines.devices[fault.host], "willing", True))
            case "lies":
                self._lie(fault)
            case "night":
                for each in self._machines.hosts:
                    self._machines.put_away(each, fault.seconds)
            case "long sleep":
                self._machines.put_away(host, fault.seconds)
            case _:
                self._machines.operator.happen(fault, self._machines.devices[fault.host])

    def end(self) -> None:
        """End all faults, and repair their effects."""
        self._scene.tell("world", "calm")
        for clone in self._machines.clones:
            clone.die(silently=False)
            clone.gone = True
        self._scene.broker.will_delay_s, self._scene.broker.says_twice = 0.0, lambda: False
        if not self._scene.broker.up:
            self._scene.broker.start(self._disk)
        for host in self._machines.hosts:
            host.power.effects_left, host.power.writes_that_fail = None, 0
            host.start()
        for device in self._machines.devices:
            device.willing, device.loses_verdicts = True, False

    def _cut(self, host: Host, fault: Fault) -> None:
        """Kill it between two of its next effects; if it has none, a little later."""
        silently = fault.kind == "power cut"
        boot = host.boots
        host.restarts_after_s = fault.seconds
        if host.alive:
            host.power.effects_left = fault.amount

        def at_the_latest() -> None:
            if host.alive and host.boots == boot:
                host.die(silently=silently)
                self._scene.clock.after(fault.seconds, host.start)

        self._scene.clock.after(LATEST_CUT_S, at_the_latest)

    def _crash(self, host: Host, until_s: float, *, silently: bool) -> None:
        """Kill it, and again soon after each start."""
        host.die(silently=silently)
        self._scene.clock.after(RESTART_S, host.start)
        again_s = RESTART_S + SHORT_LIFE_S * (0.2 + 0.8 * self._scene.rng.random())
        if self._scene.clock.now_s + again_s < until_s:
            self._scene.clock.after(again_s, lambda: self._crash(host, until_s, silently=False))

    def _stop_broker(self, fault: Fault) -> None:
        broker = self._scene.broker
        if not broker.up:
            return
        if fault.kind == "broker crash":  # Mosquitto with autosave_interval 1 has not written the last second
            saved, soon_s = broker.save(), min(1.0, fault.amount / 40)
            self._scene.clock.after(soon_s, lambda: self._stop_with(saved, fault.seconds))
        else:
            self._limit()
            self._stop_with(broker.save() if fault.kind == "broker restart" else None, fault.seconds)

    def _stop_with(self, disk: BrokerDisk | None, seconds: float) -> None:
        broker = self._scene.broker
        if not broker.up:
            return
        self._disk = disk
        broker.stop()
        self._scene.clock.after(seconds, lambda: self._start_broker(disk))

    def _start_broker(self, disk: BrokerDisk | None) -> None:
        if not self._scene.broker.up:
            self._scene.broker.start(disk)

    def _limit(self) -> None:
        """Let the broker take frames of another size from its next start on."""
        if self._terms.limits is not None:
            broker = self._scene.broker
            broker.takes = self._terms.limits.choice([size for size in LIMITS if size != broker.takes])
            self._scene.tell("fault", f"frames of at most {broker.takes} bytes from now on")

    def _clone(self, device: DeviceHost, fault: Fault) -> None:
        if not device.honest:
            return
        device.honest = False
        folder = device.folder.with_name(f"{device.name}-clone")
        clone = self._machines.device(f"{device.name}'s clone", device.number, folder)
        clone.honest, clone.tries = False, 1_000
        clone.disk = device.disk.copy(clone.power, folder / "agent.db" if self._terms.real else None)
        if (device.folder / "model.held").exists():
            shutil.copy(device.folder / "model.held", folder / "model.held")
        self._machines.clones.append(clone)
        clone.start()
        self._scene.clock.after(fault.seconds, lambda: self._machines.put_away(clone, None))

    def _lie(self, fault: Fault) -> None:
        scene, machines = self._scene, self._machines
        said = scene.oracle.record.announced
        manifest: Manifest | None = said[-1].manifest if said else None
        made = scene.oracle.record.made.__setitem__
        liar = Liar(machines.outside(), scene.topics, scene.rng, made)
        forged = (
            forgeries(scene.topics, manifest, machines.aggregator.key_number, scene.rng)
            if self._terms.signed and manifest is not None
            else []
        )
        liar.lie(manifest, list(self._frames_heard), fault.amount, forged)
