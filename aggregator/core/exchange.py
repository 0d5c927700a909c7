"""The exchange of a masked round: with the devices that promised an update, their sum is found. Pure.

It takes place while the round is CLOSING. `fedge.masking.server` decides; here its messages become effects.
What the present phase owes a device is sent again until the device has answered, and when it comes back.
Every event that it takes is saved before anything that follows from it is sent, so a restart goes on in the
same phase.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core.attempts import again
from aggregator.core.federation import Federation, Stage, Step
from aggregator.core.masking_refusals import objected, refusals
from fedge.frozen import replace
from fedge.identity.certified_keys import verifier
from fedge.masking import server
from fedge.masking.keys import Verify
from fedge.masking.messages import MAX_DEVICES, MaskingMessage, Terms
from fedge.masking.round_messages import Call, Objection
from fedge.masking.server_state import (
    Arrived,
    Failed,
    PhaseOver,
    SendTo,
    Server,
    Summed,
)
from fedge.wire.messages.message import Message, pack
from fedge.wire.reasons import Reason, Rejection

AGAIN_S = 5.0
"""After so many seconds a device that has not answered is sent its message again."""


@dataclass(frozen=True)
class Exchange:
    """One attempt of secure aggregation."""

    server: Server
    owed: Mapping[str, Message] = field(repr=False)
    """What the present phase has sent to each device."""
    began_s: float
    """The attempt's time when the present phase began."""
    told_s: float
    """The attempt's time when it was sent last."""
    kept: frozenset[bytes] = frozenset()
    """The digests of the messages that were taken."""
    objected: frozenset[str] = frozenset()
    """Devices that refuse what they were sent in this attempt."""
    greeted: frozenset[str] = frozenset()
    """Devices that came back since it was sent last: one that comes and goes is not sent it each time."""

    @property
    def awaited(self) -> tuple[str, ...]:
        """The devices that may still answer in this phase."""
        cohort = self.server.terms.cohort
        return tuple(cohort[at] for at in sorted(self.server.missing) if cohort[at] not in self.objected)


def candidates(state: Federation) -> tuple[str, ...]:
    """The devices that an attempt would begin with: those online that have promised an update."""
    found = (device for device in state.promised if device in state.online and device in state.counted)
    return tuple(sorted(set(found) - state.quarantined))[:MAX_DEVICES]


def can_begin(state: Federation, needed: int) -> bool:
    """Whether enough devices are there."""
    assert state.masking is not None
    return len(candidates(state)) >= max(needed, state.masking.cohort)


def begin(state: Federation, now_s: float) -> Step:
    """Call the devices to an attempt."""
    terms = terms_of(state, candidates(state))
    state = replace(state, stage=Stage.CLOSING, exchange=begun(state, terms, state.elapsed(now_s)))
    return state, [do.BeginExchange(state.round, pack(terms)), *_owed(state)]


def terms_of(state: Federation, cohort: tuple[str, ...]) -> Terms:
    """The terms of the open attempt with these devices."""
    rules = state.masking
    assert rules is not None
    assert state.model is not None
    tenth = len(cohort) // 10
    return Terms(
        federation=rules.federation,
        generation=state.round.generation,
        round=state.round.round,
        attempt=state.attempt,
        base=state.model.digest,
        cohort=cohort,
        size=state.weights,
        value_bits=rules.value_bits,
        clip=rules.clip,
        max_weight=rules.max_weight,
        threshold=rules.threshold(len(cohort)),
        colluders=tenth if rules.colluders is None else rules.colluders,
        dropouts=tenth if rules.dropouts is None else rules.dropouts,
        server=rules.server,
    )


def begun(state: Federation, terms: Terms, elapsed_s: float) -> Exchange:
    """An exchange whose first phase begins."""
    certificates = tuple(state.promised[device].certificate for device in terms.cohort)
    call = Call(terms=pack(terms), certificates=certificates)
    return Exchange(server.begin(terms), dict.fromkeys(terms.cohort, call), elapsed_s, elapsed_s)


def resumed(state: Federation, now_s: float) -> Step:
    """Go on after a restart: send again what the present phase owes, or end it if all had answered."""
    assert state.exchange is not None
    elapsed_s = state.elapsed(now_s)
    exchange = replace(state.exchange, began_s=elapsed_s, told_s=elapsed_s)
    state = replace(state, stage=Stage.CLOSING, exchange=exchange)
    state, effects = _over_if_complete(state, now_s)
    return state, effects or _owed(state)


def taken(state: Federation, event: on.MaskingRead) -> Step:
    """Take a device's message; end the phase if it was the last one."""
    device, digest, message = event.device, event.digest, event.message
    dropped: list[do.Effect] = [do.DropSpool(device, digest)]
    exchange = state.exchange
    if exchange is None or state.stage is not Stage.CLOSING:
        return state, dropped
    if isinstance(message, Objection):
        state, told = objected(state, exchange, device, message)
        state, more = _over_if_complete(state, event.now_s)
        return state, dropped + told + more
    if not isinstance(message, MaskingMessage):
        found = message if isinstance(message, Rejection) else Rejection(Reason.WRONG_KIND, message.TYPE)
        text = f"round {state.round}: what {device} sent is no message of secure aggregation: {found.detail}"
        counted = do.CountRefusal(device, found.reason)
        return state, [*dropped, counted, do.Log("warning", text, device, f"masking {found.reason}")]
    after, effects = server.step(exchange.server, Arrived(device, message), _verify(state))
    if after is exchange.server:
        return state, [*dropped, *refusals(state, effects)]
    state = replace(state, exchange=replace(exchange, server=after, kept=exchange.kept | {digest}))
    state, more = _over_if_complete(state, event.now_s)
    return state, [do.KeepMasking(state.round, device, digest), *more]


def ticked(state: Federation, now_s: float) -> Step:
    """End a phase whose time is over; send again what was not answered."""
    exchange = state.exchange
    if exchange is None or state.stage is not Stage.CLOSING or state.since_s is None:
        return state, []
    assert state.masking is not None
    elapsed_s = state.elapsed(now_s)
    if elapsed_s >= exchange.began_s + state.masking.phase_s:
        return _over(state, now_s)
    if elapsed_s < exchange.told_s + AGAIN_S:
        return state, []
    state = replace(state, exchange=replace(exchange, told_s=elapsed_s, greeted=frozenset()))
    return state, _owed(state)


def due_s(state: Federation) -> float | None:
    """When `ticked` is wanted next; None: there is nothing to do."""
    exchange = state.exchange
    if exchange is None or state.stage is not Stage.CLOSING or state.since_s is None:
        return None
    assert state.masking is not None
    next_s = min(exchange.began_s + state.masking.phase_s, exchange.told_s + AGAIN_S)
    return state.since_s + next_s - state.elapsed_s


def greeted(state: Federation, device: str) -> Step:
    """Send a device that has come back what it is owed, once until it is sent to all again."""
    exchange = state.exchange
    if exchange is None or state.stage is not Stage.CLOSING or device not in exchange.awaited:
        return state, []
    if device not in state.online or device in exchange.greeted:
        return state, []
    state = replace(state, exchange=replace(exchange, greeted=exchange.greeted | {device}))
    return state, [do.SendMasking(device, exchange.owed[device])]


def over(exchange: Exchange, elapsed_s: float) -> tuple[Exchange, Summed | Failed | None]:
    """End a phase; the exchange in its next one, and the outcome if that was the last."""
    after, effects = server.step(exchange.server, PhaseOver(), lambda *_: False)
    owed = {each.device: each.message for each in effects if isinstance(each, SendTo)}
    outcome = next((each for each in effects if isinstance(each, Summed | Failed)), None)
    return replace(
        exchange, server=after, owed=owed, greeted=frozenset(), began_s=elapsed_s, told_s=elapsed_s
    ), outcome


def replayed(state: Federation, exchange: Exchange, device: str, digest: bytes, message: Message) -> Exchange:
    """The exchange after a message that was taken before a restart."""
    assert isinstance(message, MaskingMessage)
    after, _ = server.step(exchange.server, Arrived(device, message), _verify(state))
    return replace(exchange, server=after, kept=exchange.kept | {digest})


def _over_if_complete(state: Federation, now_s: float) -> Step:
    assert state.exchange is not None
    return _over(state, now_s) if not state.exchange.awaited else (state, [])


def _over(state: Federation, now_s: float) -> Step:
    assert state.exchange is not None
    exchange, outcome = over(state.exchange, state.elapsed(now_s))
    match outcome:
        case None:
            state = replace(state, exchange=exchange)
            return state, [do.EndPhase(state.round), *_owed(state)]
        case Summed():
            return _ended(state, outcome, "")
        case Failed(refusal, phase, spent):
            why = f"secure aggregation failed in its phase {phase}: {refusal.detail}"
            if spent:  # devices answer no other attempt of this round
                return _ended(state, None, f"round {state.round}: {why}; its model stays as it was")
            state = replace(state, stage=Stage.COLLECTING, exchange=None)
            state, more = again(state, now_s, why)
            return state, [do.DropExchange(state.round), *more]


def _ended(state: Federation, summed: Summed | None, text: str) -> Step:
    state = replace(state, exchange=None, is_summed=True)
    effects: list[do.Effect] = [do.SaveSum(state.round, summed), do.DropExchange(state.round)]
    if text:
        effects.append(do.Log("error", text))
    return state, [*effects, do.CloseRound(state.round, state.kind)]


def _owed(state: Federation) -> list[do.Effect]:
    assert state.exchange is not None
    owed = state.exchange.owed
    there = (device for device in state.exchange.awaited if device in state.online)
    return [do.SendMasking(device, owed[device]) for device in there]


def _verify(state: Federation) -> Verify:
    return verifier({device: promised.key for device, promised in state.promised.items()})
