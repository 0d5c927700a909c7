"""Devices whose surveys lie far from the fleet's: they are named in the log, and count as `columns` says."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedge.algorithms.rules.columns import Vector, blocks
from fedge.data.moments import Moments, is_constant

FAR = 10.0
"""Distance from the mean, in spreads, from which on a device is named; honest stations lie within 3 or 4."""
ALMOST_ALL = 0.9
"""If this share of the devices has a property, a device without it is named."""
ENOUGH = 10
"""The fewest devices for that."""
SHOWN = 3
"""The most columns named of one device."""


@dataclass(frozen=True)
class Outlying:
    """One device's survey of one column, unlike the others'."""

    device: str
    column: str
    what: str
    """`mean`, `spread`: `far` spreads of the fleet; `constant`, `missing`: almost no other device's is."""
    far: float = 0.0

    def __str__(self) -> str:
        where = f"{self.device}: column {self.column!r}"
        match self.what:
            case "mean":
                return f"{where}: its mean lies {self.far:.3g} spreads from the fleet's"
            case "spread":
                return f"{where}: it spreads {self.far:.3g} times as far as the fleet's"
            case "constant":
                return f"{where}: it is constant, and varies on almost all others"
            case _:
                return f"{where}: it is missing, and almost all others measured it"


def outlying(
    devices: Sequence[tuple[str, Moments]],
    names: Sequence[str],
    mean: Vector,
    scale: Vector,
    fine: Sequence[int] = (),
) -> tuple[Outlying, ...]:
    """Find the devices that lie far outside. They still count as `robust` says.

    Args:
        devices: each with its moments.
        names: the names of the d columns.
        mean: the fleet's means, of shape (d,).
        scale: the divisors of the frozen layer, of shape (d,).
        fine: the numbers of the columns that are kept in float64: float32 may call them constant.

    Returns:
        The farthest columns of each device, at most `SHOWN`; the farthest devices come first.
    """
    worst: dict[str, list[Outlying]] = {}
    for block in blocks(max(1, len(devices)), len(names)):
        start = block.start
        count, means, m2 = (
            np.stack([getattr(moments, part)[block] for _, moments in devices])
            for part in ("count", "mean", "m2")
        )
        spreads = np.sqrt(m2 / np.maximum(count, 1))
        measured = count > 0
        in_float64 = np.isin(np.arange(start, start + means.shape[1]), fine)
        constant = np.where(in_float64, is_constant(means, spreads, np.float64), is_constant(means, spreads))
        varies = measured & ~constant
        offset = np.where(measured, np.abs(means - mean[block]) / scale[block], 0.0)
        marks = {
            "missing": _lacking(measured, ~measured),
            "constant": np.where(offset > FAR, 0.0, _lacking(varies, measured & ~varies)),
            "mean": offset,
            "spread": np.where(measured, spreads / scale[block], 0.0),
        }
        for what, far in marks.items():
            for k, j in np.argwhere(far > FAR):
                device = devices[k][0]
                shown = far[k, j] if np.isfinite(far[k, j]) else 0.0
                found = Outlying(device, names[start + j], what, float(shown))
                worst[device] = sorted([*worst.get(device, ()), found], key=_farthest)[:SHOWN]
    return tuple(one for some in sorted(worst.values(), key=lambda some: _farthest(some[0])) for one in some)


def _lacking(others: NDArray[np.bool_], lacks: NDArray[np.bool_]) -> Vector:
    """Infinity where a device lacks what almost all others have, else 0; all arrays have shape (n, d)."""
    usual = (others.sum(axis=0) >= ALMOST_ALL * len(others)) & (len(others) >= ENOUGH)
    return np.where(lacks & usual, np.inf, 0.0)


def _farthest(one: Outlying) -> tuple[float, str, str, str]:
    return -one.far, one.device, one.column, one.what
