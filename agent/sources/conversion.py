"""Convert what an owner's function returns into plain NumPy arrays, with the places of missing values.

`numpy.asarray` accepts almost anything, and drops what it cannot express: the mask of a masked array, the
unit of a quantity, the fact that an object was not a number. So it is used only for types that it converts
without loss. Other types are converted here, or refused.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.sources.owner_code import run_owner_code
from fedge.data.disclosure import Known, public
from fedge.errors import DataError

FAITHFUL = (np.ndarray, np.memmap, np.matrix)
"""Types of arrays that hold only numbers. Other subclasses of NumPy's arrays carry units. Masked arrays hold
only numbers and a mask; they are not named here, because NumPy would load `numpy.ma`, which takes 2 MB."""
NUMBERS = (bool, int, float, np.number, np.bool_, Decimal, Fraction)


@dataclass(frozen=True)
class Plain:
    """An array, and where its values are missing."""

    data: NDArray[Any]
    missing: NDArray[np.bool_]
    """Of the same shape. Where it is True, the entry of `data` has no meaning."""

    def filled(self) -> NDArray[Any]:
        """Return the array, with NaN for each missing value."""
        if not self.missing.any():
            return self.data
        found = self.data.astype(np.float64)
        found[self.missing] = np.nan
        return found


class _Refused(Exception):  # noqa: N818 (it becomes a DataError, with the array's name)
    """The object cannot be converted; the text says why."""


def plain(source: str, key: str, value: Any) -> Plain:
    """Convert an object from the owner's function to an array.

    Args:
        source: the source's name in error messages.
        key: which of its arrays this is: X, y, series or features.
        value: an array, a table, or sequences of numbers or of text.

    Raises:
        DataError: the object is not an array, or would lose its meaning as one.
    """
    told = public("{key} cannot be converted to an array that means the same", key=Known(key))
    try:
        with run_owner_code(f"{source}: {key}: to convert it", told):
            return _plain(value)
    except DataError as error:
        if isinstance(error.__cause__, _Refused):
            raise DataError(f"{source}: {key} {error.__cause__}", told) from None
        raise


def _plain(value: Any) -> Plain:
    if (
        isinstance(value, Sequence)
        and not isinstance(value, str | bytes | memoryview)
        and not hasattr(value, "__array__")
    ):
        return _sequence(value)
    if not isinstance(value, np.ndarray):
        _check_units(value, type(value))
        value = np.asanyarray(value)
    if any(type(value) is kind for kind in FAITHFUL):
        return _unmasked(np.asarray(value))
    if type(value) is not np.ma.MaskedArray:
        _check_units(value, value)
        if not isinstance(value, np.ma.MaskedArray | np.char.chararray):
            raise _Refused(
                f"is a {type(value).__name__}, which a plain array cannot represent in full; "
                "return a plain numpy.ndarray"
            )
    if not isinstance(value, np.ma.MaskedArray) or value.dtype.names is not None:  # a record is not a number
        return _unmasked(np.asarray(value))
    data, missing = np.asarray(value.data), np.array(np.ma.getmaskarray(value))
    return _objects(data, missing) if data.dtype.kind in "OT" else Plain(data, missing)


def _check_units(value: Any, holder: Any) -> None:
    """Refuse a quantity. Its number alone would be taken to be in the unit of the other devices."""
    if any(getattr(holder, name, None) is not None for name in ("unit", "units")):
        raise _Refused(
            f"is a {type(value).__name__} with a unit; convert it to the unit that all devices use, "
            "and return its plain numbers"
        )


def _sequence(value: Sequence[Any]) -> Plain:
    kinds = _kinds(value)
    if (
        not kinds
        or all(issubclass(kind, NUMBERS[:5]) for kind in kinds)
        or kinds <= {str, np.str_}
        or kinds <= {bytes, np.bytes_}
    ):
        return _unmasked(_array(value))
    scalars = (np.generic, np.ma.core.MaskedConstant)
    if any(hasattr(kind, "__array__") and not issubclass(kind, scalars) for kind in kinds):
        parts = [_plain(part) for part in value]
        if len({part.data.shape for part in parts}) > 1:
            raise _Refused("is no array: its rows differ in length")
        data = np.array([part.data for part in parts])
        return Plain(data, np.array([part.missing for part in parts]))
    return _unmasked(_array(value, dtype=object))


def _kinds(value: Iterable[Any]) -> set[type]:
    """Return the types of the elements of nested sequences."""
    kinds = set(map(type, value))
    nested = {kind for kind in kinds if issubclass(kind, list | tuple)}
    if nested:
        kinds -= nested
        kinds = kinds.union(*(_kinds(part) for part in value if type(part) in nested))
    return kinds


def _array(value: Any, dtype: Any = None) -> NDArray[Any]:
    try:
        found = np.array(value, dtype=dtype)
    except (ValueError, TypeError):
        raise _Refused("is no array: its rows differ in length") from None
    if found.dtype == object and any(isinstance(item, list | tuple) for item in found.flat):
        raise _Refused("is no array: its rows differ in length")
    return found


def _unmasked(data: NDArray[Any]) -> Plain:
    missing = np.zeros(data.shape, dtype=bool)
    return _objects(data, missing) if data.dtype.kind in "OT" else Plain(data, missing)


def _objects(data: NDArray[Any], missing: NDArray[np.bool_]) -> Plain:
    """Convert an array of Python objects: numbers or texts, some of which may be missing."""
    items: list[Any] = data.ravel().tolist()
    if set(map(type, items)) == {float}:  # the usual case
        found = data.astype(np.float64)
        return Plain(found, missing | np.isnan(found))
    absent = missing.ravel() | np.fromiter(map(_is_missing, items), bool, len(items))
    present = [item for item, gone in zip(items, absent, strict=True) if not gone]
    if all(isinstance(item, str) for item in present):
        filled: Any = ["" if gone else item for item, gone in zip(items, absent, strict=True)]
        # If all are missing, nothing shows that they were meant to be text.
        found = np.array(filled, dtype=np.str_) if present else np.full(len(items), np.nan)
    elif all(map(_is_whole, present)):
        filled = [0 if gone else int(item) for item, gone in zip(items, absent, strict=True)]
        found = np.array(filled, dtype=np.int64)
    elif all(isinstance(item, NUMBERS) for item in present):
        found = np.array(
            [np.nan if gone else _number(item) for item, gone in zip(items, absent, strict=True)]
        )
    else:
        odd = next(i for i, item in enumerate(items) if not absent[i] and not isinstance(item, NUMBERS))
        where = ", ".join(str(index) for index in np.unravel_index(odd, data.shape)) if data.ndim else "-"
        raise _Refused(
            f"holds a {type(items[odd]).__name__} at ({where}), beside values of other types; return only "
            "numbers or only text"
        )
    return Plain(found.reshape(data.shape), absent.reshape(data.shape))


def _is_missing(item: Any) -> bool:
    """Whether an item is None, NaN, a masked value, or pandas' NA or NaT."""
    if item is None or item is np.ma.masked or type(item).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(item, float | np.floating | Decimal) and item != item


def _is_whole(item: Any) -> bool:
    return isinstance(item, bool | int | np.integer | np.bool_) and abs(int(item)) < 2**63


def _number(item: Any) -> float:
    try:
        return float(item)
    except OverflowError:  # reported later as infinite, with its place
        return np.inf
