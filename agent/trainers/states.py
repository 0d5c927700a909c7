"""An algorithm's state on a device: its lineage, and the encoding of its arrays as bytes.

A state is one flat mapping of named arrays: those of the local algorithm (`local/NAME`), and those of the
codec for each vector that it encodes (`codec/VECTOR/NAME`; of a device that trains the shared model of number
j > 0, `codec/j/VECTOR/NAME`).
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
from fedge.algorithms.plan import PartOptions, Plan
from fedge.algorithms.protocols import State
from fedge.algorithms.registry import CODECS, LOCAL, PERSONAL, Registry
from fedge.latest import latest
from fedge.wire.freshness import RoundId, round_of
from fedge.wire.messages.manifest import Manifest

log = logging.getLogger(__name__)

MAX_ARRAYS = 256
MAX_NAME = 200
"""The most characters of an array's name."""
MAX_BYTES = 2**29
"""Of all arrays together."""
NUMBERS = "biufc"
"""The kinds of dtypes that a state may hold: numbers, but no objects."""


def lineage_of(manifest: Manifest, plan: Plan, trainer: str, *, divided: bool = False) -> bytes:
    """Return the lineage, 32 bytes: a round continues from a state only if their lineages are equal.

    The lineage covers only what stays the same from round to round, so a device that misses rounds keeps its
    state. With another generation, task, algorithm, codec or trainer the same arrays would mean something
    else. An option that is told with its default is the same as one that is not told.

    Args:
        manifest: the round.
        plan: its plan.
        trainer: the owner's trainer; "" for the built-in one.
        divided: whether only a part of the entries is sent, as the plan's personal model says.
    """
    return _lineage(manifest, plan, trainer, divided)


@latest
def _lineage(manifest: Manifest, plan: Plan, trainer: str, divided: bool) -> bytes:
    named = [
        manifest.generation,
        manifest.task.digest.hex(),
        trainer,
        plan.local_name,
        changed(LOCAL, plan.local_name, plan.local_options),
        plan.codec,
        changed(CODECS, plan.codec, plan.codec_options),
    ]
    if divided:  # the codec's state has an entry for each that is sent
        named += [plan.personal_name, changed(PERSONAL, plan.personal_name, plan.personal_options)]
    return sha256(json.dumps(named, sort_keys=True).encode()).digest()


def changed(registry: Registry[Any], name: str, options: PartOptions | None) -> PartOptions:
    """The options that are not their defaults."""
    entry = registry.entries().get(name)
    fields = {} if entry is None else entry.options.model_fields
    return {
        key: value
        for key, value in (options or {}).items()
        if key not in fields or fields[key].default != value
    }


def pack(state: State) -> bytes:
    """Encode a state in at most `MAX_BYTES`; the inverse of `unpack`.

    Raises:
        ValueError: the state has too many arrays, is too large, or has an array that holds no numbers.
    """
    arrays = {name: np.asarray(state[name]) for name in sorted(state)}
    size = sum(array.nbytes for array in arrays.values())
    if len(arrays) > MAX_ARRAYS or size > MAX_BYTES:
        raise ValueError(
            f"a state of {len(arrays)} arrays and {size} bytes; at most {MAX_ARRAYS} and {MAX_BYTES} are kept"
        )
    heads, bodies = [], []
    for name, array in arrays.items():
        if array.dtype.kind not in NUMBERS or len(name) > MAX_NAME:
            raise ValueError(f"the state {name[:MAX_NAME]!r} is of {array.dtype}: only numbers can be kept")
        little = array.dtype.newbyteorder("<")
        heads.append([name, little.str, list(array.shape)])
        bodies.append(np.ascontiguousarray(array, little).tobytes())
    head: bytes = msgpack.packb(heads)
    return b"".join((len(head).to_bytes(4, "little"), head, *bodies))


def unpack(data: bytes) -> dict[str, NDArray[Any]]:
    """Decode a state; do not change its arrays.

    Raises:
        ValueError: `pack` has not written these bytes.
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
    """Return the arrays of one part, without the part's prefix in their names."""
    return {name.removeprefix(prefix): a for name, a in state.items() if name.startswith(prefix)}


def named(state: Mapping[str, Any], prefix: str) -> dict[str, NDArray[Any]]:
    """The inverse of `part`."""
    return {f"{prefix}{name}": np.asarray(array) for name, array in state.items()}


def current(
    kept: AlgorithmState | None, lineage: bytes, manifest: Manifest
) -> dict[str, NDArray[Any]] | None:
    """Return the state to continue from; None: the algorithm starts anew.

    A saved state that cannot be used is logged.
    """
    if kept is None:
        return None
    here = round_of(manifest)
    if kept.lineage != lineage:
        other = "an earlier generation" if kept.round.generation < here.generation else "another algorithm"
        log.info(
            "round %s: starts anew: the state of round %s is of %s",
            here,
            kept.round,
            other,
        )
        return None
    try:
        return unpack(kept.data)
    except (ValueError, TypeError) as error:
        log.error(
            "round %s: starts anew: the state of round %s is damaged: %s",
            here,
            kept.round,
            error,
        )
        return None


def kept_after(
    state: State,
    before: dict[str, NDArray[Any]] | None,
    kept: AlgorithmState | None,
    lineage: bytes,
    here: RoundId,
) -> AlgorithmState | None:
    """Return the state to save with an update; None: there is no state, neither now nor before.

    If the saved state was not continued (`before` is None), it is replaced even if there is no new state.
    Otherwise an algorithm that returns in a later round would continue from its old state.
    """
    if not state and not before and (kept is None or before is not None):
        return None
    return AlgorithmState(here, lineage, pack(state))
