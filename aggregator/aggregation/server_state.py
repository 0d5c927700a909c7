"""The state of a server optimizer from round to round, as the ledger keeps it.

A state belongs to one generation, and to one optimizer with its options; if one of these changes, it begins
at `init` again. It is saved with the round that made it, so that a round can be computed again.
"""

import json
import math
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from aggregator.core.parts import Part, Parts, blaming, require_vector, unchanged
from aggregator.ledger.layout import FILE
from aggregator.ledger.reading import LedgerReader
from aggregator.ledger.writing import Ledger
from fedge.algorithms.protocols import ServerOptimizer, State
from fedge.errors import DamagedState
from fedge.wire.freshness import RoundId

Vector = NDArray[np.float32]


REMEDY = "or set another [server] in federation.toml"


def before(ledger: LedgerReader, round_id: RoundId, part: Part, server: ServerOptimizer, size: int) -> State:
    """The state that a round begins with: that of the round of training before it, or the first one.

    Raises:
        DamagedState: it is missing, or does not match its digest.
        PartError: the optimizer fails.
    """
    begun = first(round_id, part, server, size)
    last = ledger.trained_up_to(round_id)
    if last is None or last.round == 0:
        return begun
    try:
        named = Parts.read(ledger.parts(last)).server
    except ValueError as error:
        raise _damaged(last, str(error)) from None
    saved = ledger.state_of(last)
    # Check the digest first; otherwise a damaged name would silently reset the state.
    if saved is not None and _digest(named, saved[0]) != saved[1]:
        raise _damaged(last, "it does not match its digest")
    if named != part:
        return begun
    if saved is None:
        if begun:
            raise _damaged(last, "it is missing")
        return begun
    return unpack(saved[0])


def first(round_id: RoundId, part: Part, server: ServerOptimizer, size: int) -> State:
    """The state that an optimizer begins with.

    Raises:
        PartError: the optimizer fails.
    """
    with blaming(_name(part), str(round_id), REMEDY):
        return _sound(part, server.init(size))


def step(
    round_id: RoundId,
    part: Part,
    server: ServerOptimizer,
    base: Vector,
    aggregate: Vector,
    state: State,
    share: float,
) -> tuple[Vector, State]:
    """Make one step and check its result, because an optimizer may be third-party code.

    Raises:
        PartError: it raises, or its result is not a float32 vector of the base's length and a state of named
            arrays of numbers.
    """
    given = unchanged(aggregate)
    with blaming(_name(part), str(round_id), REMEDY):
        with np.errstate(over="ignore", invalid="ignore"):  # the caller checks whether it is usable
            vector, after = server.step(unchanged(base), given, state, share)
        require_vector(_name(part), vector, len(base))
        return aggregate if vector is given else vector, _sound(part, after)


def _name(part: Part) -> str:
    return f"the server optimizer {part.name}"


def _sound(part: Part, state: State) -> State:
    """Check that a state can be kept.

    Raises:
        ValueError: it is not made of named arrays of numbers.
    """
    arrays = {name: np.asarray(array) for name, array in state.items()}
    if bad := [
        name for name, a in arrays.items() if not isinstance(name, str) or a.dtype.kind not in "biufc"
    ]:
        raise ValueError(f"{_name(part)}: its state must be arrays of numbers by name, and {bad[0]!r} is not")
    return arrays


def save(ledger: Ledger, round_id: RoundId, part: Part, state: State) -> None:
    """Save the state after a round, inside the caller's transaction; an empty one is not saved."""
    if state:
        data = pack(state)
        ledger.save_state(round_id, part.name, data, _digest(part, data))


def _digest(part: Part, data: bytes) -> bytes:
    """The digest of a state and its optimizer."""
    return sha256(b"\n".join((str(part.name).encode(), str(part.options).encode(), data))).digest()


def pack(state: State) -> bytes:
    """Named arrays as bytes: a line of JSON with their types and shapes, then their numbers.

    Raises:
        ValueError: an array holds Python objects.
    """
    arrays = {name: np.asarray(array) for name, array in sorted(state.items())}
    if any(array.dtype.hasobject for array in arrays.values()):
        raise ValueError("a state must be arrays of numbers, and one of these holds Python objects")
    head = {name: [array.dtype.str, list(array.shape)] for name, array in arrays.items()}
    return b"\n".join((json.dumps(head).encode(), b"".join(a.tobytes() for a in arrays.values())))


def unpack(data: bytes) -> State:
    """The inverse of `pack`; the arrays are read-only."""
    head, _, body = data.partition(b"\n")
    state: dict[str, NDArray[np.generic]] = {}
    start = 0
    for name, (kind, shape) in json.loads(head).items():
        dtype, count = np.dtype(kind), math.prod(shape)
        state[name] = np.frombuffer(body, dtype, count, start).reshape(shape)
        start += count * dtype.itemsize
    return state


def _damaged(round_id: RoundId, found: str) -> DamagedState:
    return DamagedState(f"{FILE}: the state of the server optimizer after round {round_id}: {found}")
