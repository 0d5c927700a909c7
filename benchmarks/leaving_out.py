"""Measure a model whose rounds are computed again without one device, for docs/evidence/leaving-out.md.

    python -m benchmarks.leaving_out [--quick] [--json]

20 devices learn the digits; from round 16 on one of them spoils the mean. For each further round the table
has four accuracies: with that device; of the model that `fedge-aggregator new-generation --from-round 15
--without` makes (`aggregator/aggregation/beginnings.py`); of that round's own mean without it; and of the
same rounds trained again without it.
"""

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.verdict import Goal, arguments, judged
from fedge.algorithms.local.descent import train
from fedge.algorithms.plan import Plan
from fedge.nn import Network, initialize
from fedge.nn.spec import Dense, NetworkSpec, ReLU, Standardize
from fleet.datasets.digits import load_digits

Vector = NDArray[np.float32]
DEVICES, CULPRIT = 20, 3
GOOD, LAST = 15, 25
PLAN = Plan(epochs=5, batch_size=10, learning_rate=0.05)
NEAR, ROUNDS = 0.015, 3
"""The largest loss of accuracy against training again, and the number of rounds for which it must hold."""
LONG = 10
"""The length of a step in medians of all steps: the longest that closing accepts."""


class Digits:
    """The fleet's data, and the computations of a round."""

    def __init__(self) -> None:
        self.train: list[tuple[NDArray[np.float32], NDArray[np.int64]]] = []
        held: list[tuple[NDArray[np.float32], NDArray[np.int64]]] = []
        for device in load_digits(DEVICES, 1).devices:
            labels = np.array([int(label) for label in device.labels])
            order = np.random.default_rng(1).permutation(len(labels))
            first, rest = order[: len(order) // 5], order[len(order) // 5 :]
            held.append((device.features[first], labels[first]))
            self.train.append((device.features[rest], labels[rest]))
        raw = np.concatenate([X for X, _ in self.train])
        scale = np.where(raw.std(0) < 1e-6, 1, raw.std(0)).astype("<f4")
        standardize = Standardize(mean=raw.mean(0).astype("<f4").tobytes(), scale=scale.tobytes())
        layers = (standardize, Dense(units=64), ReLU(), Dense(units=10))
        self.spec = NetworkSpec(inputs=64, layers=layers, loss="cross-entropy")
        self.network = Network(self.spec)
        self.held = np.concatenate([X for X, _ in held]), np.concatenate([y for _, y in held])
        self.samples = np.array([len(y) for _, y in self.train], float)

    def update(self, device: int, number: int, w: Vector, shift: int = 0) -> Vector:
        """Train a device from w in round `number`, with labels shifted by `shift`; return its weights."""
        X, y = self.train[device]
        targets = self.network.prepare_targets((y + shift) % 10)
        rng = np.random.default_rng((number, device))
        vector: Vector = train(self.network, w, self.network.prepare(X), targets, PLAN, rng).vector
        return vector

    def mean(self, updates: NDArray[np.float32], weights: NDArray[np.float64]) -> Vector:
        """The mean of the updates, weighted by n_k."""
        mean: Vector = (weights @ updates / weights.sum()).astype(np.float32)
        return mean

    def accuracy(self, w: NDArray[np.floating]) -> float:
        """The accuracy on the held-out rows of all devices."""
        found = self.network.evaluate(w.astype(np.float32), *self.held).accuracy
        assert found is not None
        return found


def measure(data: Digits, kind: str, weight: float) -> dict[str, list[float]]:
    """Measure the accuracies with one faulty device, whose n_k counts `weight` times."""
    models = [initialize(data.spec, np.random.default_rng(5)).astype(np.float32)]
    rounds: list[NDArray[np.float32]] = []
    honest = np.arange(DEVICES) != CULPRIT
    for number in range(1, LAST + 1):
        w, bad = models[-1], number > GOOD
        shift = 3 if bad and kind == "labels" else 0
        made = [
            data.update(device, number, w, shift if device == CULPRIT else 0) for device in range(DEVICES)
        ]
        updates = np.array(made)
        if bad and kind == "backwards":
            long = LONG * np.median(np.linalg.norm(updates - w, axis=1))
            away = w - updates.mean(0)
            updates[CULPRIT] = w + long * away / np.linalg.norm(away)
        rounds.append(updates)
        counts = data.samples * np.where(honest | (not bad), 1, weight)
        models.append(data.mean(updates, counts))
    again, anew = models[GOOD].astype(np.float64), models[GOOD]
    figures: dict[str, list[float]] = {"with it": [], "again": [], "own mean": [], "anew": []}
    for number in range(GOOD + 1, LAST + 1):
        others = data.mean(rounds[number - 1][honest], data.samples[honest])
        again = again + others - models[number - 1]
        trained = [data.update(device, number, anew) for device in range(DEVICES) if honest[device]]
        anew = data.mean(np.array(trained), data.samples[honest])
        made_now: dict[str, NDArray[Any]] = {
            "with it": models[number],
            "again": again,
            "own mean": others,
            "anew": anew,
        }
        for name, vector in made_now.items():
            figures[name].append(data.accuracy(vector))
    return figures


def main() -> int:
    """Print a table for each kind and weight, and compare with the goals."""
    options = arguments(__doc__, "n_k times 3 only").parse_args()
    data = Digits()
    report: dict[str, dict[str, list[float]]] = {}
    for kind in ("labels", "backwards"):
        for weight in (3,) if options.quick else (1, 3, 10):
            report[f"{kind}, n_k times {weight}"] = measure(data, kind, weight)
    lines, goals = [], []
    for case, figures in report.items():
        lines.append(case)
        for name, values in figures.items():
            lines.append(f"  {name:>8}  " + " ".join(f"{value:.3f}" for value in values))
        behind = max(b - a for a, b in zip(figures["again"][:ROUNDS], figures["anew"], strict=False))
        goals.append(Goal(f"{case}: behind training anew", behind, at_most=NEAR))
    return judged({"accuracy": report}, "\n".join(lines), goals, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
