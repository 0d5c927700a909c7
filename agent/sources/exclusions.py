"""Values that the owner declares to be no measurements: they are missing values from then on.

`[data] missing_values` lists numbers and texts that loggers write when there is no reading. `[data] range`
gives the range in which the values of a column can be true. Numbers are excluded in columns of numbers and
among answers that are numbers. Among labels that are texts only texts are excluded, because a class may be
called `85`.
"""

from collections.abc import Hashable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from agent.settings.data import DataSettings
from agent.sources.columns import Absence
from agent.sources.samples import Exclusion, Samples, Source
from fedge.data.disclosure import listing, public
from fedge.errors import DataError


@dataclass(frozen=True)
class Excluding:
    """A source without the values that its owner excludes."""

    source: Source
    settings: DataSettings

    def fingerprint(self) -> Hashable:
        """The source's own."""
        return self.source.fingerprint()

    def read(self) -> Samples:
        """Read everything that is there now.

        Raises:
            DataError: the source raises it; or `range` names a column that the data do not have.
        """
        return exclude(self.source.read(), self.settings)


def excluding(source: Source, settings: DataSettings) -> Source:
    """Wrap a source so that the values that its owner excludes are missing values."""
    return Excluding(source, settings) if settings.range or settings.missing_values else source


def exclude(samples: Samples, settings: DataSettings, *, all_columns: bool = True) -> Samples:
    """Replace the values that the owner excludes by NaN, in a copy.

    Numbers are compared as float32, in which the data are kept. A range is compared with the numbers as they
    were read, where these are known. A column without a name is called by its number, counted from 0.

    Args:
        samples: the samples that a source has read.
        settings: `missing_values` and `range`.
        all_columns: whether every column that `range` names must be there.

    Raises:
        DataError: `range` names a column that is not there, and `all_columns` is set.
    """
    names = samples.columns or tuple(map(str, range(samples.X.shape[1])))
    for name in settings.range if all_columns else ():
        if name not in names:
            raise DataError(
                f"{samples.name}: there is no column {name!r}, which [data] range names; "
                f"the columns are {listing(names)}",
                public("there is no column of a name in [data] range"),
            )
    if not settings.range and not settings.missing_values:
        return samples
    X, found = samples.X.copy(), list(samples.exclusions)
    for j, name in enumerate(names):
        for why, bad in _excluded(X[:, j], settings, name, samples.rest.get(j)):
            found.append(Exclusion(j, why, int(bad.sum()), int(bad.argmax())))
            X[bad, j] = np.nan
    y, unanswered = samples.y, samples.unanswered
    if y is not None and y.dtype.kind in "fiu":
        y = y.copy()
        for why, bad in _excluded(y, settings, None):
            rows = np.asarray(bad.reshape(len(y), -1).any(axis=1))
            found.append(Exclusion(None, why, int(bad.sum()), int(rows.argmax())))
            if y.dtype.kind == "f":
                y[bad] = np.nan
            else:
                unanswered = rows if unanswered is None else unanswered | rows
    elif y is not None and y.dtype.kind == "U" and settings.missing_values:
        absent = Absence(settings.missing_values).texts
        bad = np.array([str(label).strip().lower() in absent for label in y.tolist()], dtype=np.bool_)
        if bad.any():
            found.append(Exclusion(None, ", ".join(sorted(absent)), int(bad.sum()), int(bad.argmax())))
            y = np.where(bad, "", y)
    return replace(samples, X=X, y=y, unanswered=unanswered, exclusions=tuple(found))


def numbers(settings: DataSettings) -> tuple[float, ...]:
    """Return the numbers that stand for a missing value. The source handles the texts."""
    return tuple(code for code in settings.missing_values if not isinstance(code, str))


def _excluded(
    values: NDArray[np.float32],
    settings: DataSettings,
    name: str | None,
    rest: NDArray[np.float64] | None = None,
) -> list[tuple[str, NDArray[np.bool_]]]:
    """Return why values are excluded, and where. A value with two reasons counts for the first one."""
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
        masks = [(f"{code:g}", single == np.float32(code)) for code in numbers(settings)]
    if name is not None and (between := settings.range.get(name)) is not None:
        low, high = between
        taken = (
            np.logical_or.reduce([mask for _, mask in masks]) if masks else np.zeros(len(single), np.bool_)
        )
        if rest is None:
            outside = (single < np.float32(low)) | (single > np.float32(high))
        else:
            exact = values + rest
            outside = (exact < low) | (exact > high)
        masks.append((f"outside of {low:g} … {high:g}", outside & ~taken))
    return [(why, mask) for why, mask in masks if mask.any()]
