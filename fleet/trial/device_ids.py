"""Make device ids from the names of files, folders or values."""

import re
from collections.abc import Sequence
from unicodedata import normalize

from fedge.wire.topics import LONGEST_DEVICE

LETTERS = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "å": "a", "ł": "l", "đ": "d"}
)
"""Latin letters that Unicode does not decompose into a letter and an accent, with their replacement."""


def device_ids(names: Sequence[str]) -> list[str]:
    """A device id for each name, all different: lower-case letters, digits and hyphens, 36 at most.

    >>> device_ids(["Phone_01", "phone 01", "Fräse 3", "Øst", "北"])
    ['phone-01', 'phone-01-2', 'fraese-3', 'ost', 'device-5']
    """
    taken: list[str] = []
    for number, name in enumerate(names, 1):
        plain = re.sub(r"[^a-z0-9]+", "-", _ascii(name.lower())).strip("-")[:LONGEST_DEVICE].strip("-")
        wanted = plain or f"device-{number}"
        one, times = wanted, 1
        while one in taken:
            times += 1
            tail = f"-{times}"
            one = wanted[: LONGEST_DEVICE - len(tail)] + tail
        taken.append(one)
    return taken


def _ascii(name: str) -> str:
    """The Latin letters of a name, in lower case and without accents."""
    return normalize("NFKD", normalize("NFC", name).translate(LETTERS)).encode("ascii", "ignore").decode()
