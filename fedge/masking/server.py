"""What the server does in secure aggregation: `step(state, event, verify) -> (state, effects)`.

    ADVERTISE ─Roster─► SHARE ─Delivery─► INPUT ─Survivors─► CONSISTENCY ─Agreement─► UNMASK ─► Summed
        └─────────────────┴────────────────┴─ too few ──────────┴───────────────────────┴─────► Failed

A phase ends when the shell says so: nothing is missing (`Server.missing`), or its time is over. A refusal
changes nothing. The masks hold whatever a server does; this one is for a sum that is right.
"""

from hashlib import sha256

from fedge.frozen import replace
from fedge.masking import ciphers, statements
from fedge.masking.keys import Verify, pieces_of
from fedge.masking.messages import (
    SEALED_BYTES,
    Advertise,
    Consistency,
    MaskedInput,
    Share,
    Unmask,
)
from fedge.masking.refusals import Refusal, Why
from fedge.masking.server_phases import begin, entries, over
from fedge.masking.server_state import (
    Arrived,
    Effect,
    Event,
    Phase,
    RefuseDevice,
    Server,
)
from fedge.masking.sharing import SHARE_BYTES

Step = tuple[Server, list[Effect]]
__all__ = ["Step", "begin", "step"]

_PROBE = sha256(b"fedge masking: a secret to find weak keys with").digest()


def step(state: Server, event: Event, verify: Verify) -> Step:
    """Take one event; `verify` tells whether a device's certificate key has signed."""
    if isinstance(event, Arrived):
        found = _arrived(state, event, verify)
        if isinstance(found, Refusal):
            return state, [RefuseDevice(event.device, found)]
        return found, []
    return over(state)


def _arrived(state: Server, event: Arrived, verify: Verify) -> Server | Refusal:
    message, terms = event.message, state.terms
    if message.terms != state.digest:
        return Refusal(Why.OTHER_ATTEMPT, f"{message.TYPE} is of another attempt")
    if event.device not in terms.cohort or getattr(message, "device", None) != event.device:
        return Refusal(Why.FOREIGN_DEVICE, "the message names another device")
    place = terms.cohort.index(event.device)
    match message:
        case Advertise():
            return _advertised(state, place, message, verify)
        case Share():
            return _shared(state, place, message)
        case MaskedInput():
            return _masked(state, place, message, verify)
        case Consistency():
            return _signed(state, place, message, verify)
        case Unmask():
            return _revealed(state, place, message)
    return Refusal(Why.WRONG_PHASE, "this message is not for the server")


def _expected(state: Server, place: int, phase: Phase) -> Refusal | None:
    if state.phase is not phase:
        return Refusal(Why.WRONG_PHASE, f"the server waits for: {state.phase}")
    if place not in state.missing:
        return Refusal(Why.TWICE, "this device is not asked, or has answered")
    return None


def _advertised(state: Server, place: int, message: Advertise, verify: Verify) -> Server | Refusal:
    if (why := _expected(state, place, Phase.ADVERTISE)) is not None:
        return why
    keys = statements.advertised(message)
    if not verify(
        message.device, statements.advertisement(state.digest, message.device, keys), message.signature
    ):
        return Refusal(Why.BAD_SIGNATURE, "the device's certificate key has not signed these keys")
    if None in ciphers.agreed(_PROBE, [(message.sealing_key, b""), (message.masking_key, b"")]):
        return Refusal(Why.WEAK_KEY, "with this key every secret gives the same")
    taken = {key for each in state.advertised.values() for key in (each.sealing_key, each.masking_key)}
    commitments = {each.commitment for each in state.advertised.values()}
    own = {message.sealing_key, message.masking_key}
    if len(own) < 2 or own & taken or message.commitment in commitments:
        return Refusal(Why.DUPLICATE_KEY, "another device has this key, or both are the same")
    return replace(state, advertised={**state.advertised, place: message})


def _shared(state: Server, place: int, message: Share) -> Server | Refusal:
    roster = state.roster
    if (why := _expected(state, place, Phase.SHARE)) is not None:
        return why
    assert roster is not None
    if message.roster != roster.digest:
        return Refusal(Why.OTHER_ROSTER, "these shares are for another roster")
    near = roster.graph.neighbours(place)
    if len(message.sealed) != SEALED_BYTES * len(near):
        return Refusal(Why.MALFORMED, "the sealed shares are not those for the neighbours")
    pieces = dict(zip(near, pieces_of(message.sealed, SEALED_BYTES), strict=True))
    return replace(state, sealed={**state.sealed, place: pieces})


def _masked(state: Server, place: int, message: MaskedInput, verify: Verify) -> Server | Refusal:
    roster = state.roster
    if (why := _expected(state, place, Phase.INPUT)) is not None:
        return why
    assert roster is not None
    sharers = statements.bitmap(state.sharers, len(state.terms.cohort))
    if not verify(message.device, statements.masked_with(roster.digest, sharers), message.signature):
        return Refusal(Why.BAD_SIGNATURE, "the device has not signed with whom it masks")
    values = state.ring.unpacked(message.values, entries(state.terms))
    if values is None:
        return Refusal(Why.BAD_UPDATE, f"{len(message.values)} bytes are not {entries(state.terms)} values")
    total = values if state.total is None else state.ring.added(state.total, values)
    return replace(state, total=total, inputs={**state.inputs, place: message.signature})


def _signed(state: Server, place: int, message: Consistency, verify: Verify) -> Server | Refusal:
    if (why := _expected(state, place, Phase.CONSISTENCY)) is not None:
        return why
    assert state.roster is not None
    devices = len(state.terms.cohort)
    bits = statements.bitmap(state.sharers, devices), statements.bitmap(state.alive, devices)
    if not verify(message.device, statements.survivors(state.roster.digest, *bits), message.signature):
        return Refusal(Why.BAD_SIGNATURE, "the device has not signed these survivors")
    return replace(state, signatures={**state.signatures, place: message.signature})


def _revealed(state: Server, place: int, message: Unmask) -> Server | Refusal:
    if (why := _expected(state, place, Phase.UNMASK)) is not None:
        return why
    assert state.roster is not None
    of = [each for each in state.roster.graph.holders(place) if each in state.sharers]
    if len(message.shares) != SHARE_BYTES * len(of):
        return Refusal(Why.MALFORMED, "the shares are not those that this device holds")
    revealed = dict(state.revealed)
    for each, piece in zip(of, pieces_of(message.shares, SHARE_BYTES), strict=True):
        revealed[each] = {**revealed.get(each, {}), place: piece}
    return replace(state, revealed=revealed, answered=state.answered | {place})
