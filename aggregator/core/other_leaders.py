"""Another aggregator for the same federation: decide which of two running ones stays. Pure."""

from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core.announcement import service
from aggregator.core.federation import Federation, Step
from fedge.frozen import replace

PUSHES = 2
"""An aggregator that has lost its connection to the same client id this often has a running rival."""


def service_seen(state: Federation, event: on.ServiceSeen) -> Step:
    """Handle a `service` message: answer it, or give way."""
    seen = event.service
    if seen.instance == state.instance:
        # The last will of an older connection of ours must not stay at the broker.
        repair: list[do.Effect] = [] if seen.online else [do.PublishService(service(state))]
        return state, repair
    # Two aggregators with the same client id end each other's connection, and each only sees the other's last
    # will. So the other one is running, although its beat never moves. A single time may be one that has
    # ended since.
    pushes = state.pushed_out >= PUSHES
    if not seen.online and not pushes:
        return replace(state, other_leader=None), [do.PublishService(service(state))]
    # Its message may be old: from before a power cut, or queued in our session. Only a beat that moves proves
    # that it is running. Of two running ones the smaller instance stays.
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
