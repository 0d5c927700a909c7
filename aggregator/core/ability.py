"""Which devices can do what a round requires; no other is awaited or admitted. Pure."""

from collections.abc import Iterable

from aggregator.core import effects as do
from aggregator.core.federation import Federation, Stage, Step
from aggregator.core.quorum import updates_needed
from aggregator.phases.phase import phase_of
from fedge.algorithms.plan import Plan
from fedge.frozen import replace
from fedge.latest import latest_of
from fedge.wire.capabilities import BASE, BUFFERED, GROUPS, lacking, of_protection, required, told
from fedge.wire.models import FLOAT32
from fedge.wire.reasons import Reason

NAMED = 5
"""The largest number of devices named in one line."""


def requirements(state: Federation, kind: str | None = None) -> frozenset[str]:
    """What a round requires of a device, as names of `fedge.wire.capabilities`.

    Args:
        state: the state, with the plan and the task.
        kind: the name of the round's phase; None: that of the open round.
    """
    return _of_open(state) if kind is None else _of_kind(state, kind)


@latest_of("kind", "protection", "masking", "plan", "task_message", "rules", "model_codec", "form")
def _of_open(state: Federation) -> frozenset[str]:
    return _of_kind(state, state.kind)


def _of_kind(state: Federation, kind: str) -> frozenset[str]:
    task, buffered = state.task_message, state.rules.max_staleness is not None
    codecs = (state.model_codec, state.form.codec if state.form is not None else FLOAT32)
    found = required(kind, plan_to_tell(kind, state.plan), task.network, task.rules)
    found |= of_protection(state.protection)
    if kind == "masked" and state.masking is not None and state.masking.groups > 1:
        found |= {GROUPS}
    if phase_of(kind).trains or kind == "evaluate":  # from the first model on, which is not coded yet
        found |= {f"model:{codec}" for codec in codecs if codec != FLOAT32}
    return found | {BUFFERED} if buffered and phase_of(kind).trains else found


def plan_to_tell(kind: str, plan: Plan) -> Plan | None:
    """The plan to announce in a round of this kind; None: devices need none.

    When the last model is measured, devices that have models of their own make them of it.
    """
    return plan if phase_of(kind).trains or (kind == "evaluate" and plan.adapts) else None


def lacks(state: Federation, device: str) -> tuple[str, ...] | None:
    """What the open round requires and a device lacks; None: its capabilities are unknown, and needed."""
    can = state.abilities.get(device)
    found = lacking(requirements(state), BASE if can is None else can)
    return None if found and can is None else found


def able_of(state: Federation, devices: Iterable[str]) -> list[str]:
    """Those of some devices that lack nothing that the open round requires, in their order."""
    needed, can = requirements(state), state.abilities.get
    return [device for device in devices if needed <= can(device, BASE)]


def may_count(state: Federation, device: str) -> bool:
    """Whether an update of a device can count in the open round, if its contents are valid."""
    if device in state.quarantined or device in state.turned_away:
        return False
    return (state.roster is None or device in state.roster) and lacks(state, device) == ()


def learn(state: Federation, device: str, said: tuple[str, ...] | None) -> Step:
    """Handle a device's capabilities; log a warning if it lacks some that the open round requires."""
    can = told(said)
    before = state.abilities.get(device)
    if before == can:
        return state, []
    state = replace(state, abilities=state.abilities.put(device, can))
    if state.stage is not Stage.COLLECTING or not (names := lacking(requirements(state), can)):
        return state, []
    if not phase_of(state.kind).needs_quorum:  # it closes without this device, too
        return state, []
    text = f"round {state.round}: {device} cannot do {', '.join(names)}, so it cannot take part"
    return state, [do.Log("warning", text, device, Reason.UNSUPPORTED)]


def unable(state: Federation) -> list[do.Effect]:
    """The log line at the beginning of a round on online devices that cannot do what it requires."""
    found = {device: lack for device in state.online if (lack := lacks(state, device))}
    if not found or not phase_of(state.kind).needs_quorum:  # the round closes without them, too
        return []
    names = ", ".join(sorted({name for each in found.values() for name in each}))
    devices = ", ".join(list(found)[:NAMED]) + (", …" if len(found) > NAMED else "")
    text = (
        f"round {state.round}: {len(found)} of {len(state.online)} devices online cannot do {names}: "
        f"{devices}; they cannot take part until they are upgraded"
    )
    able, needed = sum(may_count(state, device) for device in state.online), updates_needed(state)
    if able < needed:
        text += f". The round needs {needed} updates to close, and only {able} devices online can take part"
    return [do.Log("warning", text)]
