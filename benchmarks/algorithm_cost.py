"""Measure what each local algorithm costs a device: bytes, state, memory and time, beside plain `sgd`.

    python -m benchmarks.algorithm_cost      # --quick: fewer turns; --json: one JSON object

Each registered local algorithm trains the network 784-200-200-10 (199,210 weights) for a round of one
epoch, in batches of 10, on one thread. Bytes and state follow from the algorithm's vectors. "RAM" is the most
memory that Python and NumPy allocate during a round (`tracemalloc`), less that of `sgd`, in models of float32
(797 kB). Time is the CPU time of a round, as a multiple of that of `sgd`: the algorithms take turns within
one run, and the fastest turn of each counts, because other programs disturbed it least.
"""

import os
import sys
import time
import tracemalloc
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy is imported

import numpy as np

from benchmarks.machine import description
from benchmarks.verdict import Goal, arguments, judged
from fedge.algorithms.composition import USUAL
from fedge.algorithms.plan import Plan
from fedge.algorithms.registry import CODECS, LOCAL
from fedge.algorithms.trainer import Job, never
from fedge.nn import Network, NetworkSpec, initialize

SPEC = NetworkSpec.model_validate(
    {
        "inputs": 784,
        "layers": [
            {"type": "dense", "units": 200},
            {"type": "relu"},
            {"type": "dense", "units": 200},
            {"type": "relu"},
            {"type": "dense", "units": 10},
        ],
        "loss": "cross-entropy",
    }
)
ROWS = 600
PLAN = Plan(epochs=1, batch_size=10, learning_rate=0.05)
TURNS, QUICK_TURNS = 15, 4
MOST_SECONDS, MOST_VECTORS, MOST_STATE = 2.0, 2.0, 1.0
"""The most that a local algorithm may cost: times `sgd`; and in models. The most RAM is what the algorithm
itself says (`LocalAlgorithm.memory`), as a device's owner reads it."""
MOST_MORE = 0.01
"""What Python's own objects may add to that."""


@dataclass(frozen=True)
class Cost:
    """What one local algorithm costs; all but `seconds` in models."""

    name: str
    received: float
    sent: float
    state: float
    ram: float
    """Beyond that of `sgd`."""
    seconds: float
    """As a multiple of that of `sgd`."""


class Round:
    """A round of one local algorithm on the same samples and from the same weights as the others."""

    def __init__(self, name: str) -> None:
        self.part = LOCAL.make(name)
        self._network = Network(SPEC)
        size, rng = self._network.schema.size, np.random.default_rng(0)
        X = np.maximum(rng.normal(size=(ROWS, SPEC.inputs)), 0)
        y = np.argmax(X @ rng.normal(size=(SPEC.inputs, 10)), axis=1)
        self._X, self._y = self._network.prepare(X), self._network.prepare_targets(y)
        further = {vector: np.full(size, 1e-4, np.float32) for vector in self.part.receives}
        self._received = {"weights": initialize(SPEC, rng), **further}
        self.state = dict(self.part.init(size))
        self.run()  # makes the network's buffers

    def run(self) -> None:
        """Train for a round."""
        rng = np.random.default_rng(1)
        job = Job(self._network, self._received, self._X, self._y, PLAN, rng, self.state)
        self.part.run(job, never)

    def peak(self) -> int:
        """The most bytes that are allocated at once during a round."""
        tracemalloc.start()
        self.run()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    def seconds(self) -> float:
        """The CPU time of a round."""
        began_s = time.process_time()
        self.run()
        return time.process_time() - began_s


def measure(turns: int, names: Sequence[str] | None = None) -> list[Cost]:
    """Measure the local algorithms of these names, by default all that are registered."""
    rounds = {name: Round(name) for name in (names or LOCAL.names())}
    best = dict.fromkeys(rounds, float("inf"))
    for _ in range(turns):
        for name, each in rounds.items():
            best[name] = min(best[name], each.seconds())
    size, usual = Network(SPEC).schema.size, USUAL["local"]
    model, codec = 4 * size, CODECS.make(USUAL["codec"])
    plain = rounds[usual].peak()
    return [
        Cost(
            name,
            received=1 + len(each.part.receives),
            sent=codec.max_bytes(size) * (1 + len(each.part.sends)) / model,
            state=sum(array.nbytes for array in each.state.values()) / model,
            ram=(each.peak() - plain) / model if name != usual else 0.0,
            seconds=best[name] / best[usual],
        )
        for name, each in rounds.items()
    ]


def goals(costs: Sequence[Cost]) -> list[Goal]:
    """The bounds on each local algorithm."""
    found = []
    for cost in costs:
        found += [
            Goal(f"{cost.name}, models received", cost.received, at_most=MOST_VECTORS),
            Goal(f"{cost.name}, models sent", cost.sent, at_most=MOST_VECTORS),
            Goal(f"{cost.name}, models of state", cost.state, at_most=MOST_STATE),
            Goal(f"{cost.name}, models of RAM", cost.ram, at_most=LOCAL.make(cost.name).memory + MOST_MORE),
            Goal(f"{cost.name}, times the seconds", cost.seconds, at_most=MOST_SECONDS),
        ]
    return found


def report(costs: Sequence[Cost]) -> Mapping[str, Any]:
    """For programs."""
    return {"machine": description(), "costs": [asdict(cost) for cost in costs]}


def table(costs: Sequence[Cost]) -> str:
    """For people."""
    heads = f"{'local':<12}{'received':>10}{'sent':>10}{'state':>10}{'RAM':>10}{'seconds':>10}"
    rows = [
        f"{c.name:<12}{c.received:>10g}{c.sent:>10g}{c.state:>10g}{c.ram:>10.2f}{c.seconds:>8.2f} ×"
        for c in costs
    ]
    return "\n".join([description(), "", heads, *rows, ""])


def main() -> None:
    """Parse the arguments, measure, print."""
    options = arguments(__doc__ or "", f"{QUICK_TURNS} turns instead of {TURNS}").parse_args()
    costs = measure(QUICK_TURNS if options.quick else TURNS)
    sys.exit(judged(report(costs), table(costs), goals(costs), as_json=options.json))


if __name__ == "__main__":
    main()
