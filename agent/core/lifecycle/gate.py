"""The gate before `predict`: when a kept model is measured, and whether it is used."""

from dataclasses import replace

from agent.core import effects as do
from agent.core import events as on
from agent.core.device import Device
from agent.core.lifecycle.announcement import made_from
from agent.core.lifecycle.outcome import Step
from agent.core.lifecycle.statuses import status


def may_judge(state: Device) -> bool:
    """Whether there is a gate for which the kept model, at hand with its task, was not measured yet."""
    if not state.gated or state.kept is None or state.kept != state.model or state.judging is not None:
        return False
    manifest = state.manifest
    whole = manifest is None or made_from(manifest) == (state.task, state.model)
    return whole and state.kept not in (state.used, state.unfit)


def judge(state: Device) -> Step:
    """Have the kept model measured; the first one is used at once, for there is none to compare it with.

    It waits for a tick of its own: an effect before this one may fail, and the model not be kept at all.
    """
    if not may_judge(state) or state.kept is None:
        return state, []
    if state.used is None:
        return replace(state, used=state.kept), [do.UseModel(state.kept)]
    return replace(state, judging=state.kept), [do.JudgeModel(state.kept)]


def take_verdict(state: Device, event: on.Judged) -> Step:
    """Use the model that was measured or leave the former one in use, and log which."""
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
        text = f"a new model is not used, the one before stays in use: {event.why}"
        effects.append(do.Log("warning", text))
    if status(state).uses != before or not event.accepted:
        effects.append(do.PublishStatus(status(state)))
    return state, effects
