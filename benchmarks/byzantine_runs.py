"""The runs of `benchmarks.byzantine`: MNIST on ten honest devices and some attackers."""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from aggregator.core.parts import PartError
from benchmarks.byzantine_fleet import Bounded, Fleet, Rows, Unmeasured, dealt
from benchmarks.kept_runs import KeptRuns
from benchmarks.mnist import archives
from fedge.algorithms.plan import Plan
from fedge.algorithms.registry import LOCAL, RULES
from fedge.algorithms.trainer import Diverged
from fedge.nn import Dense, Network, NetworkSpec, ReLU
from fedge.nn.initialize import first_weights
from fleet.simulator.attacks.backdoor_pixels import Backdoor
from fleet.simulator.attacks.registry import attack

HONEST, CLASSES = 10, 10
MEAN_PIXEL, PIXEL_SPREAD = 0.1307, 0.3081
"""Of MNIST, as ByzFL standardizes it; pixels are 0 to 1."""
WHITE = (1.0 - MEAN_PIXEL) / PIXEL_SPREAD
DIGITS = 1_500
"""The training rows of scikit-learn's digits; 297 are for the test."""
LAST = 5
"""How many measurements at the end are averaged: single rounds are noisy."""
BETWEEN = 10
"""The rounds between two of these."""
BOUNDS = Bounded(2.5, 10.0, 100.0)
"""The defaults of `[rounds] clip_norm`, `max_weight` and `max_norm`."""


@dataclass(frozen=True)
class Setting:
    """What all runs have in common."""

    rounds: int
    data: Literal["mnist", "digits"] = "mnist"
    units: int = 32
    batch: int = 32
    rate: float = 0.3
    max_gradient: float = 1.0
    """The largest length of a gradient, as `[plan] max_gradient`."""
    local: str = "momentum"


@dataclass(frozen=True)
class Part:
    """A rule or an attack, with its options, and the name by which it is shown."""

    name: str
    told: Mapping[str, Any]


@dataclass(frozen=True)
class Job:
    """A run that is wanted."""

    setting: Setting
    rule: Part
    attack: Part | None
    attackers: int
    similarity: float
    bounded: bool
    seed: int

    @property
    def key(self) -> tuple[str, str, int, float, bool, int]:
        attack = "" if self.attack is None else self.attack.name
        return self.rule.name, attack, self.attackers, self.similarity, self.bounded, self.seed

    @property
    def settings(self) -> str:
        """A digest of what the key does not tell."""
        told = [asdict(self.setting), dict(self.rule.told), self.attack and dict(self.attack.told)]
        return sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Run:
    """A finished run."""

    rule: str
    attack: str
    attackers: int
    similarity: float
    bounded: bool
    seed: int
    accuracy: float
    """On the test rows, at the end; 0: the weights are not finite."""
    backdoor: float | None
    """The share of test rows of other classes that the trigger turns into its class; None: no backdoor."""
    refused: int
    """How many updates were not admitted."""
    settings: str
    cpu_s: float = field(compare=False)
    """Seconds of the processor."""

    @property
    def key(self) -> tuple[str, str, int, float, bool, int]:
        return self.rule, self.attack, self.attackers, self.similarity, self.bounded, self.seed


@cache
def rows_of(data: str) -> tuple[Rows, Rows]:
    """The training and the test rows, standardized: MNIST's, or the smaller ones of scikit-learn's digits."""
    if data == "digits":
        from sklearn.datasets import load_digits

        X, y = load_digits(return_X_y=True)
        chosen = np.random.default_rng(0).permutation(len(X))
        X, y = _standard(X[chosen] / 16), y[chosen].astype(np.int64)
        return (X[:DIGITS], y[:DIGITS]), (X[DIGITS:], y[DIGITS:])

    def read(path: Path) -> Rows:
        with np.load(path) as found:
            return _standard(found["X"].astype(np.float32) / 255), found["y"].astype(np.int64)

    training, test = archives()
    return read(training), read(test)


def _standard(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """Pixels of 0 to 1 as the network takes them."""
    return ((pixels - MEAN_PIXEL) / PIXEL_SPREAD).astype(np.float32)


def run(job: Job) -> Run:
    """Let a fleet learn."""
    begun_s = time.process_time()
    setting = job.setting
    (X, y), (test_X, test_y) = rows_of(setting.data)
    spec = NetworkSpec(
        inputs=X.shape[1],
        layers=(Dense(units=setting.units), ReLU(), Dense(units=CLASSES)),
        loss="cross-entropy",
    )
    network, lie = Unmeasured(spec), None if job.attack is None else attack(job.attack.told)
    shares = dealt((X, y), HONEST, job.similarity, job.seed)
    told = dict(job.rule.told)
    fleet = Fleet(
        network,
        first_weights(spec, job.seed, 1),
        shares,
        [shares[number % HONEST] for number in range(job.attackers)],
        lie,
        LOCAL.make(setting.local),
        RULES.make(str(told.pop("name")), told),
        Plan(epochs=1, batch_size=0, learning_rate=setting.rate, max_gradient=setting.max_gradient),
        setting.batch,
        BOUNDS if job.bounded else Bounded(),
        CLASSES,
        job.seed,
    )
    accuracies: list[float] = []
    begin = setting.rounds - (LAST - 1) * BETWEEN
    try:
        for number in range(1, setting.rounds + 1):
            fleet.run()
            if number >= begin and (number - begin) % BETWEEN == 0:
                accuracies.append(_accuracy(network, fleet.weights, test_X, test_y))
    except Exception as error:
        if not _broken(error):
            raise
        accuracies = [0.0]
    backdoor = None
    if isinstance(lie, Backdoor):
        predicted = network.predict(fleet.weights, lie.trigger.on(test_X)).argmax(axis=1)
        backdoor = lie.trigger.success(predicted, test_y)
    return Run(
        *job.key,
        fmean(accuracies) if accuracies else _accuracy(network, fleet.weights, test_X, test_y),
        backdoor,
        fleet.refused,
        job.settings,
        time.process_time() - begun_s,
    )


def _accuracy(network: Network, weights: Any, X: Any, y: Any) -> float:
    with np.errstate(all="ignore"):
        outputs = network.forward(weights, X)
    found = (outputs.argmax(axis=1) == y) & np.isfinite(outputs).all(axis=1)
    return float(found.mean())


def _broken(error: Exception) -> bool:
    """Whether the model is of no use any more: no device can train from it."""
    return isinstance(error, Diverged | PartError)


def run_all(jobs: Sequence[Job], kept: KeptRuns[Run]) -> None:
    """Run what is missing, and keep each run as soon as it is done."""
    missing = [job for job in jobs if not kept.has(job)]
    for number, job in enumerate(missing, 1):
        found = run(job)
        kept.add(found)
        print(
            f"{number}/{len(missing)}: {found.rule}, {found.attack or 'no attack'}, f = {found.attackers}, "
            f"similarity {found.similarity:g}, {'with' if found.bounded else 'without'} bounds: "
            f"{found.accuracy:.4f}"
            + (f", backdoor {found.backdoor:.3f}" if found.backdoor is not None else "")
            + f", {found.cpu_s:.1f} s",
            file=sys.stderr,
            flush=True,
        )
