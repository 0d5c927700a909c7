"""The hosts of one world: devices and their clones, aggregators, and other clients of the broker."""

from collections.abc import Callable
from pathlib import Path

from fedge.identity.ed25519 import public_pem
from fleet.simulator.hosts import AggregatorHost, DeviceHost, Host, Scene
from fleet.simulator.members import LyingMember, Silent
from fleet.simulator.operator import Operator
from fleet.simulator.place import Place
from fleet.simulator.settings import agent_settings, federation_settings, write_data
from fleet.simulator.signing import key
from fleet.simulator.terms import Terms


class Machines:
    """The hosts of one world.

    Args:
        scene: of the world.
        wanted: the terms of the world.
        make_device: a `DeviceHost`, or a deliberately wrong one.
        make_aggregator: an `AggregatorHost`, or a deliberately wrong one.
    """

    def __init__(
        self,
        scene: Scene,
        wanted: Terms,
        make_device: Callable[..., DeviceHost],
        make_aggregator: Callable[..., AggregatorHost],
    ) -> None:
        self._scene, self._terms = scene, wanted
        self._make_device, self._make_aggregator = make_device, make_aggregator
        self.devices: list[DeviceHost] = []
        self.clones: list[DeviceHost] = []
        self.operator: Operator
        """The operator of the aggregators; set by `build`."""
        self.awake_s = 0.0
        """When a host that was put away was last started again."""

    @property
    def hosts(self) -> list[Host]:
        """All hosts."""
        return [*self.devices, *self.clones, *self.operator.aggregators.hosts]

    @property
    def aggregator(self) -> AggregatorHost:
        """The aggregator that is meant to serve."""
        return self.operator.aggregators.main

    def build(self, folder: Path) -> None:
        """Make all hosts, with their files in this folder, and schedule their start."""
        wanted, scene = self._terms, self._scene
        settings = federation_settings(wanted)
        self.operator = Operator(
            scene,
            folder if wanted.real else None,
            lambda name, path: self._make_aggregator(scene, settings, path, name),
            signed=wanted.signed,
        )
        self.aggregator.weather.usual_s = wanted.delays_s[-1]
        for number in range(wanted.devices):
            device = self.device(f"d{number}", number, folder / f"d{number}")
            self.devices.append(device)
            scene.clock.at(scene.rng.uniform(0.0, 3.0), device.start)
        scene.clock.at(scene.rng.uniform(0.0, 3.0), self.aggregator.start)
        if wanted.silent:
            scene.clock.at(1.0, Silent(self.outside(), scene.topics).start)
        if wanted.lying:
            made = scene.oracle.record.made.__setitem__
            scene.clock.at(1.0, LyingMember(self.outside(), scene.topics, scene.rng, made).start)

    def outside(self) -> Place:
        """The place of a client that is none of the hosts."""
        return Place(self._scene.clock, self._scene.broker, self._scene.rng)

    def device(self, name: str, number: int, folder: Path) -> DeviceHost:
        """Make a device with its files in this folder; a clone has the number of its original."""
        folder.mkdir()
        real, wanted = self._terms.real, self._terms
        if real:
            write_data(folder / "data.csv", number)
        pin = None
        if wanted.signed:
            pin = folder / "signing.pub"
            pin.write_bytes(public_pem(key("0").public))
        settings = agent_settings(f"d{number}", folder if real else None, pin)
        host = self._make_device(name, number, self._scene, settings, folder, real=real)
        host.training_s, host.odd = wanted.training_s[number], wanted.odd.get(number, "")
        host.composition = wanted.composition
        host.stateful = host.loses_verdicts = wanted.stateful and not real
        host.weather.usual_s = wanted.delays_s[number]
        return host

    def put_away(self, host: Host, seconds: float | None) -> None:
        """Switch a host off for this time; None: for ever."""
        host.die(silently=True)
        if seconds is None:
            host.gone = True
            return
        host.asleep = host.slept = True

        def wake() -> None:
            host.asleep = False
            self.awake_s = self._scene.clock.now_s
            host.start()

        self._scene.clock.after(seconds, wake)
