"""The stopping rule: whether learning is over, given its progress. Pure."""

from dataclasses import dataclass

from aggregator.core.progress import FIGURES, FigureName, Progress


@dataclass(frozen=True)
class StoppingRule:
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
