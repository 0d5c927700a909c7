"""What devices refuse in secure aggregation, and what of theirs is refused. Pure."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from aggregator.core import effects as do
from aggregator.core.federation import Federation, Step
from fedge.frozen import replace
from fedge.masking.refusals import Refusal, Why
from fedge.masking.round_messages import Objection
from fedge.masking.server_state import Effect, RefuseDevice

if TYPE_CHECKING:
    from aggregator.core.exchange import Exchange


def objected(state: Federation, exchange: "Exchange", device: str, message: Objection) -> Step:
    """Wait no longer for a device that refuses what it was sent. It speaks for itself, and once."""
    if message.device != device:
        why = Refusal(Why.FOREIGN_DEVICE, "the objection names another device")
        return state, refusals(state, [RefuseDevice(device, why)])
    if message.terms != exchange.servers[exchange.group_of(device)].digest:
        why = Refusal(Why.OTHER_ATTEMPT, "the objection is to another attempt")
        return state, refusals(state, [RefuseDevice(device, why)])
    if device in exchange.objected:
        return state, []
    text = f"round {state.round}: {device} leaves secure aggregation ({message.why}): {message.detail}"
    state = replace(state, exchange=replace(exchange, objected=exchange.objected | {device}))
    # `why` is the device's own word: as a cause, each new one would be remembered and logged.
    return state, [do.Log("warning", text, device, "masking objection")]


def refusals(state: Federation, effects: Iterable[Effect]) -> list[do.Effect]:
    """What the log says of refused messages."""
    return [
        do.Log(
            "warning",
            f"round {state.round}: what {each.device} sent in secure aggregation is refused "
            f"({each.refusal.why}): {each.refusal.detail}",
            each.device,
            f"masking {each.refusal.why}",
        )
        for each in effects
        if isinstance(each, RefuseDevice)
    ]
