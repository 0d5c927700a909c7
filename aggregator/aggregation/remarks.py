"""Log lines on a closed round: devices that count for less than they sent, and the devices of each model."""

import logging
from collections.abc import Sequence
from statistics import median_low

from aggregator.aggregation.aggregate import Aggregate
from aggregator.aggregation.job import ClosingJob, Remark
from fedge.algorithms.rules.bounds import Factors, bounded_steps

NAMED = 5
"""The largest number of devices named in one line."""


def bounded(factors: Factors, found: Aggregate, *, reads_steps: bool) -> list[str]:
    """Log lines on devices that count for less than they sent, one for each bound.

    `reads_steps`: whether the rule may read the devices' steps; `mean` does not.
    """
    lighter = [
        f"{d} (n_k = {sent})"
        for d, sent, counts in zip(found.devices, found.samples, found.bounds.weights, strict=True)
        if counts < sent
    ]
    lines = shortened(found, "differences")
    if lighter:
        lines.append(
            f"the weight of {_names(lighter)} is bounded at {max(found.bounds.weights)} samples: "
            f"{factors.max_weight:g} times the median n_k of {found.bounds.median_samples}, "
            "or less for an update that is far from the model"
        )
    counted = bounded_steps(found.steps, factors)
    fewer = [
        f"{d} ({told} steps)"
        for d, told, counts in zip(found.devices, found.steps, counted, strict=True)
        if counts < told
    ]
    if fewer and reads_steps:
        lines.append(
            f"the steps of {_names(fewer)} are bounded at {max(counted)}: {factors.max_weight:g} times the "
            f"median of {median_low([max(1, each) for each in found.steps])}"
        )
    return lines


def shortened(found: Aggregate, what: str) -> list[str]:
    """A log line on devices whose vectors count as shorter than they are; [] if there are none."""
    devices = [d for d, scale in zip(found.devices, found.bounds.scales, strict=True) if scale < 1]
    if not devices:
        return []
    times = found.bounds.clip / (found.bounds.median_norm or 1.0)
    return [
        f"the {what} of {_names(devices)} are clipped to {times:g} times the median "
        f"norm of {found.bounds.median_norm:.3g}"
    ]


def _names(devices: Sequence[str]) -> str:
    more = len(devices) - NAMED
    return ", ".join(devices[:NAMED]) + (f" and {more} more" if more > 0 else "")


def of_clusters(job: ClosingJob, devices: Sequence[int]) -> tuple[Remark, ...]:
    """A log line on how many devices trained each shared model, if there are several."""
    if not devices:
        return ()
    each = ", ".join(f"model {number} {count}" for number, count in enumerate(devices))
    return ((logging.INFO, f"round {job.round}: devices by the shared model that they trained: {each}"),)
