"""The composition that a world learns with: its parts, their options, and the settings that name them."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from fleet.simulator.robust_twins import fewest

ONE_IN = 2
"""One world in this many learns with a drawn composition; the others with FedAvg."""
RATE, BATCH = 0.25, 16
"""The learning rate of a world that learns with a composition, and the batch size of all worlds."""
PULL = 0.5
"""λ of Ditto, where devices have personal models."""
FLOOR = 0.1
"""The part of the learning rate at which its decay ends."""
NOTHING: Mapping[str, Any] = MappingProxyType({})
ROBUST_ONE_IN = 2
"""Of the worlds that can have a robust rule, one in this many has one."""
ROBUST = (
    ("median", 1, "none"),
    ("median", 1, "nnm"),
    ("median", 0, "bucketing"),
    ("trimmed-mean", 1, "none"),
    ("trimmed-mean", 1, "nnm"),
    ("krum", 0, "none"),
    ("centered-clipping", 1, "none"),
    ("centered-clipping", 1, "none"),
)
"""Robust rules, each with f and the step before it. Worlds have few devices: with these three are enough."""
SERVERS: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("average", {"rate": 1.0}),
    ("average", {"rate": 0.5}),
    ("momentum", {"momentum": 0.5, "rate": 0.5}),
    ("adam", {"rate": 10.0, "beta1": 0.9, "tau": 1e-3, "beta2": 0.99}),
    ("yogi", {"rate": 10.0, "beta1": 0.9, "tau": 1.0, "beta2": 0.9}),
    ("adagrad", {"rate": 10.0, "beta1": 0.0, "tau": 1e-3}),
)
"""Server optimizers with all their options."""


@dataclass(frozen=True)
class Composition:
    """The parts of an algorithm with their options; without arguments it is FedAvg."""

    local: str = "sgd"
    local_options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    uniform: bool = False
    """Whether the mean gives each device the same weight."""
    server: str = "average"
    server_options: Mapping[str, Any] = field(default_factory=lambda: {"rate": 1.0}, hash=False)
    robust: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """A robust rule with all its options: name, f and pre; empty: a mean."""
    max_gradient: float | None = None
    rate: float = RATE
    rate_decay: float = 1.0
    clusters: int = 1
    """The number of shared models."""
    ditto: bool = False
    """Whether each device has a personal model by Ditto."""
    model_codec: str = "float32"
    """How the announced model is coded."""
    key_every: int = 16
    """The most rounds for which a key frame is used."""
    drawn: bool = False
    """Whether the devices run the local algorithm; otherwise they make vectors without one."""

    @property
    def rule(self) -> str:
        """The robust rule, or the one that the local algorithm needs."""
        if self.robust:
            return str(self.robust["name"])
        return "nova" if self.local == "nova" else "mean"

    @property
    def fewest(self) -> int:
        """The fewest updates that the rule needs."""
        return fewest(**self.robust) if self.robust else 1

    @property
    def vectors(self) -> tuple[str, ...]:
        """The vectors besides the weights that devices receive and send."""
        return ("control",) if self.local == "scaffold" else ()

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the shared models."""
        return ("weights", *(f"cluster_{number}" for number in range(1, self.clusters)))

    @property
    def stateful(self) -> bool:
        """Whether the local algorithm has a state on the device."""
        return self.local in ("scaffold", "dyn")

    @property
    def newer(self) -> bool:
        """Whether an older program could have ignored a part of the plan.

        A restarted device makes its update again then, unless it counts or has a state.
        """
        named = self.local != "sgd" or self.max_gradient is not None or self.clusters > 1 or self.ditto
        return self.drawn and named

    @property
    def adds_up(self) -> bool:
        """Whether server or devices add something up over rounds, so that one extreme value stays in it."""
        return self.stateful or self.server == "momentum"

    @property
    def fits_stale(self) -> bool:
        """Whether it works with updates from older models (`aggregator.core.stale_parts`)."""
        return self.local in ("sgd", "prox") and not self.uniform and not self.robust and self.clusters == 1

    def rate_of(self, number: int) -> float:
        """The learning rate of the training round with this number."""
        return max(self.rate * FLOOR, self.rate * self.rate_decay ** (number - 1))

    def settings(self) -> dict[str, dict[str, Any]]:
        """The tables of `federation.toml` that name the parts."""
        sent = {"model_codec": self.model_codec, "key_every": self.key_every}
        if not self.drawn:
            return {"plan": {"epochs": 1, "batch_size": BATCH, **sent}}
        plan: dict[str, Any] = {
            "epochs": 1,
            "batch_size": BATCH,
            **sent,
            "learning_rate": self.rate,
            "rate_decay": self.rate_decay,
            "rate_floor": FLOOR,
        }
        if self.local != "sgd":
            plan["local"] = self.local
        if self.local_options:
            plan["local_options"] = dict(self.local_options)
        if self.max_gradient is not None:
            plan["max_gradient"] = self.max_gradient
        rule = dict(self.robust) or {"name": self.rule, **({"weights": "uniform"} if self.uniform else {})}
        tables = {"plan": plan, "rule": rule, "server": {"name": self.server, **self.server_options}}
        if self.clusters > 1:
            tables["personal"] = {"name": "clusters", "models": self.clusters}
        if self.ditto:
            tables["personal"] = {"name": "ditto", "pull": PULL}
        return tables


FEDAVG = Composition()


def composition(seed: int) -> Composition:
    """Draw the composition of the world with this seed; it does not change what else is drawn."""
    rng = random.Random(f"how the models of world {seed} are sent")  # noqa: S311 # a simulation, not a secret
    codec = rng.choice(("float32", "float32", "float16", "int8", "int4"))
    return replace(_composition(seed), model_codec=codec, key_every=rng.choice((1, 2, 16)))


def _composition(seed: int) -> Composition:
    rng = random.Random(f"what world {seed} learns with")  # noqa: S311 # a simulation, not a secret
    if rng.randrange(ONE_IN):
        return FEDAVG
    local = rng.choice(("sgd", "prox", "nova", "scaffold", "scaffold", "dyn"))
    server, server_options = rng.choice(SERVERS) if local != "dyn" else ("dyn", NOTHING)
    options = {"prox": {"mu": 0.5}, "dyn": {"alpha": 0.5}}
    able = local in ("sgd", "prox") and server == "average"
    clusters = rng.choice((1, 2, 2, 3)) if able else 1
    own = random.Random(f"what devices of world {seed} have for themselves")  # noqa: S311 # as above
    return Composition(
        clusters=clusters,
        ditto=clusters == 1 and own.random() < 0.5,
        local=local,
        local_options=options.get(local, NOTHING),
        uniform=local in ("scaffold", "dyn") or (local != "nova" and rng.random() < 0.5),
        server=server,
        server_options=server_options,
        max_gradient=rng.choice((None, None, 50_000.0)),
        rate_decay=rng.choice((1.0, 1.0, 0.5)),
        drawn=True,
        robust=_robust(seed) if local in ("sgd", "prox") and clusters == 1 else NOTHING,
    )


def _robust(seed: int) -> Mapping[str, Any]:
    rng = random.Random(f"what rule world {seed} has")  # noqa: S311 # a simulation, not a secret
    if rng.randrange(ROBUST_ONE_IN):
        return NOTHING
    return dict(zip(("name", "f", "pre"), rng.choice(ROBUST), strict=True))
