"""Turns the names of devices into ids that topics and certificates can hold. Pure.

`Phone_01`, `PHONE.01` and `b8:27:eb:01:02:03` are names from other programs. Each character becomes one
character of the id: capitals become small letters, and `_`, `.` and `:` become hyphens. Two names of one list
that would become the same id are refused, because they are two devices. A name that cannot become an id stays
as it is, and is refused where ids are checked.
"""

import re
from collections.abc import Iterable
from string import ascii_lowercase, ascii_uppercase

from fedge.wire.topics import DEVICE_ID

_LETTERS = str.maketrans(ascii_uppercase + "_.:", ascii_lowercase + "---")


def as_id(name: str) -> str:
    """Return the id for a name. An id stays as it is, and so does a name that cannot become one.

    >>> as_id("Phone_01"), as_id("b8:27:EB:01:02:03"), as_id("pi-1"), as_id("Two words")
    ('phone-01', 'b8-27-eb-01-02-03', 'pi-1', 'Two words')
    """
    wanted = name.translate(_LETTERS)
    return wanted if re.fullmatch(DEVICE_ID, wanted) is not None else name


def as_ids(names: Iterable[str]) -> tuple[str, ...]:
    """Return the ids for the names of one list.

    Raises:
        ValueError: two different names would become one id; the text names them.
    """
    names, first = tuple(names), dict[str, str]()
    for name in names:
        before = first.setdefault(as_id(name), name)
        if before != name:
            raise ValueError(f"{before!r} and {name!r} would both become {as_id(name)!r}: rename one of them")
    return tuple(as_id(name) for name in names)


def renamed(names: Iterable[str]) -> list[str]:
    """Return a sentence for each name that differs from its id.

    >>> renamed(["Phone_01", "pi-1"])
    ["'Phone_01' becomes 'phone-01': device ids are of a-z, 0-9 and '-'"]
    """
    return [
        f"{name!r} becomes {as_id(name)!r}: device ids are of a-z, 0-9 and '-'"
        for name in names
        if as_id(name) != name
    ]
