"""Another aggregator over the same federation: which of two that live stays. Pure."""

from dataclasses import replace

from aggregator import effects as do
from aggregator import events as on
from aggregator.federation import Federation, Step, service

PUSHES = 2
"""Who was pushed out of its connection so often has a living rival."""


def service_seen(state: Federation, event: on.ServiceSeen) -> Step:
    """The `service` topic spoke: answer it, or give way."""
    seen = event.service
    if seen.instance == state.instance:
        # Our own will of an older connection must not stand as the last word.
        repair: list[do.Effect] = [] if seen.online else [do.PublishService(service(state))]
        return state, repair
    # Each of two that use our name pushes the other out, whose will is then all that is heard of it: so it
    # lives, though its beat is never seen to move. Once may be the end of one that has died since.
    pushes = state.pushed_out >= PUSHES
    if not seen.online and not pushes:
        return replace(state, rival=None), [do.PublishService(service(state))]
    # What it said may be left over from before a power cut, or wait in our session: only a beat that moves
    # is alive. Of two that live the smaller instance stays.
    known = state.rival is not None and state.rival.instance == seen.instance
    alive = pushes or (known and state.rival != seen)
    state = replace(state, rival=seen if seen.online else None)
    if not alive:
        return state, []
    if seen.instance > state.instance:
        return state, [do.PublishService(service(state))]
    text = (
        "another aggregator serves this federation "
        f"(instance {seen.instance.hex()[:8]}, ledger {seen.ledger.hex()[:8]}): giving way to it"
    )
    return state, [do.GiveUp(text, gave_way=True)]
