"""When learning is over, and which model was the best: functions of the closed rounds, so that a restart
decides the same.

Devices measure the model that a round begins from. So what round 12 brings is told of the model of round 11,
and the newest model is not measured, until one more round asks for that alone (a round of kind `evaluate`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from aggregator.phases.phase import phase_of

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


@dataclass(frozen=True)
class Stopping:
    """The rule; the same keys as `[stopping]`."""

    rounds: int
    accuracy: float | None = None
    rmse: float | None = None
    patience: int | None = None
    patience_on: FigureName = "loss"
    weight_change: float | None = None

    def reason(self, progress: Progress) -> str | None:
        """The part of the rule that is fulfilled, in words; None: learning goes on."""
        accuracy, rmse = progress.figures.get("accuracy"), progress.figures.get("rmse")
        if self.accuracy is not None and accuracy is not None and accuracy >= self.accuracy:
            return f"accuracy {accuracy:.4f} reached {self.accuracy}"
        if self.rmse is not None and rmse is not None and rmse <= self.rmse:
            return f"RMSE {rmse:.6g} reached {self.rmse:g}"
        if self.patience is not None and progress.since_best >= self.patience:
            return f"no improvement of the {FIGURES[progress.by].label} in {progress.since_best} rounds"
        change = progress.weight_change
        if self.weight_change is not None and change is not None and change < self.weight_change:
            return f"the weights changed by {change:.2e}, less than {self.weight_change:.2e}"
        if progress.rounds >= self.rounds:
            return f"{progress.rounds} rounds"
        return None

    @property
    def needs(self) -> tuple[FigureName, ...]:
        """The figures that the rule needs."""
        wanted: dict[FigureName, bool] = {
            "accuracy": self.accuracy is not None,
            "rmse": self.rmse is not None,
            self.patience_on: self.patience is not None,
        }
        if self.patience_on in ("accuracy", "rmse"):
            wanted[self.patience_on] |= getattr(self, self.patience_on) is not None
        return tuple(name for name, needed in wanted.items() if needed)
