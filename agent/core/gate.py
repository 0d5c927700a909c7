"""The owner's gate, which decides whether a new model replaces the one that `predict` uses. Pure.

It compares the scores of both models on this device's own held-out rows. A new model that cannot be measured
is not used. If the model in use cannot be measured, any model that can be measured is better.
"""

from dataclasses import dataclass

from fedge.data.scores import Classification, Regression

Scores = Classification | Regression


@dataclass(frozen=True)
class GateDecision:
    """The verdict on a new model."""

    accepted: bool
    why: str
    """The reason, for the device's own log."""


def compare(used: Scores | str, new: Scores | str, tolerance: float) -> GateDecision:
    """Whether the new model may be used.

    Args:
        used: the scores of the model in use, or the reason why it could not be measured.
        new: the scores of the new model, or the reason why it could not be measured.
        tolerance: how much worse the new model may be: its accuracy may be lower by this number, or its RMSE
            larger by this share. With several targets the mean share counts.
    """
    if isinstance(new, str):
        return GateDecision(False, f"the new model cannot be measured: {new}")
    if isinstance(used, str):
        return GateDecision(True, f"the model in use cannot be measured any more: {used}")
    if isinstance(new, Classification) and isinstance(used, Classification):
        told = f"accuracy {new.accuracy:.3f} on {sum(new.counts)} held-out rows, in use {used.accuracy:.3f}"
        # Accuracies are fractions of a few rows: 0.9 - 0.05 must not be more than 0.85.
        return GateDecision(new.accuracy >= used.accuracy - tolerance - 1e-9, told)
    if isinstance(new, Regression) and isinstance(used, Regression):
        if new.unanswered > used.unanswered:
            told = f"it has no answer to {new.unanswered} held-out rows, the one in use to {used.unanswered}"
            return GateDecision(False, told)
        if new.targets == used.targets:
            ratio = sum(map(_ratio, new.rmse, used.rmse)) / len(new.rmse)
            told = f"RMSE {ratio:.3f} times that of the model in use, on {new.rows} held-out rows"
            return GateDecision(ratio <= 1 + tolerance + 1e-9, told)
    return GateDecision(True, "it answers another question than the model in use")


def _ratio(new: float, used: float) -> float:
    if used == 0:
        return 1.0 if new == 0 else float("inf")
    return new / used
