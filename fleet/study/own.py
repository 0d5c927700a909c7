"""The models that devices use, each measured on the rows that its device holds out. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from aggregator.ledger.views import RoundRow
from fleet.library.results import Result


@dataclass(frozen=True)
class Own:
    """The figures of one run's devices: accuracies, or for a regression RMSEs."""

    devices: int
    """How many devices were asked in the last round, and hold rows out."""
    mean: float
    """The mean over the devices of the figure of the model that each uses: its own one, or the shared one."""
    worst: float
    """The figure of the device for which it is worst."""
    alone: float | None = None
    """The mean over the devices of the figure of a model that each trained alone; None: none compares."""
    compared: int | None = None
    """How many devices compare the two."""
    worse_off: int | None = None
    """How many of these are worse off than alone by more than one held-out row
    (`aggregator.aggregation.compared`)."""


def own_of(found: Result) -> Own | None:
    """What the devices of a simulation told in the round after the last one, which measures.

    None: there was no such round, because training diverged, the simulation ended early, or nothing is held
    out.
    """
    last = found.history[-1]
    if last.kind != "evaluate":
        return None
    for name, worst in (("accuracy", min), ("rmse", max)):
        used = [
            told.get(f"{name}_personal", told[f"{name}_before"])
            for told in found.figures.values()
            if f"{name}_before" in told
        ]
        if used:
            return Own(len(used), fmean(used), worst(used), *_alone(name, found.figures, last))
    return None


def _alone(
    name: str, figures: Mapping[str, Mapping[str, float]], last: RoundRow
) -> tuple[float | None, int | None, int | None]:
    alone = [told[f"{name}_alone"] for told in figures.values() if f"{name}_alone" in told]
    if not alone:
        return None, None, None
    return fmean(alone), last.compared, last.worse_off
