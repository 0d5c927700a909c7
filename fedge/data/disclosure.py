"""What may leave a device about its data: names that are known elsewhere, numbers, and reasons.

An error about data has two texts. The full text names files, columns and whatever else helps. It stays on the
device, in its log and in `--check`. The other text is sent to the aggregator. It is a `Public`, and only
`public` makes one: from a sentence of the program's own, and from values that cannot hold a piece of the
data. If an error has no such text, `withheld` replaces it, so that a forgotten text gives nothing away.
"""

from collections.abc import Sequence
from typing import SupportsIndex

from fedge.service.escapes import printable
from fedge.wire.reasons import Reason

MAX_NAMES_SHOWN = 8


class Public(str):
    """A text that may leave the device."""

    __slots__ = ()


class Known:
    """Names that are no secret: those that the task asks for, which came from the aggregator.

    The caller must make sure of that: a name that was read from the data is not known, even if it is equal.
    """

    def __init__(self, *names: str) -> None:
        self._names = names

    def __str__(self) -> str:
        return listing([printable(name) for name in self._names])

    def __repr__(self) -> str:
        return listing([repr(name) for name in self._names])


class Agreed(Known):
    """Names of classes that were read from the data, and that the owner allows the device to send."""


def public(sentence: str, /, **values: SupportsIndex | float | Known | Public) -> Public:
    """A text that may leave the device.

    Args:
        sentence: a literal with `{name}` for each value, never composed from other texts.
        values: numbers, known names, and texts that may already leave the device.

    Raises:
        TypeError: a value is something else, for example a text.
    """
    for name, value in values.items():
        if not isinstance(value, SupportsIndex | float | Known | Public):
            raise TypeError(f"{name} may not leave the device: it is a {type(value).__name__}")
    return Public(sentence.format(**values))


def withheld(reason: Reason) -> Public:
    """The text for a reason, if nothing more may be sent."""
    match reason:
        case Reason.BAD_DATA:
            return public("the data of this device cannot be used as they are; its own log says why")
        case Reason.WRONG_INPUT:
            return public("the data of this device are not what the task asks for; its own log says why")
        case Reason.TOO_FEW_SAMPLES:
            return public("this device has too few samples; its own log says how many")
        case Reason.FAILED:
            return public("the worker failed; this device's own log says why")
        case _:
            return public("this device's own log says why")


def listing(names: Sequence[str]) -> str:
    """Names for a message, the first few of many."""
    shown = ", ".join(names[:MAX_NAMES_SHOWN])
    return shown if len(names) <= MAX_NAMES_SHOWN else f"{shown} and {len(names) - MAX_NAMES_SHOWN} more"
