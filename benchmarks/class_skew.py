"""Check the advice on plans on both sides of its threshold for "classes differ much".

    python -m benchmarks.class_skew [--seeds 3] [--rounds 30] [--data digits watch] [--alpha 0.1]
                                    [--quick] [--json]

Four data sets are dealt to devices by Dirichlet's distribution with α of 0.1, 0.5, 1 and 100: the digits,
wine and breast cancer data of scikit-learn, and the windows of the watch data. The devices tell
their classes as `[data] tell_classes` has them tell; `aggregator.core.mixes` says from that how far they
differ. Where that is little, `aggregator.core.advice` proposes about 50 steps between two means, else 25.
Both are tried, and one pass (E = 1), with all devices in every round and no broker between, as in
`benchmarks.plans`.

The result is the accuracy on rows that no device has: the mean of the last five rounds, the mean over the
first half of the rounds, and the lead of 50 steps over 25 with its standard error over the seeds. The
threshold is right if below it 50 steps are not behind, and if above it they have no certain lead.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import math
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from agent.data.class_mix import LEAST, rounded
from aggregator.aggregation.survey import Measured, Unmeasured, standardize
from aggregator.core.advice import BATCH, RATE, STEPS, STEPS_ALIKE
from aggregator.core.mixes import SKEWED, Mix, mix_of
from benchmarks.plans import LAST, Array, Deal, federated, split
from benchmarks.verdict import arguments, judged
from fedge.algorithms.plan import Plan
from fedge.data.moments import measure
from fedge.nn import Network, initialize
from fedge.nn.spec import Dense, NetworkSpec, ReLU
from fedge.wire.messages.task import Task
from fleet.datasets import load_watch

ALPHAS = (0.1, 0.5, 1.0, 100.0)
QUICK_ROUNDS, SMALL = 10, ("wine", "breast cancer")
HELD = 0.2
"""The share of the rows that no device has."""


@dataclass(frozen=True)
class Rows:
    """A data set, and the number of devices to which it is dealt."""

    load: Callable[[], tuple[Array, Array]]
    devices: int
    hidden: int


def watch() -> tuple[Array, Array]:
    """All windows of all watches."""
    found = load_watch(20)
    X = np.concatenate([device.features for device in found.devices])
    labels = np.concatenate([np.array(device.labels) for device in found.devices])
    return X, np.unique(labels, return_inverse=True)[1]


def of_sklearn(name: str) -> tuple[Array, Array]:
    """All rows of one of scikit-learn's data sets."""
    from sklearn import datasets  # takes seconds

    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    return X, y


SETS = {
    "digits": Rows(lambda: of_sklearn("digits"), 20, 64),
    "watch": Rows(watch, 20, 64),
    "breast cancer": Rows(lambda: of_sklearn("breast_cancer"), 10, 16),
    "wine": Rows(lambda: of_sklearn("wine"), 5, 16),
}


def dealt(name: str, alpha: float, seed: int) -> tuple[Deal, int]:
    """Deal the data set, measure it as a survey does, and count the rows of a device."""
    chosen = SETS[name]
    X, y = chosen.load()
    X, rng = X.astype(np.float32), np.random.default_rng(seed)
    order = rng.permutation(len(y))
    kept = int(len(y) * HELD)
    held, training = order[:kept], order[kept:]
    hands = [training[hand] for hand in split(y[training], chosen.devices, alpha, rng)]
    classes = tuple(map(str, np.unique(y)))
    layers = (Dense(units=chosen.hidden), ReLU(), Dense(units=len(classes)))
    task = Task(
        network=NetworkSpec(inputs=X.shape[1], layers=layers, loss="cross-entropy"),
        features=tuple(f"x{k}" for k in range(X.shape[1])),
        classes=classes,
        reconnect_spread_s=1.0,
    )
    found = standardize(task, {f"d{k:02d}": Measured(measure(X[h]), None) for k, h in enumerate(hands)})
    assert not isinstance(found, Unmeasured)
    network = Network(found.network)
    parts = tuple((network.prepare(X[hand]), network.prepare_targets(y[hand])) for hand in hands)
    first = initialize(found.network, np.random.default_rng(seed))
    deal = Deal(network, first, parts, (X[held], y[held]), told(y, hands, classes))
    return deal, len(hands[0])


def told(y: Array, hands: list[Array], classes: tuple[str, ...]) -> Mix:
    """The mixes of classes that the devices report."""
    counts = {}
    for k, hand in enumerate(hands):
        rows = zip(*np.unique(y[hand], return_counts=True), strict=True)
        counts[f"d{k:02d}"] = {str(label): rounded(int(n)) for label, n in rows if n >= LEAST}
    mix = mix_of(counts, classes)
    assert mix is not None
    return mix


def tried(name: str, alpha: float, seed: int, rounds: int) -> dict[str, Any]:
    """Train the plans on one deal; return how far classes differ, and two figures of each curve."""
    deal, rows = dealt(name, alpha, seed)
    an_epoch = math.ceil(rows / BATCH)
    found: dict[str, Any] = {"skew": deal.mix.skew, "rows": rows}
    for steps in (an_epoch, STEPS, STEPS_ALIKE):
        plan = Plan(epochs=max(1, round(steps / an_epoch)), batch_size=BATCH, learning_rate=RATE)
        curve = federated(deal, plan, rounds, seed)
        which = "one pass" if steps == an_epoch else str(steps)
        found[which] = [float(np.mean(curve[-LAST:])), float(np.mean(curve[: rounds // 2]))]
    return found


def measured(
    seeds: int, rounds: int, jobs: int, names: Sequence[str], alphas: Sequence[float]
) -> list[dict[str, Any]]:
    """Measure a row for each data set and α."""
    with ProcessPoolExecutor(jobs) as pool:
        asked = {
            (name, alpha): [pool.submit(tried, name, alpha, seed, rounds) for seed in range(1, seeds + 1)]
            for name in names
            for alpha in alphas
        }
        return [row(*which, [one.result() for one in found]) for which, found in asked.items()]


def row(name: str, alpha: float, found: list[dict[str, Any]]) -> dict[str, Any]:
    """Compute the means over the seeds, and the lead of 50 steps."""
    made: dict[str, Any] = {"data": name, "alpha": alpha, "rows": found[0]["rows"]}
    made["skew"] = sorted(one["skew"] for one in found)
    for which in ("one pass", str(STEPS), str(STEPS_ALIKE)):
        made[which] = [float(np.mean([one[which][k] for one in found])) for k in (0, 1)]
    for k, when in enumerate(("end", "early")):
        ahead = [one[str(STEPS_ALIKE)][k] - one[str(STEPS)][k] for one in found]
        made[f"ahead_{when}"] = [float(np.mean(ahead)), float(np.std(ahead, ddof=1) / math.sqrt(len(ahead)))]
    return made


def table(rows: list[dict[str, Any]]) -> str:
    """Format the rows in Markdown, ordered by how far classes differ."""
    lines = [
        "| data, α | rows | classes differ | E = 1 | 25 steps | 50 steps | 50 ahead, end | first half |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in sorted(rows, key=lambda one: -float(np.median(one["skew"]))):
        low, middle, high = one["skew"][0], float(np.median(one["skew"])), one["skew"][-1]
        ends = [f"{one[which][0]:.3f}" for which in ("one pass", str(STEPS), str(STEPS_ALIKE))]
        ahead = [f"{100 * one[k][0]:+.1f} ± {100 * one[k][1]:.1f}" for k in ("ahead_end", "ahead_early")]
        skew = f"{middle:.0%} ({low:.0%} to {high:.0%})"
        cells = [f"{one['data']}, {one['alpha']:g}", str(one["rows"]), skew, *ends, *ahead]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"threshold: {SKEWED:.0%}"])


def main() -> int:
    """Measure and print."""
    parser = arguments(__doc__, f"one seed, {QUICK_ROUNDS} rounds, the small data sets")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=30, help="how many rounds each plan trains")
    parser.add_argument("--data", nargs="+", choices=SETS, default=list(SETS), help="which data sets")
    parser.add_argument("--alpha", nargs="+", type=float, default=ALPHAS, help="how they are dealt")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at once")
    options = parser.parse_args()
    seeds, rounds, names = options.seeds, options.rounds, options.data
    if options.quick:
        seeds, rounds, names = 1, min(rounds, QUICK_ROUNDS), [name for name in names if name in SMALL]
    rows = measured(seeds, rounds, options.jobs, names, options.alpha)
    return judged({"rows": rows}, table(rows), [], as_json=options.json)  # it shows, and has no goal


if __name__ == "__main__":
    sys.exit(main())
