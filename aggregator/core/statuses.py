"""The statuses of devices, which come, go, decline, or have seen newer rounds than this ledger. Pure."""

from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core.ability import learn
from aggregator.core.awaited import declined, noted
from aggregator.core.bad_models import declines
from aggregator.core.claim_counts import claiming, heard
from aggregator.core.claims import (
    OTHERS_MAY_COME,
    Known,
    assess,
    behind_text,
    incredible_text,
    is_near,
    outdated_hint,
)
from aggregator.core.federation import Federation, Stage, Step
from aggregator.core.presence import is_of_key
from fedge.frozen import replace
from fedge.identity.trust import fingerprint
from fedge.wire.freshness import RoundId
from fedge.wire.reasons import PASSING


def status_seen(state: Federation, event: on.StatusSeen) -> Step:
    """Handle a device's status: it may decline, come, go, or have seen a newer round than this ledger."""
    device, status = event.device, event.status
    effects: list[do.Effect] = [do.SaveStatus(device, status)]
    was_awaited, previous = device in state.awaited, state
    state = replace(
        state,
        fleet=state.fleet.put(device),
        voters=state.voters.put(device),
        online=state.online.having(device, member=status.online),
    )
    state = heard(previous, state, device)
    state, more = learn(state, device, status.can)
    effects += more
    no, before = status.declined, state.declined.get(device)
    if no != before:
        without = state.declined.drop(device)
        state = replace(state, declined=without if no is None else without.put(device, no))
    if state.stage is Stage.COLLECTING:
        state = noted(state, device)
    if no is not None and no != before and was_awaited and declined(state, device):
        said = f"round {state.round}: {device} declines ({no.reason}): {no.detail}"
        level = "info" if no.reason in PASSING else "warning"
        effects.append(do.Log(level, said, device, f"declines {no.reason}"))
        state, more = declines(state)
        effects += more
    seen = RoundId(status.generation, status.round)
    believed = device not in state.quarantined
    newer = (
        believed and seen > state.round and is_of_key(status, state.signers[-1] if state.signers else None)
    )
    if newer or device in state.devices_ahead:
        state, behind = _behind(state, device, seen if newer else None)
        effects += behind
    if state.signers and status.signer is not None and status.signer not in state.signers:
        state, more = _untrusting(state, device, status.signer)
        effects += more
    return state, effects


def _behind(state: Federation, device: str, seen: RoundId | None) -> Step:
    """Handle a device's claim of a newer round than this ledger's; None: it withdraws its claim."""
    before = state.devices_ahead.get(device)
    state = claiming(state, device, seen)
    counts = state.claims
    if seen is None or seen == before or counts is None:
        return state, []
    if counts.behind:
        known = Known(state.round, frozenset(state.voters), counts.young, state.roster)
        text = behind_text(assess(known, state.fleet, state.devices_ahead).text)
        more = f". {OTHERS_MAY_COME}" if counts.young else ""
        return state, [do.Abort(text + more, gave_way=False, later=counts.young)]
    listed = state.roster is None or device in state.roster
    if is_near(seen, state.round) or not listed:
        text = f"{device} has seen round {seen}, and this ledger is at {state.round}: it will not take part"
        return state, [do.Log("error", text, device, "ahead")] if before is None else []
    if device in state.incredible:
        return state, []
    state = replace(state, incredible=state.incredible.put(device))
    text = incredible_text({device: seen}, state.round) + outdated_hint(counts.distant, counts.voters)
    return state, [do.Log("warning", text, device, "incredible")]


def _untrusting(state: Federation, device: str, believed: bytes) -> Step:
    """Log once that a device trusts a signing key that was never ours, and so refuses our announcements."""
    if device in state.untrusting_devices:
        return state, []
    text = (
        f"{device} trusts the signing key {fingerprint(believed)}, and this aggregator signs with "
        f"{fingerprint(state.signers[-1])}: the device refuses its announcements. Check whether [signing] "
        "key is an old copy, and which key the device pins"
    )
    return replace(state, untrusting_devices=state.untrusting_devices.put(device)), [
        do.Log("error", text, device, "untrusting")
    ]
