"""Judge by the figures whether it pays to let these devices learn together, and name measured causes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleet.demo.figure import ACCURACY, Figure
from fleet.trial.finding import Cause, Finding

POINTS = 0.03
"""The difference of accuracy below which two models count as equally good."""
PART = 0.05
"""The same for an RMSE, as a share of it."""


SPOILS = (Cause.SORTED, Cause.SENTINEL)
"""Causes that also spoil the model of all data in one place, so that no comparison of models shows them."""


class Kind(StrEnum):
    """The kinds of conclusions."""

    PAYS = "pays"
    """Better than alone, and as good as all data in one place."""
    FALLS_SHORT = "falls short"
    """Clearly worse than all data in one place."""
    NOT_NEEDED = "not needed"
    """A device alone is as good."""
    NOTHING_LEARNT = "nothing learnt"
    """No better than an answer that is always the same."""


@dataclass(frozen=True)
class Figures:
    """The figures of the models on the held-out rows of all devices."""

    figure: Figure
    together: float
    alone: float
    """Mean over the devices' own models."""
    central: float
    constant: float
    """The figure of always answering the most frequent class, or the mean."""
    together_own: float
    """Mean over the devices, each on its own rows."""
    alone_own: float
    noise: float
    """Twice the standard deviation, over samples of rows, of the difference of `together` and `central`."""

    def ahead(self, one: float, other: float) -> float:
        """How much better `one` is than `other`: in accuracy, or as a share of the RMSE `other`."""
        if self.figure is ACCURACY:
            return one - other
        return (other - one) / other if other else 0.0

    @property
    def margin(self) -> float:
        """The smallest difference that counts."""
        return POINTS if self.figure is ACCURACY else PART


@dataclass(frozen=True)
class Conclusion:
    """The judgement, in words and for programs."""

    kind: Kind
    pays: bool
    """Whether the shared model is better than the devices' own, on the rows of all."""
    reaches_central: bool
    title: str
    sentences: tuple[str, ...]
    causes: tuple[Finding, ...]
    """The measured causes, if something is wrong."""

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "kind": self.kind.value,
            "pays": self.pays,
            "reaches_central": self.reaches_central,
            "text": " ".join((self.title, *self.sentences)),
            "causes": [finding.cause.value for finding in self.causes],
        }


def judge(figures: Figures, findings: Sequence[Finding]) -> Conclusion:
    """Judge a fleet.

    Args:
        figures: those of its models.
        findings: the measured findings on its data.
    """
    shown, margin = figures.figure.shown, figures.margin
    gain = figures.ahead(figures.together, figures.alone)
    short = figures.ahead(figures.central, figures.together)
    pays, reaches = gain > margin, short <= margin
    nothing = figures.ahead(figures.together, figures.constant) <= 0
    if nothing:
        kind, title = Kind.NOTHING_LEARNT, "Nothing was learnt together."
        pays = False
    elif not reaches:
        kind = Kind.FALLS_SHORT
        title = (
            "It pays, but all data in one place would give a better model."
            if pays
            else "It does not pay as it is."
        )
    elif pays:
        kind, title = Kind.PAYS, "It pays to learn together."
    else:
        kind, title = Kind.NOT_NEEDED, "It works, but a device alone is about as good."
    better = "higher" if figures.figure is ACCURACY else "lower"
    sentences = [
        f"The shared model reaches {figures.figure.title} {shown(figures.together)} on the held-out rows of "
        f"all devices ({better} is better); a device alone reaches {shown(figures.alone)} on average, and "
        f"all data in one place {shown(figures.central)}."
    ]
    if nothing:
        always = "the most frequent class" if figures.figure is ACCURACY else "the mean"
        sentences.append(f"Always answering {always} reaches {shown(figures.constant)}.")
        if figures.ahead(figures.central, figures.constant) <= margin:
            sentences.append(
                "All data in one place give hardly more: the columns may not determine the answer."
            )
    if figures.ahead(figures.alone_own, figures.together_own) > margin:
        sentences.append(
            f"On its own rows a device alone is better ({shown(figures.alone_own)} against "
            f"{shown(figures.together_own)} on average). The shared model helps on data such as only other "
            "devices have recorded."
        )
    if not reaches and short <= figures.noise:
        sentences.append(
            "The difference from all data in one place is smaller than the uncertainty of so few "
            f"held-out rows (± {figures.noise:.1%})."
        )
    spoilt = [one for one in findings if one.cause in SPOILS]
    if spoilt and reaches and not nothing:
        sentences.append(
            f"A problem in the data makes all of these models worse: {_named(spoilt)}; correct it, and "
            "try again."
        )
    wrong = nothing or not reaches
    if wrong and findings:
        sentences.append(f"Possible causes that were measured: {_named(findings)}.")
    elif wrong:
        sentences.append(
            "None of the checks of the data explains it: try more rounds (--rounds), and look at the curve "
            "in the report."
        )
    return Conclusion(kind, pays, reaches, title, tuple(sentences), tuple(findings if wrong else spoilt))


def _named(findings: Sequence[Finding], most: int = 3) -> str:
    """The first causes, each with the devices where it is worst; the warnings list all."""
    named = []
    for one in findings:
        where = ", ".join(one.devices[:most]) + (", …" if len(one.devices) > most else "")
        named.append(f"{one.cause}{f' ({where})' if where else ''}")
    return "; ".join(dict.fromkeys(named))


def constant(figure: Figure, answers: NDArray[Any], truth: NDArray[Any]) -> float:
    """The figure of an answer that is always the same: the best one by the training rows.

    Args:
        figure: the figure.
        answers: those of all training rows: class indices of shape (n,), or targets of shape (n, 1).
        truth: the same of the held-out rows, h of them.
    """
    if figure is ACCURACY:
        return float((truth == np.bincount(answers).argmax()).mean())
    return float(np.sqrt(np.square(truth.astype(np.float64) - answers.mean(axis=0, dtype=np.float64)).mean()))


def noise(figure: Figure, one: NDArray[Any], other: NDArray[Any], truth: NDArray[Any]) -> float:
    """Twice the standard deviation of the difference of two models' figures on the same h rows.

    Of accuracies: rows where just one of the two is right, b + c of them, as in McNemar 1947, "Note on the
    sampling error of the difference between correlated proportions or percentages", Psychometrika 12(2):
    √(b + c) / h. Of RMSE, as a part of the second: from the spread of the differences of squared errors, by
    d√x = dx / (2 √x).
    """
    h = len(truth)
    if figure is ACCURACY:
        differ = (one.argmax(axis=1) == truth) != (other.argmax(axis=1) == truth)
        return 2 * math.sqrt(int(differ.sum())) / h
    target = truth.reshape(h, -1).astype(np.float64)
    first, second = (np.square(outputs - target).mean(axis=1) for outputs in (one, other))
    mean = float(second.mean())
    return float((first - second).std() / math.sqrt(h) / mean) if mean else 0.0
