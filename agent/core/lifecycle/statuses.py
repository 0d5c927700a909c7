"""The device's retained status, and the reasons why it declines."""

from agent.core import effects as do
from agent.core.device import Device
from agent.core.lifecycle.outcome import Step
from agent.core.limits import Objection
from agent.core.protection import withholds
from fedge.frozen import replace
from fedge.wire.freshness import round_of
from fedge.wire.messages.fields import detail_of
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.status import Decline, Status
from fedge.wire.reasons import Reason


def status(state: Device, *, online: bool = True) -> Status:
    """Return the status to publish; `online=False` gives the one for a device that is offline."""
    return Status(
        online=online,
        boot=state.boot,
        connection=state.connection,
        version=state.version,
        samples=None if withholds(state.trust, state.manifest) else state.samples,
        generation=state.seen.round.generation,
        round=state.seen.round.round,
        holds=state.kept,
        declined=state.declined,
        signer=state.signers[-1] if state.signers else None,
        can=tuple(sorted(state.can)),
        uses=state.used if state.gated and state.used != state.kept else None,
    )


def make_decline(manifest: Manifest, reason: Reason, detail: str) -> Decline:
    """Return the decline of an attempt, as the status reports it."""
    return Decline(
        generation=manifest.generation,
        round=manifest.round,
        attempt=manifest.attempt,
        reason=reason,
        detail=detail_of(detail),
    )


def decline(state: Device, manifest: Manifest, objection: Objection) -> Step:
    """Decline an attempt. The reason is logged and published once."""
    if state.declined is not None and state.declined.reason == objection.reason:
        return state, []
    state = replace(state, declined=make_decline(manifest, objection.reason, objection.detail))
    text = f"round {round_of(manifest)}: declined ({objection.reason}): {objection.full}"
    return state, [do.Log("info", text), do.PublishStatus(status(state))]


def holds_the_final_model(state: Device) -> bool:
    """Whether learning has ended and the model file already holds the last model."""
    manifest = state.manifest
    return (
        manifest is not None
        and manifest.state == "done"
        and manifest.model is not None
        and manifest.model.digest == state.kept
    )
