"""Measured causes for which a fleet may learn badly."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Cause(StrEnum):
    """Why a fleet may learn badly."""

    LABEL_SKEW = "label skew"
    SORTED = "sorted by class"
    GAPS = "gaps"
    TOO_FEW = "too few rows"
    UNLIKE = "a device unlike the others"
    SENTINEL = "values that are no measurements"
    UNFINISHED = "learning was not over"


@dataclass(frozen=True)
class Finding:
    """A cause that was measured."""

    cause: Cause
    text: str
    """What was found and where, with the figure."""
    remedy: str
    """What to do."""
    value: float
    threshold: float
    devices: tuple[str, ...] = ()
    """The devices, the worst first; empty: all."""


def names(devices: Sequence[str], most: int = 3) -> str:
    """The first devices, and how many more there are."""
    more = f" and {len(devices) - most} more" if len(devices) > most else ""
    return ", ".join(devices[:most]) + more
