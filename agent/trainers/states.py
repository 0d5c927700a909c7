"""An algorithm's state on a device: which lineage it belongs to, and how its arrays become bytes.

A state is one flat mapping of named arrays: the local algorithm's (`local/NAME`), and the codec's for each
vector that it encodes (`codec/VECTOR/NAME`).
"""

import json
import logging
from collections.abc import Mapping
from hashlib import sha256
from math import prod
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from agent.core.state import AlgorithmState
from fedge.algorithms.plan import Plan
from fedge.algorithms.protocols import State
from fedge.wire.freshness import RoundId, round_of
from fedge.wire.messages.manifest import Manifest

log = logging.getLogger(__name__)

MAX_ARRAYS = 256
MAX_NAME = 200
"""Characters of an array's name."""
MAX_BYTES = 2**29
"""Of all arrays together."""
NUMBERS = "biufc"
"""Kinds of dtypes that may be kept: numbers, and no objects."""


def lineage_of(manifest: Manifest, plan: Plan, trainer: str) -> bytes:
    """What a state must have in common with a round: 32 bytes.

    Of what stays from round to round: a device may sleep through several, and its state goes on. In another
    generation, for another task, algorithm or codec, or from another trainer of the owner's, the same arrays
    would mean something else.
    """
    named = [
        manifest.generation,
        manifest.task.digest.hex(),
        trainer,
        plan.local_name,
        plan.local_options or {},
        plan.codec,
        plan.codec_options or {},
    ]
    return sha256(json.dumps(named, sort_keys=True).encode()).digest()


def pack(state: State) -> bytes:
    """Write a state, at most `MAX_BYTES`; the inverse of `unpack`.

    Raises:
        ValueError: it has too many arrays, is too large, or an array is not of numbers.
    """
    heads, bodies = [], []
    for name in sorted(state):
        array = np.asarray(state[name])
        if array.dtype.kind not in NUMBERS or len(name) > MAX_NAME:
            raise ValueError(f"the state {name[:MAX_NAME]!r} is of {array.dtype}: only numbers can be kept")
        little = array.dtype.newbyteorder("<")
        heads.append([name, little.str, list(array.shape)])
        bodies.append(np.ascontiguousarray(array, little).tobytes())
    size = sum(len(body) for body in bodies)
    if len(heads) > MAX_ARRAYS or size > MAX_BYTES:
        raise ValueError(
            f"a state of {len(heads)} arrays and {size} bytes; at most {MAX_ARRAYS} and {MAX_BYTES} are kept"
        )
    head: bytes = msgpack.packb(heads)
    return b"".join((len(head).to_bytes(4, "little"), head, *bodies))


def unpack(data: bytes) -> dict[str, NDArray[Any]]:
    """Read a state; its arrays are not to be changed.

    Raises:
        ValueError: these bytes are not of `pack`.
    """
    start = 4 + int.from_bytes(data[:4], "little")
    heads = msgpack.unpackb(data[4:start], max_array_len=MAX_ARRAYS, max_str_len=4 * MAX_NAME)
    state: dict[str, NDArray[Any]] = {}
    for name, kind, shape in heads:
        dtype = np.dtype(kind)
        if dtype.kind not in NUMBERS:
            raise ValueError(f"the state {name!r} is of {dtype}")
        count = prod(shape)
        array = np.frombuffer(data, dtype, count, start).reshape(shape)
        start += count * dtype.itemsize
        state[name] = array.astype(dtype.newbyteorder("="), copy=False)
        state[name].flags.writeable = False
    if start != len(data):
        raise ValueError(f"{len(data)} bytes of a state that takes {start}")
    return state


def part(state: State, prefix: str) -> dict[str, NDArray[Any]]:
    """One part's own arrays, by its own names."""
    return {name.removeprefix(prefix): a for name, a in state.items() if name.startswith(prefix)}


def named(state: Mapping[str, Any], prefix: str) -> dict[str, NDArray[Any]]:
    """The inverse of `part`."""
    return {f"{prefix}{name}": np.asarray(array) for name, array in state.items()}


def current(
    kept: AlgorithmState | None, lineage: bytes, manifest: Manifest
) -> dict[str, NDArray[Any]] | None:
    """The state to go on with; None: the algorithm is at its beginning, and if that is news it is logged."""
    if kept is None:
        return None
    here = round_of(manifest)
    if kept.lineage != lineage:
        other = "an earlier generation" if kept.round.generation < here.generation else "another algorithm"
        log.info("round %s: what is remembered of round %s is of %s: begun anew", here, kept.round, other)
        return None
    try:
        return unpack(kept.data)
    except (ValueError, TypeError) as error:
        log.error("round %s: what is remembered of round %s is lost: %s", here, kept.round, error)
        return None


def kept_after(
    state: State,
    before: dict[str, NDArray[Any]] | None,
    kept: AlgorithmState | None,
    lineage: bytes,
    here: RoundId,
) -> AlgorithmState | None:
    """What is to be kept with an update; None: nothing is remembered, neither now nor before.

    Where what is kept is not gone on with (`before` is None), it is replaced also if nothing is remembered
    now: an algorithm that is asked for again later would else go on where it was stopped.
    """
    if not state and not before and (kept is None or before is not None):
        return None
    return AlgorithmState(here, lineage, pack(state))
