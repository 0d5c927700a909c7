"""The rules in force for a device's data: the owner's settings, else the task's proposals, else defaults.

With the defaults no row is left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from agent.settings.data import DataSettings, Holdout, Missing, UnknownLabels
from fedge.data.rules import BY, MISSING, UNKNOWN_LABELS
from fedge.wire.messages.task import Task


@dataclass(frozen=True)
class Rules:
    """What to do with rows that cannot be used as they are."""

    missing: Missing = "refuse"
    """What happens to a row that has a missing value."""
    holdout: Holdout = field(default_factory=Holdout)
    """Which rows are kept for evaluation."""
    gap: int = 0
    """The number of rows dropped between the training and the held-out part."""
    unknown_labels: UnknownLabels = "refuse"
    """What happens to a row whose class the task does not know."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """The class that each text in the data stands for."""


DEFAULTS = Rules()


def effective(settings: DataSettings, task: Task | None) -> Rules:
    """Return the rules in force for one source and one task.

    A proposed value that this program does not know counts as not proposed. If it must be known, the device
    does not take part (`fedge.wire.capabilities`).

    Args:
        settings: the section of the source. A rule is None if the owner has not set it.
        task: what is learnt; None: not known yet.
    """
    proposed = _proposed(settings, task)
    return Rules(
        missing=proposed.missing if settings.missing is None else settings.missing,
        holdout=proposed.holdout if settings.holdout is None else settings.holdout,
        gap=proposed.gap if settings.gap is None else settings.gap,
        unknown_labels=proposed.unknown_labels
        if settings.unknown_labels is None
        else settings.unknown_labels,
        labels=settings.labels,
    )


def _proposed(settings: DataSettings, task: Task | None) -> Rules:
    """Return the task's proposals, with defaults for the rest; only defaults if the owner accepts none."""
    said = task.rules if task is not None else None
    if said is None or not settings.accept_rules:
        return DEFAULTS
    known: dict[str, Any] = {} if said.gap is None else {"gap": said.gap}
    if said.missing in MISSING:
        known["missing"] = said.missing
    if said.unknown_labels in UNKNOWN_LABELS:
        known["unknown_labels"] = said.unknown_labels
    if said.holdout is not None:
        parts = {} if said.holdout.part is None else {"part": said.holdout.part}
        by = {"by": said.holdout.by} if said.holdout.by in BY else {}
        known["holdout"] = Holdout(**parts, **by)
    return replace(DEFAULTS, **known)
