"""The states of server optimizer and rule from round to round, as the ledger keeps them.

A state belongs to one generation, and to one part with its options; if one of these changes, it begins at
`init` again. Both are saved in one row with the round that made them, so that a round can be computed again.
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
from fedge.algorithms.protocols import Rule, ServerOptimizer, State
from fedge.errors import DamagedState
from fedge.wire.freshness import RoundId

Vector = NDArray[np.float32]


REMEDY = "or set another [server] in federation.toml"
RULE_REMEDY = "or set another [rule] in federation.toml"
OF_RULE = "rule/"
"""What the names of a rule's arrays begin with."""


def before(ledger: LedgerReader, round_id: RoundId, part: Part, server: ServerOptimizer, size: int) -> State:
    """The server optimizer's state that a round begins with: that after the round of training before it, or
    the first one.

    Raises:
        DamagedState: it is missing, or does not match its digest.
        PartError: the optimizer fails.
    """
    begun = first(round_id, part, server, size)
    return _since(ledger, round_id, "server", part, begun)


def rule_before(ledger: LedgerReader, round_id: RoundId, part: Part, rule: Rule, size: int) -> State:
    """As `before`, of the rule."""
    begun = rule_first(round_id, rule, size)
    return _since(ledger, round_id, "rule", part, begun)


def _since(ledger: LedgerReader, round_id: RoundId, kind: str, part: Part, begun: State) -> State:
    """The state of the part of this kind after the round of training before, or `begun`."""
    last = ledger.trained_up_to(round_id)
    if last is None or last.round == 0:
        return begun
    try:
        parts = Parts.read(ledger.parts(last))
    except ValueError as error:
        raise _damaged(last, str(error)) from None
    saved = ledger.state_of(last)
    # Check the digest first; otherwise a damaged name would silently reset the state.
    if saved is not None and saved[1] not in (
        _digest(saved[0], parts.server),
        _digest(saved[0], *_both(parts)),
    ):
        raise _damaged(last, "it does not match its digest")
    if getattr(parts, kind) != part:
        return begun
    found = {} if saved is None else unpack(saved[0])
    state = of_rule(found) if kind == "rule" else of_server(found)
    if begun and not state:
        raise _damaged(last, "it is missing")
    return state if begun else begun


def joined(server: State, rule: State) -> State:
    """Both states as one, as a ledger keeps them."""
    return {**server, **{f"{OF_RULE}{name}": array for name, array in rule.items()}}


def of_server(state: State) -> State:
    """The server optimizer's part of a state that was kept."""
    return {name: array for name, array in state.items() if not name.startswith(OF_RULE)}


def of_rule(state: State) -> State:
    """The rule's part of a state that was kept."""
    return {n.removeprefix(OF_RULE): array for n, array in state.items() if n.startswith(OF_RULE)}


def first(round_id: RoundId, part: Part, server: ServerOptimizer, size: int) -> State:
    """The state that an optimizer begins with.

    Raises:
        PartError: the optimizer fails.
    """
    with blaming(_name(part), str(round_id), REMEDY):
        return _sound_of_server(_name(part), server.init(size))


def rule_first(round_id: RoundId, rule: Rule, size: int) -> State:
    """The state that a rule begins with.

    Raises:
        PartError: the rule fails.
    """
    who = f"the rule {rule.version}"
    with blaming(who, str(round_id), RULE_REMEDY):
        return sound(who, rule.init(size))


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
        return aggregate if vector is given else vector, _sound_of_server(_name(part), after)


def _name(part: Part) -> str:
    return f"the server optimizer {part.name}"


def _sound_of_server(who: str, state: State) -> State:
    """As `sound`, and no array may have a name that only the rule's have where both are kept."""
    arrays = sound(who, state)
    if bad := [name for name in arrays if name.startswith(OF_RULE)]:
        raise ValueError(f"{who}: no name in its state may begin with {OF_RULE!r}, and {bad[0]!r} does")
    return arrays


def sound(who: str, state: State) -> State:
    """Check that a state can be kept.

    Raises:
        ValueError: it is not made of named arrays of numbers.
    """
    arrays = {name: np.asarray(array) for name, array in state.items()}
    if bad := [
        name for name, a in arrays.items() if not isinstance(name, str) or a.dtype.kind not in "biufc"
    ]:
        raise ValueError(f"{who}: its state must be arrays of numbers by name, and {bad[0]!r} is not")
    return arrays


def save(ledger: Ledger, round_id: RoundId, parts: Parts, state: State) -> None:
    """Save what `joined` returned after a round, inside the caller's transaction; {} is not saved."""
    if state:
        data = pack(state)
        named = _both(parts) if of_rule(state) else (parts.server,)
        ledger.save_state(round_id, parts.server.name, data, _digest(data, *named))


def _both(parts: Parts) -> tuple[Part, Part]:
    return parts.server, parts.rule


def _digest(data: bytes, *parts: Part) -> bytes:
    """The digest of a state and of the parts that it belongs to."""
    texts = [str(text).encode() for part in parts for text in (part.name, part.options)]
    return sha256(b"\n".join((*texts, data))).digest()


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
    return DamagedState(f"{FILE}: the state after round {round_id}: {found}")
