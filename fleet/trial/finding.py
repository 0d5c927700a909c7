"""A cause why a fleet may learn badly, as it was measured."""

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
    """What was found and where, with its figure."""
    remedy: str
    """What to do."""
    value: float
    threshold: float
    devices: tuple[str, ...] = ()
    """Where it was found, the worst first; empty: everywhere."""


def names(devices: Sequence[str], most: int = 3) -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(devices) - most} more" if len(devices) > most else ""
    return ", ".join(devices[:most]) + more
