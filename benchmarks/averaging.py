"""Measure the speed and the memory of the weighted mean.

    python -m benchmarks.averaging [--updates 1000] [--weights 200000] [--quick] [--json]

The peer in the same run is a bare loop over the updates: float64 products and accumulator, one buffer each,
nothing else. Prints the bytes of updates averaged per second as a share of the bare loop's, and the peak of
memory for five times as many updates as a multiple of the peak for these; and the same share within bounds,
where the distances are measured first, and one in ten updates is clipped.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from statistics import median

import numpy as np
from numpy.typing import NDArray

from benchmarks.verdict import Goal, arguments, judged
from fedge.algorithms import contribution
from fedge.algorithms.contribution import Contribution
from fedge.algorithms.rules import mean
from fedge.algorithms.rules.bounds import Factors, bounds, clipped, distance

REPEATS = 5
GOAL_SHARE, GOAL_MEMORY = 0.7, 1.1
DISTINCT = 64
"""The number of vectors that the updates share in turn: more than fit a cache, fewer than fill the memory."""


def bare_loop(contributions: Iterator[Contribution], weights: int) -> NDArray[np.float32]:
    total, product, n = np.zeros(weights), np.empty(weights), 0
    for each in contributions:
        np.multiply(each.vector, each.samples, out=product, dtype=np.float64)
        total += product
        n += each.samples
    total /= n
    return total.astype(np.float32)


def ours(contributions: Iterator[Contribution], weights: int) -> NDArray[np.float32]:
    vector, _ = mean.finish(mean.partial(contributions))
    return vector


def bounded(contributions: Callable[[], Iterator[Contribution]], weights: int) -> NDArray[np.float32]:
    base = np.zeros(weights, np.float32)
    norms, samples = zip(*((distance(base, c.vector), c.samples) for c in contributions()), strict=True)
    found = bounds(norms, samples, Factors())
    scales = (0.1 if k % 10 == 0 else scale for k, scale in enumerate(found.scales))
    counted = zip(contributions(), scales, found.weights, strict=True)
    return ours((Contribution(c.device, n, clipped(base, c.vector, s)) for c, s, n in counted), weights)


def main() -> int:
    parser = arguments(__doc__, "a fifth of the weights")
    parser.add_argument("--updates", type=int, default=1_000)
    parser.add_argument("--weights", type=int, default=200_000)
    options = parser.parse_args()
    updates, weights = options.updates, options.weights // (5 if options.quick else 1)
    rng = np.random.default_rng(0)
    vectors = [rng.standard_normal(weights, dtype=np.float32) for _ in range(DISTINCT)]
    devices = [f"device-{k}" for k in range(5 * updates)]

    def stream(count: int) -> Iterator[Contribution]:
        for k, device in enumerate(sorted(devices[:count], key=contribution.order)):
            yield Contribution(device, 20 + k % 300, vectors[k % DISTINCT])

    def seconds(average: Callable[[Iterator[Contribution], int], NDArray[np.float32]]) -> float:
        begin = time.perf_counter()
        average(stream(updates), weights)
        return time.perf_counter() - begin

    def seconds_bounded() -> float:
        begin = time.perf_counter()
        bounded(lambda: stream(updates), weights)
        return time.perf_counter() - begin

    def peak_bytes(count: int) -> int:
        tracemalloc.start()
        ours(stream(count), weights)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    seconds(bare_loop), seconds(ours)
    # They take turns, so that all meet the same noise.
    runs = [(seconds(bare_loop), seconds(ours), seconds_bounded()) for _ in range(REPEATS)]
    bare, own = median(run[0] for run in runs), median(run[1] for run in runs)
    peak, peak_of_more = peak_bytes(updates), peak_bytes(5 * updates)
    difference = np.abs(ours(stream(updates), weights) - bare_loop(stream(updates), weights)).max()
    report = {
        "updates": updates,
        "weights": weights,
        "bare_loop_gb_per_s": round(updates * weights * 4 / bare / 1e9, 2),
        "mean_gb_per_s": round(updates * weights * 4 / own / 1e9, 2),
        "share_of_bare_loop": round(median(run[0] / run[1] for run in runs), 3),
        "share_within_bounds": round(median(run[0] / run[2] for run in runs), 3),
        "peak_mb": round(peak / 1e6, 1),
        "peak_float64_vectors": round(peak / (8 * weights), 2),
        "peak_of_five_times_as_many_by_peak": round(peak_of_more / peak, 3),
        "max_abs_diff": float(difference),
    }
    goals = [
        Goal("share of the bare loop", report["share_of_bare_loop"], at_least=GOAL_SHARE),
        Goal(
            "memory for five times as many", report["peak_of_five_times_as_many_by_peak"], at_most=GOAL_MEMORY
        ),
    ]
    text = "\n".join(f"{name:<36}{value:>12}" for name, value in report.items())
    return judged(report, text, goals, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
