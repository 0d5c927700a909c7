"""The end of each phase of the server: what it sends for the next one, or why the attempt has failed."""

from fedge.frozen import replace
from fedge.masking import statements
from fedge.masking.keys import directory, ring_for
from fedge.masking.messages import Agreement, Delivery, MaskingMessage, Roster, Survivors, Terms
from fedge.masking.refusals import Refusal, Why
from fedge.masking.server_state import Effect, Failed, Phase, SendTo, Server
from fedge.masking.unmasking import unmasked

Step = tuple[Server, list[Effect]]


def begin(terms: Terms) -> Server:
    """The state of a new attempt.

    Raises:
        ValueError: a sum does not fit into a word.
    """
    return Server(terms, statements.digest(terms), ring_for(terms))


def entries(terms: Terms) -> int:
    """The values of a masked update: its entries, and its weight if weights may differ."""
    return terms.size + (1 if terms.max_weight > 1 else 0)


def over(state: Server) -> Step:
    """End a phase: send what the next one needs, or fail."""
    match state.phase:
        case Phase.ADVERTISE:
            return _to_share(state)
        case Phase.SHARE:
            return _to_input(state)
        case Phase.INPUT:
            return _to_consistency(state)
        case Phase.CONSISTENCY:
            return _to_unmask(state)
        case Phase.UNMASK:
            found = unmasked(state)
            if isinstance(found, Refusal):
                return _failed(state, found)
            return replace(state, phase=Phase.ENDED), [found]
    return state, []


def _to_share(state: Server) -> Step:
    terms, members = state.terms, sorted(state.advertised)
    if len(members) < terms.threshold:
        return _too_few(state, len(members))
    each = [state.advertised[member] for member in members]
    message = Roster(
        terms=state.digest,
        members=statements.bitmap(members, len(terms.cohort)),
        advertised=b"".join(statements.advertised(one) for one in each),
        signatures=b"".join(one.signature for one in each),
    )
    roster = directory(terms, message)
    if isinstance(roster, Refusal):
        return _failed(state, roster)
    after = replace(state, phase=Phase.SHARE, roster=roster, roster_message=message)
    return after, [SendTo(terms.cohort[member], message) for member in members]


def _to_input(state: Server) -> Step:
    assert state.roster is not None
    sharers = frozenset(state.sealed)
    if len(sharers) < state.terms.threshold or not state.roster.graph.holds(sharers):
        return _too_few(state, len(sharers))
    bits = statements.bitmap(sharers, len(state.terms.cohort))
    effects: list[Effect] = []
    for each in sorted(sharers):
        near = (other for other in state.roster.graph.neighbours(each) if other in sharers)
        body = b"".join(state.sealed[other][each] for other in near)
        effects.append(_to(state, each, Delivery(terms=state.digest, sharers=bits, sealed=body)))
    return replace(state, phase=Phase.INPUT, sharers=sharers, sealed={}), effects


def _to_consistency(state: Server) -> Step:
    assert state.roster is not None
    alive, devices = frozenset(state.inputs), len(state.terms.cohort)
    if len(alive) < state.terms.threshold or not state.roster.graph.holds(alive):
        return _too_few(state, len(alive))
    bits, others = statements.bitmap(alive, devices), statements.bitmap(state.sharers - alive, devices)
    effects: list[Effect] = []
    for each in sorted(alive):
        vouching = (other for other in state.roster.graph.vouchers(each) if other in alive)
        body = b"".join(state.inputs[other] for other in vouching)
        effects.append(
            _to(state, each, Survivors(terms=state.digest, alive=bits, dead=others, signatures=body))
        )
    return replace(state, phase=Phase.CONSISTENCY, alive=alive), effects


def _to_unmask(state: Server) -> Step:
    signers = sorted(state.signatures)
    if len(signers) < state.terms.threshold:
        return _too_few(state, len(signers))
    signers = signers[: state.terms.threshold]  # enough; a device verifies each of them
    body = b"".join(state.signatures[each] for each in signers)
    bits = statements.bitmap(signers, len(state.terms.cohort))
    message = Agreement(terms=state.digest, signers=bits, signatures=body)
    return replace(state, phase=Phase.UNMASK), [_to(state, each, message) for each in sorted(state.alive)]


def _to(state: Server, place: int, message: MaskingMessage) -> SendTo:
    return SendTo(state.terms.cohort[place], message)


def _too_few(state: Server, found: int) -> Step:
    least = state.terms.threshold
    return _failed(state, Refusal(Why.TOO_FEW, f"{found} devices; {least} are needed, in all places"))


def _failed(state: Server, why: Refusal) -> Step:
    """Nothing of the attempt is kept: its secrets are of no more use."""
    spent = state.phase in (Phase.CONSISTENCY, Phase.UNMASK)
    return replace(begin(state.terms), phase=Phase.ENDED), [Failed(why, state.phase, spent)]
