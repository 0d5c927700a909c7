"""The two state machines of a device (link and work) as one table: each event goes to its handlers.

Link: down ─ LinkUp ─► up ─ LinkDown, a clone, unsaved keys, no bytes left ─► down.

Work: Idle ─ RoundAnnounced ─► Fetching ─ Fetched ─► Working ─ Done ─► Reporting ─ ReceiptArrived ─► Idle,
States are skipped where nothing has to be fetched or the update is saved already. The device returns to Idle
whenever it declines, and at each newer round. If the verdict on an earlier update decides about the
algorithm's state, the device asks for it first: Idle ─ RoundAnnounced ─► Asking ─ ReceiptArrived ─► as from
Idle.
"""

from agent.core import events as on
from agent.core.device import Device
from agent.core.lifecycle.announcement import take_announcement
from agent.core.lifecycle.conditions import take_readings
from agent.core.lifecycle.download import KEEP_AGAIN_S, take_content, take_frame
from agent.core.lifecycle.gate import take_verdict
from agent.core.lifecycle.link import take_link_up, take_status, take_unsaved_signers
from agent.core.lifecycle.outcome import Step
from agent.core.lifecycle.question import take_answer
from agent.core.lifecycle.report import take_failure, take_result
from agent.core.lifecycle.schedule import take_tick
from fedge.frozen import replace


def step(state: Device, event: on.Event) -> Step:
    """Return the next state and the effects of one event. An event that does not fit the state changes
    nothing."""
    match event:
        # ── the link ──
        case on.LinkUp():
            return take_link_up(state, event)
        case on.LinkDown():
            return replace(state, link_up=False), []
        case on.MaskingArrived():
            return state, []  # the shell takes it (`agent.shell.masked_rounds`)
        case on.StatusSeen():
            return take_status(state, event)
        case on.SignersUnsaved():
            return take_unsaved_signers(state)
        # ── the work ──
        case on.RoundAnnounced():
            return take_announcement(state, event)
        case on.FrameArrived():
            return take_frame(state, event.now_s), []
        case on.Fetched():
            return take_content(state, event)
        case on.KeepFailed():
            sooner_s = max(0.0, state.follow_s - KEEP_AGAIN_S)
            return replace(state, kept=None, followed_s=event.now_s - sooner_s), []
        case on.Done():
            return take_result(state, event)
        case on.Failed():
            return take_failure(state, event)
        case on.ReceiptArrived():
            return take_answer(state, event)
        # ── beside the work: the model in use, the owner's conditions, time ──
        case on.Judged():
            return take_verdict(state, event)
        case on.UseFailed():
            return replace(state, used=event.used, unfit=state.used), []  # until another one comes
        case on.ConditionsChanged():
            return take_readings(state, event)
        case on.Tick():
            return take_tick(state, event.now_s)
