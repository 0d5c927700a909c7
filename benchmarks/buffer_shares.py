"""Which devices fill the buffers of the schedule `buffered`, without learning, for `benchmarks.buffered`."""

from heapq import heapify, heappop, heappush
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregator.aggregation.figures import FEWEST

VERSIONS = 2_000
"""The versions that are counted."""


def dominance(devices: int, buffer: int, seed: int, median_s: float, sigma: float) -> list[dict[str, Any]]:
    """Who fills the buffers, by quarters of the devices, the fastest first; nothing is learnt.

    All devices have the same n_k and begin with the newest version. The first two rows have Fedge's rule that
    one update of a device counts for each base; so a buffer can have two of a device, one of an older base
    and one of the newest. The third row is without that rule: a device begins again with the same base.

    Args:
        devices: how many there are.
        buffer: the updates of a version.
        seed: of the devices' times.
        median_s: the median of how long a device trains; log-normal.
        sigma: the standard deviation of its logarithm.
    """
    seconds = np.sort(median_s * np.random.default_rng(seed).lognormal(0.0, sigma, devices))
    rows = []
    for most, by_base in ((1, True), (2, True), (None, False)):
        counted = filled(seconds, buffer, most, by_base=by_base)
        device, began, version, at_s = map(np.array, zip(*counted, strict=True))
        weights = (1.0 + version - began) ** -0.5
        fresh = np.bincount(version[began == version], minlength=VERSIONS)
        updates = np.bincount(device, minlength=devices) / len(counted)
        sums = np.bincount(device, weights, devices) / weights.sum()
        rows.append(
            {
                "most": most,
                "updates": [float(each.sum()) for each in np.array_split(updates, 4)],
                "sums": [float(each.sum()) for each in np.array_split(sums, 4)],
                "largest": float(sums.max()),
                "staleness": float((version - began).mean()),
                "measured": float((fresh >= FEWEST).mean()),
                "version_s": float(at_s[-1]) / VERSIONS,
            }
        )
    return rows


def filled(
    seconds: NDArray[np.float64], buffer: int, most: int | None, *, by_base: bool
) -> list[tuple[int, int, int, float]]:
    """Fill `VERSIONS` buffers; each update's device, the version it began with, its own version, and when.

    Args:
        seconds: how long each device trains.
        buffer: the updates of a version.
        most: of one device in a buffer; a further one waits for the next version. None: any number.
        by_base: whether a device that has answered the newest version waits for the next one.
    """
    ends = [(float(each), device, 0) for device, each in enumerate(seconds)]
    heapify(ends)
    found = list[tuple[int, int, int, float]]()
    held, idle = list[tuple[int, int]](), list[int]()
    inside, version, now_s = np.zeros(len(seconds), int), 0, 0.0
    while version < VERSIONS:
        if held and (most is None or inside[held[0][0]] < most):
            device, began = held.pop(0)
        else:
            now_s, device, began = heappop(ends)
        if most is not None and inside[device] == most:
            held.append((device, began))
            continue
        inside[device] += 1
        found.append((device, began, version, now_s))
        if by_base and began == version:
            idle.append(device)
        else:
            heappush(ends, (now_s + float(seconds[device]), device, version))
        if len(found) % buffer == 0:
            version += 1
            inside[:] = 0
            for device in idle:
                heappush(ends, (now_s + float(seconds[device]), device, version))
            idle.clear()
    return found


def dominance_table(rows: list[dict[str, Any]]) -> str:
    """The shares in Markdown."""
    lines = [
        "| updates of one device in a buffer | updates by quarter, fastest first | sums by quarter "
        "| largest share of one device | mean staleness | versions with figures | seconds a version |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        updates, sums = (", ".join(f"{each:.1%}" for each in row[key]) for key in ("updates", "sums"))
        lines.append(
            f"| {row['most'] or 'any, also of one base'} | {updates} | {sums} | {row['largest']:.1%} "
            f"| {row['staleness']:.1f} | {row['measured']:.2%} | {row['version_s']:.1f} |"
        )
    return "\n".join(lines)
