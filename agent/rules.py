"""The rules for a device's data that are in force: what its owner said, else what the task asks for.

Each rule has a default, with which nothing is left out that nobody spoke of.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.config import DataSettings, Holdout, Missing, UnknownLabels
from fedge.messages import Task


@dataclass(frozen=True)
class Rules:
    """What is done with rows that cannot be used as they are."""

    missing: Missing = "refuse"
    """With a row that has a missing value."""
    holdout: Holdout = field(default_factory=Holdout)
    """Which rows are kept for evaluation."""
    gap: int = 0
    """Rows dropped between the training and the held-out part."""
    unknown_labels: UnknownLabels = "refuse"
    """With a row whose class the task does not know."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """The class that is meant by a text in the data."""


DEFAULTS = Rules()


def effective(settings: DataSettings, task: Task | None) -> Rules:
    """The rules in force for one source and one task.

    Args:
        settings: of the source; what is None there was not said by the owner.
        task: what is learnt; None: it is not known yet.
    """
    return Rules(
        missing=DEFAULTS.missing if settings.missing is None else settings.missing,
        holdout=DEFAULTS.holdout if settings.holdout is None else settings.holdout,
        gap=DEFAULTS.gap if settings.gap is None else settings.gap,
        unknown_labels=DEFAULTS.unknown_labels
        if settings.unknown_labels is None
        else settings.unknown_labels,
        labels=settings.labels,
    )
