"""What a model's files, the log and the metrics tell of its differential privacy."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from fedge.privacy.accountant import Shares, Training, guarantee
from fedge.privacy.mechanism import Grid
from fedge.wire.messages.protection import Privacy


@dataclass(frozen=True)
class Spent:
    """What so many releases of a declared training cost."""

    epsilon: float
    releases: int


@lru_cache(maxsize=16)
def spent(
    multiplier: float, adjacency: Any, delta: float, releases: int, shares: Shares | None = None
) -> Spent:
    """The ε of the releases so far, at the declared δ.

    Args:
        multiplier: z of each.
        adjacency: the declared kind of neighbour.
        delta: δ.
        releases: their number.
        shares: of distributed noise; None: it is of another kind.

    Raises:
        ConfigError: dp-accounting is not installed.
    """
    if releases == 0:
        return Spent(0.0, 0)
    training = replace(Training(multiplier, releases, shares=shares), adjacency=adjacency)
    return Spent(guarantee(training, training.accounted(delta)).epsilon, releases)


def spent_of(privacy: Privacy, releases: int | None = None) -> Spent:
    """The same of what is promised; `releases`: None: as many as its witness tells."""
    count = privacy.witness.number if releases is None else releases
    told, shares = privacy.shares, None
    if told is not None:
        grid = Grid(privacy.clip, told.size, told.grid_bits)
        shares = Shares(told.devices, told.size, grid.sensitivity)
    return spent(privacy.noise_multiplier, privacy.adjacency, privacy.delta, count, shares)


def privacy_entry(privacy: Privacy, releases: int) -> dict[str, Any]:
    """The entry of a manifest, and of the metadata of a model's files.

    Args:
        privacy: what was promised to devices.
        releases: how many of the declared releases the model follows from.
    """
    found = spent_of(privacy, releases)
    return {
        "mechanism": privacy.mechanism,
        "unit": privacy.unit,
        "adjacency": privacy.adjacency,
        "epsilon_spent": found.epsilon,
        "epsilon": privacy.epsilon,
        "delta": privacy.delta,
        "releases": releases,
        "rounds": privacy.rounds,
        "noise_multiplier": privacy.noise_multiplier,
        "clip": privacy.clip,
        "cohort": privacy.cohort,
    }
