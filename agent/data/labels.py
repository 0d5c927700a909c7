"""Reads the labels in a device's data as the classes of a task.

A text is the name of a class, or a key of `[data] labels`, which gives the class. A whole number is a name
too if the name of any class is a number ("0", "1"). Otherwise it counts the classes, beginning with
`[data] first_class`.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.sources.samples import Samples
from fedge.data.disclosure import listing

MISSING, UNKNOWN = -1, -2
SUGGESTED = 5
"""For how many unknown texts a class is suggested."""


@dataclass(frozen=True)
class Labels:
    """A column of labels, read for a task."""

    indices: NDArray[np.int64]
    """Shape (n,): each row's class, `MISSING` or `UNKNOWN`."""
    names: tuple[str, ...]
    """The classes, in the order of their numbers."""
    unknown: Mapping[str, int]
    """Texts of the data that name no class, with the number of rows of each, the largest first."""
    counted: bool
    """Whether the labels are numbers that count the classes."""
    lowest: int
    """The lowest number in the data; 0 if numbers do not count the classes."""
    highest: int
    """The highest number in the data; -1 if numbers do not count the classes."""

    @property
    def from_one(self) -> bool:
        """Whether the numbers run from 1 to the number of classes."""
        return self.counted and self.lowest == 1 and self.highest == len(self.names)


def read_labels(
    samples: Samples, classes: Sequence[str], meant: Mapping[str, str], first_class: int | None
) -> Labels:
    """Read labels of shape (n,), text or integers.

    Args:
        samples: the samples, whose `y` holds the labels.
        classes: the classes of the task, in the order of its outputs.
        meant: the class that each text in the data stands for.
        first_class: the number of the first class, if numbers count the classes; None: 0.
    """
    assert samples.y is not None
    y: NDArray[Any] = samples.y
    counted = not are_numbers(classes) and y.dtype.kind != "U"
    indices = {name: index for index, name in enumerate(classes)}
    if counted:
        indices = {str(index + (first_class or 0)): index for index in range(len(classes))}
    named = {name: index for index, name in enumerate(classes)}
    indices |= {text: named[name] for text, name in meant.items() if name in named}
    values, inverse = np.unique(y if y.dtype.kind in "iuU" else y.astype(np.int64), return_inverse=True)
    texts = [str(value) for value in values]
    codes = [indices.get(text, UNKNOWN) if text else MISSING for text in texts]
    found = np.array(codes, dtype=np.int64)[inverse.reshape(-1)]
    answered = np.ones(len(y), dtype=np.bool_)
    if samples.unanswered is not None:
        found[samples.unanswered] = MISSING
        answered = ~samples.unanswered
    rows = np.bincount(inverse.reshape(-1)[answered], minlength=len(texts))
    strange = {
        text: int(n) for text, code, n in zip(texts, codes, rows, strict=True) if code == UNKNOWN and n
    }
    numbers = [int(value) for value, n in zip(values, rows, strict=True) if n] if counted else []
    return Labels(
        found,
        tuple(classes),
        dict(sorted(strange.items(), key=lambda item: -item[1])),
        counted,
        min(numbers, default=0),
        max(numbers, default=-1),
    )


def are_numbers(classes: Sequence[str]) -> bool:
    """Whether the name of any class is a whole number. Then numbers do not count the classes."""
    return any(re.fullmatch(r"-?\d+", name) for name in classes)


def suggestions(unknown: Sequence[str], classes: Sequence[str]) -> dict[str, str]:
    """Return for each text the class that it probably stands for, if one is similar.

    >>> suggestions(["Walk", "sitting", "run"], ["walk", "sit", "jump"])
    {'Walk': 'walk', 'sitting': 'sit'}
    """
    simple = {_simple(name): name for name in classes}
    found: dict[str, str] = {}
    for text in unknown:
        near = difflib.get_close_matches(_simple(text), simple, n=1)
        if near:
            found[text] = simple[near[0]]
    return found


def advice(unknown: Mapping[str, int], classes: Sequence[str]) -> str:
    """Return the remedy for texts that name no class, for the device's owner. It quotes the data."""
    texts = list(unknown)
    near = suggestions(texts[:SUGGESTED], classes)
    shown = listing([f"{text!r} ({unknown[text]} rows)" for text in texts])
    drop = '[data] unknown_labels = "drop" leaves them out'
    if not near:
        return f"their labels are {shown}; {drop}"
    meant = ", ".join(f"{key(text)} = {_quoted(name)}" for text, name in near.items())
    named = ", ".join(f"{name!r} by {text!r}" for text, name in near.items())
    return f"their labels are {shown}; did you mean {named}? Then set [data] labels = {{ {meant} }}; {drop}"


def _simple(text: str) -> str:
    return re.sub(r"[\W_]+", " ", text).strip().casefold()


def key(text: str) -> str:
    """Write a key in TOML, without quotes if possible."""
    return text if re.fullmatch(r"[A-Za-z0-9_-]+", text) else _quoted(text)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
