"""What a device does in secure aggregation: `step(state, event, identity) -> (state, effects)`.

    ──Announced──► ADVERTISED ──Roster──► SHARED ──Delivery──► READY ──UpdateReady──► MASKED
                                                   ──Survivors──► SIGNED ──Agreement──► REVEALED

Effects are performed in their order: the state and its mark are durable before the message that they allow
is sent. What was sent once is sent again with the same bytes only. A refusal changes nothing.

A secret belongs to one attempt of one round with one model (`Terms`). The mark only grows. A device that
comes back with a state older than its mark, or with none, leaves the attempt and takes part in the next.
"""

from fedge.frozen import replace
from fedge.masking import statements
from fedge.masking.device_phases import agree, mask_update, receive_shares, share, sign_survivors
from fedge.masking.device_state import (
    AllowUnmasked,
    Announced,
    Attempt,
    Device,
    Effect,
    Event,
    Identity,
    Mark,
    RaiseMark,
    Received,
    Refuse,
    SaveState,
    Send,
    SendAgain,
    Stage,
    UnmaskedAsked,
    UpdateReady,
    Wanted,
)
from fedge.masking.keys import public_keys, ring_for, secrets_of
from fedge.masking.messages import Advertise, Agreement, Delivery, Roster, Survivors, Terms
from fedge.masking.refusals import Refusal, Why
from fedge.masking.thresholds import COMPLETE, least_threshold

Step = tuple[Device, list[Effect]]
LEAST_COLLUDERS = 10
"""Above 64 devices, a neighbourhood has to bear a tenth of them."""


def resumed(kept: Device | None, mark: Mark, *, name: str, wanted: Wanted | None = None) -> Step:
    """The state to go on with after a restart.

    The first effect raises the mark to the state's: the crash may have come between the two.

    Args:
        kept: what was read; None: nothing was there.
        mark: the newest mark.
        name: this device.
        wanted: what its owner asks for.
    """
    wanted = wanted or Wanted()
    if kept is None or kept.name != name or kept.mark < mark:
        return Device(name, wanted, mark), []
    state = replace(kept, wanted=wanted)
    again = [] if state.attempt is None else [Send(state.attempt.sent)]
    return state, [RaiseMark(state.mark), *again]


def step(state: Device, event: Event, identity: Identity) -> Step:
    """Take one event; sign and verify with `identity`."""
    found = _moved(state, event, identity)
    return (state, [Refuse(found)]) if isinstance(found, Refusal) else found


def _moved(state: Device, event: Event, identity: Identity) -> Step | Refusal:
    match event:
        case Announced(terms, entropy):
            return _announced(state, terms, entropy, identity)
        case UnmaskedAsked(generation, round_):
            return _unmasked(state, generation, round_)
    attempt = state.attempt
    if attempt is None:
        return Refusal(Why.LEFT_ATTEMPT, "this device is in no attempt")
    match event:
        case SendAgain():
            return state, [Send(attempt.sent)]
        case UpdateReady():
            return _after(state, mask_update(attempt, event, identity))
        case Received(message):
            if message.terms != attempt.digest:
                return Refusal(Why.OTHER_ATTEMPT, f"{message.TYPE} is of another attempt or other terms")
            match message:
                case Roster():
                    return _after(state, share(state.name, attempt, message, identity))
                case Delivery():
                    return _after(state, receive_shares(attempt, message))
                case Survivors():
                    return _after(state, sign_survivors(attempt, message, identity))
                case Agreement():
                    return _after(state, agree(attempt, message, identity))
    return Refusal(Why.WRONG_PHASE, "this message is not for devices")


def _after(state: Device, found: tuple[Attempt, list[Effect]] | Refusal) -> Step | Refusal:
    """Keep a new state of the attempt before what it allows is visible."""
    if isinstance(found, Refusal):
        return found
    attempt, effects = found
    if attempt is state.attempt:
        return state, effects
    visible = any(isinstance(effect, Send) for effect in effects)
    mark = _mark(attempt.terms, attempt.stage) if visible else state.mark
    after = replace(state, attempt=attempt, mark=mark)
    return after, [SaveState(after), *([RaiseMark(mark)] if visible else []), *effects]


def _announced(state: Device, terms: Terms, entropy: bytes, identity: Identity) -> Step | Refusal:
    named = statements.digest(terms)
    if state.attempt is not None and state.attempt.digest == named:
        return state, [Send(state.attempt.sent)]
    if (why := _unfit(state, terms)) is not None:
        return why
    secrets = secrets_of(entropy, terms)
    keys = public_keys(secrets)
    told = keys.sealing + keys.masking + keys.commitment
    message = Advertise(
        terms=named,
        device=state.name,
        sealing_key=keys.sealing,
        masking_key=keys.masking,
        commitment=keys.commitment,
        signature=identity.sign(statements.advertisement(named, state.name, told)),
    )
    place = terms.cohort.index(state.name)
    return _after(state, (Attempt(terms, named, place, entropy, Stage.ADVERTISED, message), [Send(message)]))


def _unfit(state: Device, terms: Terms) -> Refusal | None:
    """Why this device takes no part under these terms."""
    mark, devices = state.mark, len(terms.cohort)
    now, before = (terms.generation, terms.round, terms.attempt), (mark.generation, mark.round, mark.attempt)
    if now == before and state.attempt is not None:
        return Refusal(Why.OTHER_TERMS, "other terms were announced for the attempt that this device is in")
    if now <= before:
        return Refusal(Why.LEFT_ATTEMPT, "this device has left that attempt")
    if now[:2] == before[:2] and mark.stage >= Stage.SIGNED:
        return Refusal(Why.ROUND_SPENT, "this device has signed survivors of this round")
    if state.name not in terms.cohort:
        return Refusal(Why.NOT_CHOSEN, "the cohort does not name this device")
    if devices < state.wanted.least_devices:
        least = state.wanted.least_devices
        return Refusal(Why.SMALL_COHORT, f"{devices} devices; this device's owner asks for {least} or more")
    if state.wanted.known is not None and (strangers := set(terms.cohort) - state.wanted.known):
        return Refusal(Why.STRANGER, f"this device's owner does not know {min(strangers)}")
    if terms.server != "lying" and not state.wanted.trusts_server:
        return Refusal(Why.WEAK_SERVER, "the terms are not for a server that may lie")
    least = least_threshold(devices, lying=terms.server == "lying")
    if not least <= terms.threshold <= devices:
        return Refusal(Why.LOW_THRESHOLD, f"a threshold of {terms.threshold}; {least} to {devices} can be")
    if devices > COMPLETE and terms.colluders < devices // LEAST_COLLUDERS:
        return Refusal(Why.LOW_THRESHOLD, f"{terms.colluders} colluders; at least a tenth must be borne")
    try:
        ring_for(terms)
    except ValueError as error:
        return Refusal(Why.NO_RING, str(error))
    return None


def _unmasked(state: Device, generation: int, round_: int) -> Step | Refusal:
    if state.wanted.always or (generation, round_) <= (state.mark.generation, state.mark.round):
        return Refusal(Why.SWITCHED_OFF, "this device does not send an unmasked update of this round")
    return state, [AllowUnmasked()]


def _mark(terms: Terms, stage: Stage) -> Mark:
    return Mark(terms.generation, terms.round, terms.attempt, stage)
