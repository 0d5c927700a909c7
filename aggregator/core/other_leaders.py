"""Another aggregator for the same federation: decide which of two live ones stays. Pure."""

from dataclasses import replace

from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core.announcement import service
from aggregator.core.federation import Federation, Step

PUSHES = 2
"""After losing its connection to the same client id this often, an aggregator has a live rival."""


def service_seen(state: Federation, event: on.ServiceSeen) -> Step:
    """Handle a `service` message: answer it, or give way."""
    seen = event.service
    if seen.instance == state.instance:
        # Our own will of an older connection must not stand as the last word.
        repair: list[do.Effect] = [] if seen.online else [do.PublishService(service(state))]
        return state, repair
    # Each of two that use our name pushes the other out, whose will is then all that is heard of it: so it
    # lives, though its beat is never seen to move. Once may be the end of one that has died since.
    pushes = state.pushed_out >= PUSHES
    if not seen.online and not pushes:
        return replace(state, other_leader=None), [do.PublishService(service(state))]
    # What it said may be left over from before a power cut, or wait in our session: only a beat that moves
    # is alive. Of two that live the smaller instance stays.
    known = state.other_leader is not None and state.other_leader.instance == seen.instance
    alive = pushes or (known and state.other_leader != seen)
    state = replace(state, other_leader=seen if seen.online else None)
    if not alive:
        return state, []
    if seen.instance > state.instance:
        return state, [do.PublishService(service(state))]
    text = (
        "another aggregator serves this federation "
        f"(instance {seen.instance.hex()[:8]}, ledger {seen.ledger.hex()[:8]}): giving way to it"
    )
    return state, [do.Abort(text, gave_way=True)]
