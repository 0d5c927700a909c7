"""What may leave a device about its data: names that are known elsewhere, numbers, and reasons.

An error about data has two texts. The full one names files, columns and whatever else helps; it stays on the
device, in its log and in `--check`. The other one travels. It is a `Public`, and only `public` makes one: of
a sentence of the program's own, and of values that cannot hold a piece of the data. Where nobody wrote such a
text, `withheld` stands in its place, so that to forget it gives nothing away.
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

    It is the caller's to know: a name that was read out of the data is not known, even if it looks alike.
    """

    def __init__(self, *names: str) -> None:
        self._names = names

    def __str__(self) -> str:
        return listing([printable(name) for name in self._names])

    def __repr__(self) -> str:
        return listing([repr(name) for name in self._names])


class Agreed(Known):
    """Names of classes that were read out of the data, and that their owner lets be told."""


def public(sentence: str, /, **values: SupportsIndex | float | Known | Public) -> Public:
    """A text that may leave the device.

    Args:
        sentence: with `{name}` where a value is to stand; a literal, never put together of other texts.
        values: numbers, names that are known, and texts that may leave the device already.

    Raises:
        TypeError: a value is something else, for example a text.
    """
    for name, value in values.items():
        if not isinstance(value, SupportsIndex | float | Known | Public):
            raise TypeError(f"{name} may not leave the device: it is a {type(value).__name__}")
    return Public(sentence.format(**values))


def withheld(reason: Reason) -> Public:
    """What is said where nothing more may be."""
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
