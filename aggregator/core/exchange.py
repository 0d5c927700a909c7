"""The exchange of a masked round: with the devices that promised an update, their sum is found. Pure.

It takes place while the round is CLOSING. `fedge.masking.server` decides; here its messages become effects.
What the present phase owes a device is sent again until the device has answered, and when it comes back.
Every event that it takes is saved before anything that follows from it is sent, so a restart goes on in the
same phase.

When the last phase has ended, the round closes: to take the masks off may take seconds, so the closing job
does it (`aggregator.aggregation.unmasking`), and the loop goes on. With groups (`aggregator.core.grouping`)
each group has masks of its own, and all are in the same phase; a group that fails is left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core import grouping
from aggregator.core.attempts import again
from aggregator.core.federation import Federation, Stage, Step
from aggregator.core.masking_refusals import objected, refusals
from fedge.frozen import replace
from fedge.identity.certified_keys import verifier
from fedge.masking import server
from fedge.masking.keys import Verify
from fedge.masking.messages import MAX_DEVICES, MaskingMessage, Terms
from fedge.masking.round_messages import Objection
from fedge.masking.server_state import Arrived, Failed, Phase, PhaseOver, SendTo, Server
from fedge.wire.messages.message import Message, pack
from fedge.wire.reasons import Reason, Rejection

AGAIN_S = 5.0
"""After so many seconds a device that has not answered is sent its message again."""

LONGEST_PAUSE_S = 60.0
"""The longest pause before a further attempt."""


@dataclass(frozen=True)
class Exchange:
    """One attempt of secure aggregation."""

    terms: Terms
    """Of the whole cohort."""
    servers: tuple[Server, ...]
    """One for each group; without groups there is one for the cohort."""
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
    revealed: bool = False
    """The last phase has ended, and the closing job finds the sums."""

    @property
    def awaited(self) -> tuple[str, ...]:
        """The devices that may still answer in this phase."""
        if self.revealed:
            return ()
        missing = (each.terms.cohort[at] for each in self.servers for at in each.missing)
        return tuple(sorted(device for device in missing if device not in self.objected))

    @property
    def running(self) -> tuple[Server, ...]:
        """The groups that have not failed."""
        return tuple(each for each in self.servers if each.phase is not Phase.ENDED)

    def group_of(self, device: str) -> int:
        """The number of a device's group; 0 if it is in none."""
        groups = (at for at, each in enumerate(self.servers) if device in each.terms.cohort)
        return next(groups, 0)


def candidates(state: Federation) -> tuple[str, ...]:
    """The devices that an attempt would begin with: those online that have promised an update."""
    found = (device for device in state.promised if device in state.online and device in state.counted)
    most = MAX_DEVICES if state.masking is None else state.masking.most
    return tuple(sorted(set(found) - state.quarantined))[:most]


def pause_s(attempt: int) -> float:
    """How long an attempt waits before it calls devices: what made two fail will hardly be over at once.

    >>> [pause_s(attempt) for attempt in (0, 1, 2, 3, 4, 1_000)]
    [0.0, 0.0, 5.0, 10.0, 20.0, 60.0]
    """
    return 0.0 if attempt < 2 else min(LONGEST_PAUSE_S, AGAIN_S * 2.0 ** min(attempt - 2, 10))


def can_begin(state: Federation, needed: int) -> bool:
    """Whether enough devices are there."""
    assert state.masking is not None
    return len(candidates(state)) >= max(needed, state.masking.cohort * state.masking.groups)


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
    parts = grouping.terms_of_groups(state, terms)
    owed = {device: grouping.call_of(state, terms, part) for part in parts for device in part.cohort}
    return Exchange(terms, tuple(server.begin(part) for part in parts), owed, elapsed_s, elapsed_s)


def resumed(state: Federation, now_s: float) -> Step:
    """Go on after a restart: send again what the present phase owes, or end it if all had answered."""
    assert state.exchange is not None
    elapsed_s = state.elapsed(now_s)
    exchange = replace(state.exchange, began_s=elapsed_s, told_s=elapsed_s)
    state = replace(state, stage=Stage.CLOSING, exchange=exchange)
    if exchange.revealed:
        return state, [do.CloseRound(state.round, state.kind)]
    state, effects = _over_if_complete(state, now_s)
    return state, effects or _owed(state)


def taken(state: Federation, event: on.MaskingRead) -> Step:
    """Take a device's message; end the phase if it was the last one."""
    device, digest, message = event.device, event.digest, event.message
    dropped: list[do.Effect] = [do.DropSpool(device, digest)]
    exchange = state.exchange
    if exchange is None or exchange.revealed or state.stage is not Stage.CLOSING:
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
    group = exchange.group_of(device)
    after, effects = server.step(exchange.servers[group], Arrived(device, message), _verify(state))
    if after is exchange.servers[group]:
        return state, [*dropped, *refusals(state, effects)]
    state = replace(state, exchange=_with(exchange, group, after, digest))
    state, more = _over_if_complete(state, event.now_s)
    return state, [do.KeepMasking(state.round, device, digest), *more]


def ticked(state: Federation, now_s: float) -> Step:
    """End a phase whose time is over; send again what was not answered."""
    exchange = state.exchange
    if exchange is None or exchange.revealed or state.stage is not Stage.CLOSING or state.since_s is None:
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
    if exchange is None or exchange.revealed or state.stage is not Stage.CLOSING or state.since_s is None:
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


def over(exchange: Exchange, elapsed_s: float) -> tuple[Exchange, list[Failed]]:
    """End a phase; the exchange in its next one, and why groups have failed in this one."""
    exchange = replace(exchange, greeted=frozenset(), began_s=elapsed_s, told_s=elapsed_s)
    if all(each.phase is Phase.UNMASK for each in exchange.running):
        return replace(exchange, revealed=True, owed={}), []
    stepped = [server.step(each, PhaseOver(), lambda *_: False) for each in exchange.servers]
    effects = [effect for _, told in stepped for effect in told]
    owed = {each.device: each.message for each in effects if isinstance(each, SendTo)}
    failed = [each for each in effects if isinstance(each, Failed)]
    return replace(exchange, servers=tuple(each for each, _ in stepped), owed=owed), failed


def replayed(state: Federation, exchange: Exchange, device: str, digest: bytes, message: Message) -> Exchange:
    """The exchange after a message that was taken before a restart.

    Raises:
        ValueError: it does not belong to this exchange: what groups and thresholds follow from has changed.
    """
    assert isinstance(message, MaskingMessage)
    group = exchange.group_of(device)
    after, _ = server.step(exchange.servers[group], Arrived(device, message), _verify(state))
    if after is exchange.servers[group]:
        raise ValueError(f"what {device} sent is of another attempt")
    return _with(exchange, group, after, digest)


def _with(exchange: Exchange, group: int, after: Server, digest: bytes) -> Exchange:
    servers = (*exchange.servers[:group], after, *exchange.servers[group + 1 :])
    return replace(exchange, servers=servers, kept=exchange.kept | {digest})


def _over_if_complete(state: Federation, now_s: float) -> Step:
    assert state.exchange is not None
    return _over(state, now_s) if not state.exchange.awaited else (state, [])


def _over(state: Federation, now_s: float) -> Step:
    assert state.exchange is not None
    assert state.masking is not None
    exchange, failed = over(state.exchange, state.elapsed(now_s))
    if exchange.revealed:
        closing = do.CloseRound(state.round, state.kind)
        return replace(state, exchange=exchange), [do.EndPhase(state.round), closing]
    if len(exchange.running) >= grouping.needed(state.parts.rule):
        state = replace(state, exchange=exchange)
        said = grouping.left_out(state, failed)
        return state, [do.EndPhase(state.round), *said, *_owed(state)]
    refusal, phase, spent = failed[0].refusal, failed[0].phase, failed[0].spent
    why = f"secure aggregation failed in its phase {phase}: {refusal.detail}"
    if spent:  # devices answer no other attempt of this round
        return _ended(state, f"round {state.round}: {why}; its model stays as it was")
    state = replace(state, stage=Stage.COLLECTING, exchange=None)
    state, more = again(state, now_s, why)
    return state, [do.DropExchange(state.round), *more]


def _ended(state: Federation, text: str) -> Step:
    """Close the round without a sum."""
    state = replace(state, exchange=None, is_summed=True)
    dropped = do.DropExchange(state.round)
    closing = do.CloseRound(state.round, state.kind)
    return state, [do.SaveNoSum(state.round), dropped, do.Log("error", text), closing]


def _owed(state: Federation) -> list[do.Effect]:
    assert state.exchange is not None
    owed = state.exchange.owed
    there = (device for device in state.exchange.awaited if device in state.online)
    return [do.SendMasking(device, owed[device]) for device in there]


def _verify(state: Federation) -> Verify:
    return verifier({device: promised.key for device, promised in state.promised.items()})
