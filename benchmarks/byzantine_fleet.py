"""A fleet with attackers that learns by distributed SGD, for `benchmarks.byzantine`: rules without messages.

A run has hundreds of rounds of one step each, so it calls the parts of a round itself: the devices' local
algorithm, an attack, the bound of admission on distances (`[rounds] max_norm`), the bounds of closing
(`clip_norm`, `max_weight`) and the rule, by `aggregator.aggregation.aggregate`. For the same rows and one
step on all of them, it makes the same models as `fedge.simulate`, to the bit. What it does not have: a round
that stays open because too few updates are admitted; here the rule makes a vector of those that are.
"""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from statistics import median_low
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregator.aggregation.aggregate import aggregate
from aggregator.aggregation.updates import RoundUpdates, Sent
from aggregator.core.usual_distance import MEAN, MEDIAN, UsualDistance
from aggregator.core.verdicts import Verdict
from fedge.algorithms.contribution import order
from fedge.algorithms.plan import Plan
from fedge.algorithms.protocols import WEIGHTS, LocalAlgorithm, Rule
from fedge.algorithms.rules.bounds import Factors, distance, distances
from fedge.algorithms.trainer import Job, never
from fedge.nn import Network
from fedge.wire.freshness import RoundId
from fleet.simulator.attacks.attack import Attack, Knowledge

Vector = NDArray[np.float32]
Rows = tuple[NDArray[Any], NDArray[Any]]
"""Prepared samples of shape (n, d), and class indices of shape (n,)."""


@dataclass(frozen=True)
class Bounded:
    """The bounds on one update; 0: none."""

    clip_norm: float = 0.0
    max_weight: float = 0.0
    max_norm: float = 0.0

    @property
    def factors(self) -> Factors:
        """Those of closing."""
        return Factors(self.clip_norm, self.max_weight)


@dataclass(eq=False)
class Device:
    """One device, and what it keeps between rounds."""

    rows: Rows
    rng: "np.random.Generator"
    """Draws a batch in each round."""
    state: Mapping[str, Any]
    """Of the local algorithm."""

    def batch(self, size: int) -> Rows:
        """Some rows, drawn without replacement; all, in their order, if the size is 0."""
        X, y = self.rows
        if size == 0 or size >= len(X):
            return X, y
        chosen = self.rng.choice(len(X), size, replace=False, shuffle=False)
        return X[chosen], y[chosen]


class Unmeasured(Network):
    """A network that does not measure losses, which nobody reads here: a forward pass and not three a step.

    Weights that are not finite still end a run, because a step looks for them too.
    """

    def loss(self, w: NDArray[Any], X: NDArray[Any], y: NDArray[Any]) -> float:
        """Return 0."""
        return 0.0


class Round(RoundUpdates):
    """The updates of one round that are admitted.

    Args:
        number: of the round.
        sent: by device, n_k and the weights.
        size: p, the number of weights.
        lengths: of the changes, as `distance` measures them, where they are known.
    """

    def __init__(
        self,
        number: int,
        sent: Mapping[str, tuple[int, Vector]],
        size: int,
        lengths: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        self.round, self.size = RoundId(1, number), size
        self._sent = {name: sent[name] for name in sorted(sent, key=order)}
        self._lengths = lengths
        self.answers = {name: Verdict(b"", "admitted", samples=n) for name, (n, _) in self._sent.items()}

    def sent(self, without: Set[str] = frozenset(), name: str = WEIGHTS) -> Iterator[Sent]:
        """As `RoundUpdates.sent`."""
        return (
            Sent(device, 1, vector, self._lengths.get(device))
            for device, (_, vector) in self._sent.items()
            if device not in without
        )


@dataclass(eq=False)
class Fleet:
    """Honest devices and attackers.

    The attackers act together, and know the honest updates of each round. Those whose attack makes its lie
    of these alone do not train.
    """

    network: Network
    weights: Vector
    """Of the newest model, of shape (p,)."""
    honest: Sequence[Rows]
    attackers: Sequence[Rows]
    """What they would train on if they were honest."""
    attack: Attack | None
    local: LocalAlgorithm
    rule: Rule
    plan: Plan
    """One step: `epochs` 1 and `batch_size` 0, on the rows that are drawn."""
    batch: int
    """How many rows a device draws in a round; 0: all."""
    bounds: Bounded = field(default_factory=Bounded)
    outputs: int = 10
    seed: int = 0
    names: tuple[str, ...] = ()
    """Of the honest devices; by default h00, h01, …. Those of attackers are x00, x01, …."""
    refused: int = 0
    """How many updates were not admitted, over all rounds."""

    def __post_init__(self) -> None:
        self.names = self.names or tuple(f"h{number:02d}" for number in range(len(self.honest)))
        self._number, self._usual = 0, UsualDistance()
        self._memory: Mapping[str, Any] = {}
        self._rule_state = self.rule.init(len(self.weights))
        lies = [
            self.attack.rows(X, y, self.outputs, self.seed + number) if self.attack is not None else (X, y)
            for number, (X, y) in enumerate(self.attackers)
        ]
        self._devices = [
            Device(rows, np.random.default_rng([self.seed, number]), self.local.init(len(self.weights)))
            for number, rows in enumerate((*self.honest, *lies))
        ]

    def run(self) -> None:
        """One round: the next model.

        Raises:
            ValueError: no update is admitted.
        """
        self._number += 1
        honest = self._devices[: len(self.honest)]
        changes = self._changes(honest)
        names = list(self.names)
        counts = [len(device.rows[0]) for device in honest]
        if self.attackers and self.attack is not None:
            liars = self._devices[len(honest) :]
            own = changes[np.arange(len(liars)) % len(honest)]
            if not self.attack.omniscient:
                own = self._changes(liars)
            known = Knowledge(self.weights, own, changes, hash_of(self.seed, self._number))
            sent = self.attack.changes(known, self._memory)
            self._memory = sent.state
            changes = np.vstack((changes, sent.changes))
            names += [f"x{number:02d}" for number in range(len(liars))]
            counts += [self.attack.samples(len(device.rows[0])) for device in liars]
        with np.errstate(over="ignore"):
            vectors = (self.weights + changes).astype(np.float32)
        self._close(names, counts, vectors)

    def _changes(self, devices: Sequence[Device]) -> NDArray[np.float64]:
        """The honest changes of some devices, of shape (len(devices), p)."""
        made = np.empty((len(devices), len(self.weights)))
        for device, row in zip(devices, made, strict=True):
            X, y = device.batch(self.batch)
            job = Job(self.network, {WEIGHTS: self.weights}, X, y, self.plan, device.rng, device.state)
            trained = self.local.run(job, never)
            device.state = trained.state
            np.subtract(trained.vectors[WEIGHTS], self.weights, out=row, dtype=np.float64)
        return made

    def _close(self, names: Sequence[str], counts: Sequence[int], vectors: NDArray[np.float32]) -> None:
        most = self.bounds.max_norm * self._usual.distance
        finite: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(vectors), axis=1)
        lengths = distances(self.weights, vectors)
        sent = list(zip(names, counts, vectors, lengths, finite, strict=True))
        admitted = [each for each in sent if each[4] and (not most or each[3] <= most)]
        self.refused += len(sent) - len(admitted)
        if not admitted:
            raise ValueError(f"round {self._number}: no update is admitted")
        found = aggregate(
            Round(
                self._number,
                {name: (samples, vector) for name, samples, vector, _, _ in admitted},
                len(self.weights),
                {name: length for name, _, _, length, _ in admitted},
            ),
            self.weights,
            self.bounds.factors,
            self.rule,
            state=self._rule_state,
        )
        moved = distance(self.weights, found.vector)
        told = {MEDIAN: median_low(found.norms), "moved": moved} if len(admitted) > 1 else {"moved": moved}
        if len(admitted) == 2:
            told[MEAN] = moved
        self._usual = self._usual.after(told)
        self.weights, self._rule_state = found.vector, found.state


def hash_of(seed: int, number: int) -> int:
    """The seed of an attack in a round, as `fedge.simulate` has it."""
    return int(np.random.SeedSequence([seed, 1, number, 0]).generate_state(1)[0])


def dealt(rows: Rows, devices: int, similarity: float, seed: int) -> list[Rows]:
    """Deal rows so that devices have this similarity: this share evenly, the rest sorted by label.

    Karimireddy et al. 2020, "SCAFFOLD", ICML, section 7; `gamma_similarity_niid` of ByzFL.

    Args:
        rows: samples of shape (n, d) and class indices of shape (n,).
        devices: how many.
        similarity: 1: independent and identically distributed; 0: sorted.
        seed: of the order.
    """
    X, y = rows
    shuffled = np.random.default_rng(seed).permutation(len(X))
    even, rest = np.split(shuffled, [round(similarity * len(X))])
    rest = rest[np.argsort(y[rest], kind="stable")]
    parts = zip(np.array_split(even, devices), np.array_split(rest, devices), strict=True)
    return [(X[chosen], y[chosen]) for chosen in (np.concatenate(part) for part in parts)]
