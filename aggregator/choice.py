"""Which model is exported: the best one that was measured, or the newest. Pure.

The best of many rounds looks a little better than it is: of figures that vary by chance the largest is taken.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

from aggregator.stopping import FIGURES, Progress

How = Literal["best", "newest"]


@dataclass(frozen=True)
class Candidate:
    """A closed round's model, and what is known of it."""

    round: int
    figures: Mapping[str, float] = field(default_factory=dict)
    """What devices measured on the rows that they hold out, by the names of a round's summary; empty: it is
    not measured."""


@dataclass(frozen=True)
class Choice:
    """The model for those who use one, and the other one that stays available beside it."""

    chosen: Candidate
    other: Candidate | None
    """With `best` the newest model, with `newest` the best one; None: there is none that was measured."""
    how: How
    by: str
    """The figure that says which is better, by its name in a round's summary."""
    why: str
    """In words."""


MEASURES = ("accuracy", "held_loss", "rmse", "mae", "rmse_mean")
"""What of a round's summary is a measure of the model that it began from."""


def choose(progress: Progress, kept: Collection[int], how: How, *, begun_untrained: bool = False) -> Choice:
    """Choose among the models of a generation.

    Args:
        progress: with all its closed rounds.
        kept: the rounds whose model is still there; that of the newest is.
        how: as `[export] choose`.
        begun_untrained: whether the generation began with a survey: then the model of its round 0 holds
            weights drawn at random, and is not chosen once there is another, however it was measured.
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
    """The figures of a round's model, if it is the one that was measured last; empty: nobody told any."""
    return _measures(progress.newest) if progress.rounds and number == progress.measured else {}


def _measures(summary: Mapping[str, float]) -> Mapping[str, float]:
    return {name: summary[name] for name in MEASURES if name in summary}
