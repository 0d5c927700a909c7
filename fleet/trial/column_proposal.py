"""Propose a model for rows, from their columns: features, classes or a target, and a network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, log2
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from agent.sources import Samples
from fedge.errors import DataError
from fedge.nn.spec import Dense, ReLU
from fleet.trial.answers import classes_of, target_of
from fleet.trial.columns import choose, require, unfit

UNITS = (16, 64)
"""The narrowest and the widest hidden layer that is proposed."""
_NOTHING: Mapping[str, str] = MappingProxyType({})


class NothingToLearnFrom(DataError):  # noqa: N818 (a finding about the data)
    """No column is left."""


@dataclass(frozen=True)
class Proposal:
    """A proposal for `[model]` of `federation.toml`."""

    features: tuple[str, ...]
    """The input columns, in the file's order."""
    classes: tuple[str, ...] | None
    """The class names of a classification: numbers in their order, other names by the alphabet."""
    targets: tuple[str, ...] | None
    """The target of a regression."""
    left_out: tuple[tuple[str, str], ...]
    """Columns that are not used, each with the reason, in the file's order."""
    layers: tuple[Dense | ReLU, ...]
    """The hidden layers."""
    incomplete: int = 0
    """The number of rows without a feature or answer; `[data] missing` says what to do with them."""
    doubts: tuple[str, ...] = ()
    """Warnings about values whose meaning is not certain."""


def propose(
    samples: Samples,
    label: str | None,
    regression: str | None,
    apart: Mapping[str, str] = _NOTHING,
    wanted: Sequence[str] | None = None,
) -> Proposal:
    """Propose a model for `samples`.

    Args:
        samples: as a source reads them; a CSV's source has the label, so that the answers are in `y`.
        label: the column of class names; None, and no `regression` either: the classes are in `y`.
        regression: the column to predict as a number, instead of classes.
        apart: other columns that are no features, by name with the reason: they name the device, or the
            recording.
        wanted: the features, if the caller has chosen them.

    Raises:
        DataError: there is no such column, or it holds no classes or no numbers.
        NothingToLearnFrom: no feature is left.
    """
    if samples.nameless is not None:
        raise samples.nameless
    columns = samples.columns or tuple(f"x{j}" for j in range(samples.X.shape[1]))
    for role, name in (("label", label), ("target", regression)):
        if name is not None and samples.columns is not None:
            require(samples.name, columns, role, name)
    targets = None if regression is None else (target_of(samples, columns, regression),)
    classes, of_rows = (None, None) if regression is not None else classes_of(samples, label)
    answer = regression if regression is not None else label
    reasons = {
        name: apart.get(name) or unfit(samples, j, name, of_rows)
        for j, name in enumerate(columns)
        if name != answer
    }
    features = tuple(name for name, why in reasons.items() if why is None)
    left_out = {name: why for name, why in reasons.items() if why is not None}
    if wanted is not None:
        features, left_out = choose(wanted, features, left_out)
    if not features:
        elsewhere = {name: why for name, why in apart.items() if name not in (*columns, answer)}
        told = "; ".join(f"{name!r} {why}" for name, why in (left_out | elsewhere).items())
        raise NothingToLearnFrom(
            f"{samples.name}: no column is left to learn from: {told or 'there is no other'}"
        )
    used = [columns.index(name) for name in (*features, *(targets or ())) if name in columns]
    return Proposal(
        features=features,
        classes=classes,
        targets=targets,
        left_out=tuple(left_out.items()),
        layers=_layers(len(features), 1 if classes is None else len(classes)),
        incomplete=_incomplete(samples, used, of_rows),
    )


def _incomplete(samples: Samples, used: list[int], classes: NDArray[np.int64] | None) -> int:
    lacking = np.isnan(samples.X[:, used]).any(axis=1)
    if classes is not None:
        lacking |= classes < 0
    return int(lacking.sum())


def _layers(features: int, outputs: int) -> tuple[Dense | ReLU, ...]:
    """One hidden layer, twice as wide as inputs and outputs together, up to the next power of two."""
    units = 2 ** ceil(log2(2 * (features + outputs)))
    return Dense(units=min(max(units, UNITS[0]), UNITS[1])), ReLU()
