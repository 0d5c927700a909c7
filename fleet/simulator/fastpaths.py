"""Faster replacements for functions that a world calls very often, with the same results.

One world in fifty uses none of them. A test checks that a world has the same trace with and without them.
"""

import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import agent.shell.runtime  # noqa: F401 (loads the modules to patch, as do the next two)
import aggregator.core.rounds
import aggregator.core.takeover.machine
import aggregator.shell.runtime  # noqa: F401
import fedge.wire.topics
from fedge.storage.atomic_files import atomic_write
from fedge.storage.files import read_file
from fedge.wire.encoding import MAX_PAYLOAD
from fedge.wire.messages.message import M, Message, unpack, unpack_one_of

parse = lru_cache(maxsize=None)(fedge.wire.topics.parse)
"""As `fedge.wire.topics.parse`, with a cache."""
check_id = lru_cache(maxsize=None)(fedge.wire.topics._check_id)
"""As `fedge.wire.topics._check_id`, with a cache of the valid ids; errors are not cached."""

_DECODED: dict[bytes, Message] = {}
"""The decoded messages of this world, by their bytes."""


def decode_one_of(payload: bytes, kinds: Collection[type[M]], *, max_bytes: int = MAX_PAYLOAD) -> M:
    """As `unpack_one_of`, but the same bytes are decoded once, because messages are immutable."""
    known = _DECODED.get(payload)
    if known is not None and type(known) in kinds and len(payload) <= max_bytes:
        return known  # type: ignore[return-value] # one of `kinds`
    _DECODED[payload] = found = unpack_one_of(payload, kinds, max_bytes=max_bytes)
    return found


def decode(payload: bytes, kind: type[M], *, max_bytes: int = MAX_PAYLOAD) -> M:
    """As `unpack`, but the same bytes are decoded once."""
    known = _DECODED.get(payload)
    if type(known) is kind and len(payload) <= max_bytes:
        return known
    return decode_one_of(payload, (kind,), max_bytes=max_bytes)


def write(path: Path, data: bytes) -> None:
    """As `atomic_write`, but not atomic: a host of a world dies before or after it, never during it."""
    path.write_bytes(data)


def read(path: Path, most: int = -1) -> bytes:
    """As `read_file`, without its check of each folder for links, which no world makes."""
    with path.open("rb") as file:
        return file.read(most)


_WAYS = {
    "unpack": (unpack, decode),
    "unpack_one_of": (unpack_one_of, decode_one_of),
    "atomic_write": (atomic_write, write),
    "read_file": (read_file, read),
}
_USED: list[tuple[dict[str, Any], str, Any, Any]] = [
    (vars(module), name, long, short)
    for path, module in list(sys.modules.items())
    if path.partition(".")[0] in ("agent", "aggregator")
    for name, (long, short) in _WAYS.items()
    if vars(module).get(name) is long
]
_USED.append((vars(fedge.wire.topics), "parse", fedge.wire.topics.parse, parse))
_USED.append((vars(fedge.wire.topics), "_check_id", fedge.wire.topics._check_id, check_id))


@contextmanager
def taken() -> Iterator[None]:
    """Let the programs use the replacements while one world runs."""
    for names, name, _, short in _USED:
        names[name] = short
    try:
        yield
    finally:
        for names, name, long, _ in _USED:
            names[name] = long
        _DECODED.clear()
        parse.cache_clear()
        check_id.cache_clear()
