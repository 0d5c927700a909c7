"""Find out whether there are enough rows of each class, rows to measure models on, and rounds."""

from collections.abc import Mapping, Sequence

from fleet.demo.figure import ACCURACY, Figure
from fleet.trial.finding import Cause, Finding

FEW = 30
"""With fewer rows over the fleet a class can hardly be learnt, or measured."""
LAST = 0.2
"""The share of the rounds in which a model that has finished learning does not improve."""
BETTER = 0.01
"""The improvement that counts: in accuracy, or as a share of the RMSE."""


def too_few(by_class: Mapping[str, int], held: int) -> list[Finding]:
    """Classes of which the fleet has few rows, and a held-out part that is too small to tell models apart."""
    found = []
    rare = [name for name, rows in by_class.items() if rows < FEW]
    if rare:
        least = min(by_class[name] for name in rare)
        named = ", ".join(f"{name} ({by_class[name]})" for name in rare[:5])
        found.append(
            Finding(
                Cause.TOO_FEW,
                f"few rows over all devices of {named}",
                f"record at least {FEW} rows of each class",
                least,
                FEW,
            )
        )
    if held < 2 * FEW:
        found.append(
            Finding(
                Cause.TOO_FEW,
                f"only {held} rows are held out on all devices together, so one row more or less is "
                f"{1 / max(held, 1):.1%}",
                "record more rows, or hold out a larger part (--holdout 0.3)",
                held,
                2 * FEW,
            )
        )
    return found


def unfinished(figure: Figure, curve: Sequence[float]) -> Finding | None:
    """Whether the model was still becoming better: the last fifth of the rounds against the fifth before.

    Args:
        figure: the figure.
        curve: its values after each round, the newest last.
    """
    part = max(1, round(LAST * len(curve)))
    if len(curve) < 2 * part:
        return None
    before, last = (sum(some) / part for some in (curve[-2 * part : -part], curve[-part:]))
    better = last - before if figure is ACCURACY else (before - last) / before if before else 0.0
    if better < BETTER:
        return None
    return Finding(
        Cause.UNFINISHED,
        f"the model was still becoming better: {figure.title} went from {figure.shown(before)} to "
        f"{figure.shown(last)} in the last {f'{part} rounds' if part > 1 else 'round'}",
        "more rounds (--rounds, --seconds)",
        better,
        BETTER,
    )
