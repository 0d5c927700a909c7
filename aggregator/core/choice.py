"""Choose the model to export: the best measured one, or the newest. Pure.

The best model of many rounds seems a little better than it is, because its figure is the best of many figures
that vary by chance.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

from aggregator.core.progress import FIGURES, Progress

How = Literal["best", "newest"]


@dataclass(frozen=True)
class Candidate:
    """A closed round's model, and its figures."""

    round: int
    figures: Mapping[str, float] = field(default_factory=dict)
    """The figures that devices measured on their held-out rows, by the names of a round's summary; empty: it
    is not measured."""


@dataclass(frozen=True)
class Choice:
    """The exported model, and the other one beside it."""

    chosen: Candidate
    other: Candidate | None
    """With `best` the newest model, with `newest` the best one; None: none was measured."""
    how: How
    by: str
    """The figure of the comparison, by its name in a round's summary."""
    why: str
    """The reason, in words, for the manifest."""


MEASURES = (
    "accuracy",
    "held_loss",
    "rmse",
    "mae",
    "rmse_mean",
    *(
        f"{name}_{whose}"
        for whose in ("personal", "alone")
        for name in ("accuracy", "held_loss", "rmse", "mae")
    ),
    "use_shared",
    "use_personal",
    "compared",
    "worse_off",
    "shared_worse_off",
)
"""The figures of a round's summary that measure the model that the round began with, and what devices made of
it for themselves."""


def choose(progress: Progress, kept: Collection[int], how: How, *, begun_untrained: bool = False) -> Choice:
    """Choose among the models of a generation.

    Args:
        progress: with all its closed rounds.
        kept: the rounds whose model is still stored; the newest one's is.
        how: the value of `[export] choose`.
        begun_untrained: whether the generation began with a survey. Then the model of its round 0 holds
            random weights, and is not chosen once there is another one, whatever its figures.
    """
    figure, best = FIGURES[progress.by], progress.best
    newest = Candidate(progress.made, measures_of(progress, progress.made))
    if best is not None and best.round == 0 and begun_untrained and progress.made > 0:
        why = "the newest model: no model that was trained is known to be better than the first weights"
        return Choice(newest, newest if how == "best" else None, how, figure.key, why)
    if best is None or best.round not in kept:
        why = f"the newest model: no round has told a {figure.label} yet"
        if best is not None:
            why = (
                f"the newest model: the best was that of round {best.round} ({figure.text(best.value)}), "
                "which the ledger does not keep any more"
            )
        return Choice(newest, newest if how == "best" else None, how, figure.key, why)
    first = Candidate(best.round, _measures(best.figures))
    if how == "newest":
        return Choice(newest, first, how, figure.key, "the newest model, as [export] choose says")
    why = f"the best of the models that were measured: {figure.text(best.value)}"
    return Choice(first, newest, how, figure.key, why)


def measures_of(progress: Progress, number: int) -> Mapping[str, float]:
    """The figures of a round's model, if it was measured last; empty: there are none."""
    return _measures(progress.newest) if progress.rounds and number == progress.measured else {}


def _measures(summary: Mapping[str, float]) -> Mapping[str, float]:
    return {name: summary[name] for name in MEASURES if name in summary}
