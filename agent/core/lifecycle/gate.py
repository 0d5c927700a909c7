"""The gate before `predict`: decides when a kept model is measured, and whether it is used."""

from agent.core import effects as do
from agent.core import events as on
from agent.core.device import Device
from agent.core.lifecycle.announcement import made_from
from agent.core.lifecycle.outcome import Step
from agent.core.lifecycle.statuses import status
from fedge.frozen import replace


def may_judge(state: Device) -> bool:
    """Whether there is a gate, and the kept model was not measured for it and is in memory with its task."""
    if not state.gated or state.kept is None or state.kept != state.model or state.judging is not None:
        return False
    manifest = state.manifest
    whole = manifest is None or made_from(manifest) == (state.task, state.model)
    return whole and state.kept not in (state.used, state.unfit)


def judge(state: Device) -> Step:
    """Let the kept model be measured. The first one is used at once, as there is none to compare it with.

    This happens in a tick of its own. In an earlier step the effect that keeps the model may still fail.
    """
    if not may_judge(state) or state.kept is None:
        return state, []
    if state.used is None:
        return replace(state, used=state.kept), [do.UseModel(state.kept)]
    return replace(state, judging=state.kept), [do.JudgeModel(state.kept)]


def take_verdict(state: Device, event: on.Judged) -> Step:
    """Use the model that was measured, or leave the former one in use, and log which one is used."""
    if event.digest != state.judging:
        return state, []
    before = status(state).uses
    state = replace(state, judging=None)
    effects: list[do.Effect] = []
    if event.accepted:
        state = replace(state, used=event.digest, unfit=None)
        effects += [do.UseModel(event.digest), do.Log("info", f"a new model is used: {event.why}")]
    else:
        state = replace(state, unfit=event.digest)
        text = f"a new model is not used, the former one stays in use: {event.why}"
        effects.append(do.Log("warning", text))
    if status(state).uses != before or not event.accepted:
        effects.append(do.PublishStatus(status(state)))
    return state, effects
