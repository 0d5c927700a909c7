"""The figures that devices tell: the range of each, and the fleet's figures made of them. Pure.

A device can tell any number. So an update with a figure outside its range is refused, and one device has
little influence on the fleet's figures (`merged`). These are shown and may end learning
(`aggregator.core.progress`); no model is made from them.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum, sqrt
from statistics import median_low

from aggregator.aggregation import compared
from aggregator.core.verdicts import Verdict
from fedge.wire.messages.fields import Metrics

LARGEST_LOSS = 1e30
"""A loss counts as at most this; a device that diverges may tell more."""
FEWEST = 3
"""From this many devices on, the lowest and the highest value of a figure do not count. A figure that fewer
devices tell is left out, unless these are all."""
HELD_PER_SAMPLE = 9
"""A device holds out less than 0.9 of its rows: at most this many for each row that it trains on."""
FETCHES = 4
"""How often task and model count in the bytes of a round: a device fetches them again if its connection
breaks."""
SMALL_MESSAGES = 2**20
"""A bound on the bytes of announcements and receipts for a device in a round."""


@dataclass(frozen=True)
class Range:
    """The possible values of a figure."""

    high: float = sys.float_info.max
    whole: bool = False

    def holds(self, value: float) -> bool:
        """Whether it is in 0…high, and whole where it must be."""
        return 0 <= value <= self.high and (not self.whole or value == int(value))

    def __str__(self) -> str:
        if self.high == sys.float_info.max:
            return "a finite number that is not negative"
        return f"{'a whole number' if self.whole else 'a number'} in 0…{self.high:.16g}"


LOSS, SHARE, COUNT, BYTES = Range(), Range(1.0), Range(2.0**31 - 1, whole=True), Range(2.0**50, whole=True)
OWN: Mapping[str, Range] = {
    f"{name}_{whose}": allowed
    for whose in ("personal", "alone")
    for name, allowed in (("held_loss", LOSS), ("accuracy", SHARE), ("rmse", LOSS), ("mae", LOSS))
}
"""The figures of a device's own models, on its own held-out rows."""
RANGES: Mapping[str, Range] = {
    "loss_before": LOSS,
    "loss_after": LOSS,
    "held_loss_before": LOSS,
    "held_loss_after": LOSS,
    "accuracy_before": SHARE,
    "accuracy_after": SHARE,
    "rmse_before": LOSS,
    "rmse_after": LOSS,
    "mae_before": LOSS,
    "mae_after": LOSS,
    **OWN,
    "chose": Range(1.0, whole=True),
    "held_out": COUNT,
    "held_unseen": COUNT,
    "clipped": COUNT,
    "state_new": Range(1.0, whole=True),
    "partial": Range(1.0, whole=True),
    "received_bytes": BYTES,
    "sent_bytes": BYTES,
    "seconds": LOSS,
}
"""All figures that are read. Others, from a newer device, are neither kept nor shown."""


def fault(metrics: Metrics) -> str | None:
    """The fault of an update's or survey's figures; None: all known ones are in their range."""
    for name, value in metrics.items():
        if name in RANGES and not RANGES[name].holds(value):
            return f"{name} = {value:.10g}: it must be {RANGES[name]}"
    if metrics.get("held_unseen", 0) > metrics.get("held_out", 0):
        return f"held_unseen = {metrics['held_unseen']:.10g}: it must be no more than held_out"
    return None


def known(metrics: Metrics) -> Metrics:
    """The known figures within their range, which are kept."""
    found = {n: value for n, value in metrics.items() if n in RANGES and RANGES[n].holds(value)}
    if found.get("held_unseen", 0) > found.get("held_out", 0):
        del found["held_unseen"]
    return metrics if len(found) == len(metrics) else found  # a copy for each device takes memory


def bytes_needed(task: int, model: int) -> int:
    """A bound on the bytes that a device receives in a round, from the sizes of task and model."""
    return FETCHES * (task + model) + SMALL_MESSAGES


def summarize(answers: Mapping[str, Verdict], needed: int, count: int = 0) -> dict[str, float]:
    """The fleet's figures of those of the admitted devices: a function of the set.

    Training losses are weighed by n_k, the others by how many rows are held out. `accuracy`, `held_loss`,
    `rmse` and `mae` are of the model the round began from; with `_personal` they are of the models that
    devices use, with `_alone` of those that they trained alone. A root mean square is merged by its squares.
    `held_unseen` is the number of held-out rows whose class their device's training part lacks, if there are
    any; no device counts with more of them than the median one holds out. `partial` is the number of devices
    whose training ended at their owner's time limit, if there are any. A figure that only one or two devices
    tell is left out, unless these are all: otherwise one device could set the fleet's figure. Counts
    (`aggregator.aggregation.compared`) are of single devices.

    Args:
        answers: by device.
        needed: the largest number of received bytes that is believed of a device, from `bytes_needed`.
        count: if fewer than `FEWEST` devices tell a figure, at least this many must.
    """
    told = [(answer.samples, known(answer.metrics)) for answer in answers.values()]
    names = {name for _, metrics in told for name in metrics}
    summary: dict[str, float] = {}
    for name, source, held in (
        ("loss_before", "loss_before", False),
        ("loss", "loss_after", False),
        ("accuracy", "accuracy_before", True),
        ("held_loss", "held_loss_before", True),
        ("accuracy_local", "accuracy_after", True),
        ("rmse", "rmse_before", True),
        ("mae", "mae_before", True),
        *((figure, figure, True) for figure in OWN),
    ):
        if source not in names:
            continue
        figures = [
            (_held_out(n, metrics) if held else n, metrics[source])
            for n, metrics in told
            if source in metrics
        ]
        figures = [(weight, value) for weight, value in figures if weight > 0]
        if figures and suffice(len(figures), max(len(told), count)):
            summary[name] = merged_squares(figures) if name.startswith("rmse") else merged(figures)
    if ended := int(sum(metrics.get("partial", 0.0) for _, metrics in told)):
        summary["partial"] = ended
    if unseen := _unseen([(_held_out(n, metrics), metrics) for n, metrics in told]):
        summary["held_unseen"] = unseen
    summary |= compared.counts([metrics for _, metrics in told])
    received = (metrics.get("received_bytes", 0.0) for _, metrics in told)
    summary["bytes_down"] = int(sum(min(count, needed) for count in received))
    return summary


def suffice(telling: int, admitted: int) -> bool:
    """Whether enough of the admitted devices tell a figure to make it the fleet's."""
    return telling >= FEWEST or telling == admitted


def speaking_for(made: int) -> int:
    """How many devices must tell a figure of a model that `made` devices made: half of them, and both of two.

    >>> [speaking_for(made) for made in range(7)]
    [0, 1, 2, 2, 2, 3, 3]
    """
    return made if made <= 2 else (made + 1) // 2


def merged(figures: Sequence[tuple[int, float]]) -> float:
    """The trimmed mean of one figure, of (weight, value) by device, with capped weights.

    No device weighs more than the median one. From three devices on, the lowest and the highest value do not
    count (Tukey, "The Future of Data Analysis", Annals of Mathematical Statistics 33 (1962), section 14). So
    whatever one device tells, the result lies between the lowest and the highest of what the others told, and
    of n devices that weigh the same one moves it by at most 1 / (n - 2) of what lies between those.
    """
    most = median_low([weight for weight, _ in figures])
    ordered = sorted((min(value, LARGEST_LOSS), min(weight, most)) for weight, value in figures)
    counted = ordered[1:-1] if len(ordered) >= FEWEST else ordered
    mean = fsum(value * weight for value, weight in counted) / fsum(weight for _, weight in counted)
    return min(max(mean, counted[0][0]), counted[-1][0])


def merged_squares(figures: Sequence[tuple[int, float]]) -> float:
    """The square root of the `merged` squares."""
    return sqrt(merged([(weight, value * value) for weight, value in figures]))


def _unseen(told: Sequence[tuple[int, Metrics]]) -> int:
    """The sum of held-out rows whose class the device's training part lacks, capped for each device."""
    held = [weight for weight, _ in told if weight > 0]
    most = median_low(held) if held else 0
    return sum(min(int(metrics.get("held_unseen", 0)), weight, most) for weight, metrics in told)


def _held_out(samples: int, metrics: Metrics) -> int:
    """The rows that a device holds out, as far as its n_k makes them credible."""
    return min(int(metrics.get("held_out", 0)), HELD_PER_SAMPLE * samples)
