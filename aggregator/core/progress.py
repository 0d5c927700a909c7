"""The progress of a generation and its best model, as functions of its closed rounds. Pure.

So the aggregator finds the same again after a restart.

Devices measure the model that a round begins from. So the figures of round 12 describe the model of round 11.
The newest model is measured only if one more round asks for that alone (a round of kind `evaluate`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from aggregator.phases.phase import phase_of
from fedge.frozen import replace

FigureName = Literal["loss", "accuracy", "rmse", "mae"]


@dataclass(frozen=True)
class Figure:
    """One figure of the devices' held-out parts by which a model may be better than another."""

    key: str
    """In a round's summary."""
    label: str
    higher: bool = False
    """Whether a larger value is better."""

    def better(self, value: float, than: float) -> bool:
        """Whether a model with this value is better than one with that."""
        return value > than if self.higher else value < than

    def text(self, value: float) -> str:
        """The figure as text."""
        return f"{self.label} {value:.4g}" if value >= 10 else f"{self.label} {value:.4f}"


FIGURES: Mapping[FigureName, Figure] = {
    "loss": Figure("held_loss", "held-out loss"),
    "accuracy": Figure("accuracy", "accuracy", higher=True),
    "rmse": Figure("rmse", "RMSE"),
    "mae": Figure("mae", "MAE"),
}
FIRST_ROUNDS = 2
"""After this many training rounds in a row without a figure that the rule needs, it is logged."""


@dataclass(frozen=True)
class Best:
    """The best model that was measured."""

    round: int
    value: float
    figures: Mapping[str, float] = field(default_factory=dict, compare=False)
    """The summary of the round that measured it."""


@dataclass(frozen=True)
class Progress:
    """The progress of a generation, from its closed rounds."""

    by: FigureName = "loss"
    """The figure that says which model is better."""
    rounds: int = 0
    """Training rounds."""
    last: int = 0
    """The number of the newest closed round."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """The summary of the last training round; its figures are of the model it began from."""
    final: Mapping[str, float] | None = None
    """The summary of the round after it, if that only measured; its figures are of the newest model."""
    best: Best | None = None
    since_best: int = 0
    """Training rounds since the figure last improved, of those that tell it."""
    untold: Mapping[FigureName, int] = field(default_factory=dict)
    """By figure: the newest training rounds in a row that do not tell it."""
    weight_change: float | None = None
    """‖w' - w‖ / ‖w‖ of the last round."""

    @property
    def measured(self) -> int:
        """The round whose model was measured last."""
        return self.last - 1

    @property
    def made(self) -> int:
        """The round that made the newest model."""
        return self.last if self.final is None else self.measured

    @property
    def newest(self) -> Mapping[str, float]:
        """The figures measured last."""
        return self.figures if self.final is None else self.final

    def after(self, summary: Mapping[str, float]) -> "Progress":
        """The progress with one more training round; its figures are of the model it began from."""
        value = summary.get(FIGURES[self.by].key)
        better = self._better(value)
        return replace(
            self,
            rounds=self.rounds + 1,
            last=self.last + 1,
            figures=summary,
            final=None,
            best=Best(self.last, value, summary) if better and value is not None else self.best,
            since_best=0 if better else self.since_best + (value is not None),
            untold={
                name: 0 if figure.key in summary else self.untold.get(name, 0) + 1
                for name, figure in FIGURES.items()
            },
            weight_change=summary["weight_change"],
        )

    def after_measuring(self, summary: Mapping[str, float]) -> "Progress":
        """The progress with one more round that only measured the newest model: no rule looks at it.

        What ended learning stays true, whatever the newest model turns out to be.
        """
        value = summary.get(FIGURES[self.by].key)
        better = self._better(value)
        return replace(
            self,
            last=self.last + 1,
            final=summary,
            best=Best(self.last, value, summary) if better and value is not None else self.best,
        )

    def _better(self, value: float | None) -> bool:
        if value is None:
            return False
        return self.best is None or FIGURES[self.by].better(value, self.best.value)


def progress_of(history: Iterable[tuple[str, Mapping[str, float]]], by: FigureName) -> Progress:
    """The progress of a generation's closed rounds after its first: kind and summary of each, in order."""
    progress = Progress(by)
    for kind, summary in history:
        progress = phase_of(kind).progress(progress, summary)
    return progress
