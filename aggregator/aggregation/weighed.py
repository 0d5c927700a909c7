"""How much each update of a round counted, and which devices are far from the others in update after update.

The distance of an update is that from the result, if the rule `measures` it (robust rules do); else that from
the base. It is given in lower median distances of the round. From five updates on, a device is *far* if its
distance is more than `FAR` of them. That decides nothing: a device that is far in `RUNNING` updates in a row
is named in the log, and an operator looks at its sensors or sets it aside. A liar cannot make another device
far: with one liar among three or more, the lower median lies between distances of the others. It can hide: an
attack that stays within the spread of the honest updates is not far, and its effect is bounded by the rule.
"""

import math
from collections.abc import Callable, Collection, Mapping
from statistics import median_low

from aggregator.aggregation.aggregate import Aggregate
from aggregator.core.verdicts import Weighed

FAR = 2.5
"""From so many median distances on a device is far: the default of `[rounds] clip_norm`."""
FEWEST = 5
"""In rounds of fewer updates no device is far."""
RUNNING = 5
"""After so many updates in a row that are far a device is named; again after twice as many, and so on."""
MOST = 1e9
"""Greater distances, in medians, are kept as this."""
NAMED = 5
"""The largest number of devices named in one line."""

Running = Callable[[Collection[str]], Mapping[str, int]]
"""Tells of devices in how many of their last updates in a row, before this round, they were far."""


def weighed(found: Aggregate, running: Running, *, measures: bool) -> dict[str, Weighed]:
    """How much the updates counted, by device.

    Args:
        found: the rule's result.
        running: tells of the rounds before.
        measures: whether the rule measures distances. Then all updates are in the result; else only those
            that are far or did not count in full, because the others tell nothing new.
    """
    counted = dict(zip(found.devices, found.counted, strict=True))
    return apart(counted, dict(zip(found.devices, found.distances, strict=True)), running, measures=measures)


def apart(
    counted: Mapping[str, float], distances: Mapping[str, float], running: Running, *, measures: bool = True
) -> dict[str, Weighed]:
    """As `weighed`, from the part that counted and the distance of each device's update, or of its group."""
    median = median_low(distances.values())
    far = {d: _in(length, median) for d, length in distances.items()}
    away = [d for d, length in far.items() if length > FAR] if len(far) >= FEWEST else []
    before = running(away) if away else {}
    kept = far if measures else [d for d in far if counted[d] < 1 or d in set(away)]
    return {d: Weighed(counted[d], far[d], before.get(d, 0) + 1 if d in away else 0) for d in kept}


def uncounted(length: float, median: float) -> Weighed:
    """An update that the rule did not see; it is this long, and the round's median one that long."""
    return Weighed(0.0, _in(length, median), 0)


def _in(length: float, median: float) -> float:
    if length == 0:
        return 0.0
    return min(length / median, MOST) if median > 0 else MOST


def named(found: Mapping[str, Weighed]) -> list[str]:
    """Log lines on devices that have been far in update after update."""
    devices = [(d, each) for d, each in found.items() if _is_told(each.running)]
    if not devices:
        return []
    texts = [f"{d} ({each.running} updates, now {each.far:.3g} median distances)" for d, each in devices]
    more = f" and {len(texts) - NAMED} more" if len(texts) > NAMED else ""
    which = ", ".join(texts[:NAMED]) + more
    return [
        f"these devices are far from the others again and again: {which}. A rare site, a broken sensor and a "
        "lie look alike here, so check each of them; `fedge quarantine` sets one aside, and `fedge verdicts` "
        "shows the round"
    ]


def _is_told(running: int) -> bool:
    """Whether a device is named now: after 5, 10, 20, 40 … updates in a row."""
    times, rest = divmod(running, RUNNING)
    return rest == 0 and times > 0 and math.log2(times).is_integer()
