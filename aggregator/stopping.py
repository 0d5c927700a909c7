"""When learning is over: a function of the closed rounds, so that a restart decides the same."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Progress:
    """What the closed training rounds have brought so far."""

    rounds: int = 0
    accuracy: float | None = None
    """Of the newest model whose devices' held-out parts have been asked: it lags one round behind."""
    best_loss: float | None = None
    since_best: int = 0
    """Rounds since the held-out loss last improved."""
    weight_change: float | None = None
    """‖w' - w‖ / ‖w‖ of the last round."""

    def after(self, accuracy: float | None, loss: float | None, weight_change: float) -> "Progress":
        """The progress with one more round; `accuracy` and `loss` are of the model it began from."""
        better = loss is not None and (self.best_loss is None or loss < self.best_loss)
        return replace(
            self,
            rounds=self.rounds + 1,
            accuracy=accuracy,
            best_loss=loss if better else self.best_loss,
            since_best=0 if better else self.since_best + (loss is not None),
            weight_change=weight_change,
        )


@dataclass(frozen=True)
class Stopping:
    """The rule; the same keys as `[stopping]`."""

    rounds: int
    accuracy: float | None = None
    patience: int | None = None
    weight_change: float | None = None

    def reason(self, progress: Progress) -> str | None:
        """Which part of the rule has come true, in words; None: learning goes on."""
        if self.accuracy is not None and (progress.accuracy or 0.0) >= self.accuracy:
            return f"accuracy {progress.accuracy:.4f} reached {self.accuracy}"
        if self.patience is not None and progress.since_best >= self.patience:
            return f"no improvement in {progress.since_best} rounds"
        change = progress.weight_change
        if self.weight_change is not None and change is not None and change < self.weight_change:
            return f"the weights changed by {change:.2e}, less than {self.weight_change:.2e}"
        if progress.rounds >= self.rounds:
            return f"{progress.rounds} rounds"
        return None
