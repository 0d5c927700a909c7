"""What a device says of itself: its retained status, and why it declines."""

from dataclasses import replace

from agent.core import effects as do
from agent.core.device import Device
from agent.core.lifecycle.outcome import Step
from agent.core.limits import Objection
from fedge.wire.freshness import round_of
from fedge.wire.messages.fields import detail_of
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.status import Decline, Status
from fedge.wire.reasons import Reason


def status(state: Device, *, online: bool = True) -> Status:
    """The status to publish; with `online=False` the last words."""
    return Status(
        online=online,
        boot=state.boot,
        connection=state.connection,
        version=state.version,
        samples=state.samples,
        generation=state.seen.round.generation,
        round=state.seen.round.round,
        holds=state.kept,
        declined=state.declined,
        signer=state.signers[-1] if state.signers else None,
        can=tuple(sorted(state.can)),
        uses=state.used if state.gated and state.used != state.kept else None,
    )


def make_decline(manifest: Manifest, reason: Reason, detail: str) -> Decline:
    """The decline of an attempt, for the status."""
    return Decline(
        generation=manifest.generation,
        round=manifest.round,
        attempt=manifest.attempt,
        reason=reason,
        detail=detail_of(detail),
    )


def decline(state: Device, manifest: Manifest, objection: Objection) -> Step:
    """Say why not, once for each reason."""
    if state.declined is not None and state.declined.reason == objection.reason:
        return state, []
    state = replace(state, declined=make_decline(manifest, objection.reason, objection.detail))
    text = f"round {round_of(manifest)}: declined ({objection.reason}): {objection.full}"
    return state, [do.Log("info", text), do.PublishStatus(status(state))]


def holds_the_final_model(state: Device) -> bool:
    """Whether learning is done, and its last model is already the one in the file."""
    manifest = state.manifest
    return (
        manifest is not None
        and manifest.state == "done"
        and manifest.model is not None
        and manifest.model.digest == state.kept
    )
