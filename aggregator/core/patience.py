"""Devices that rounds no longer wait for, because they let deadlines pass or send what is refused. Pure.

A round that has its quorum waits for each device that is online, chosen, and has neither answered nor
declined. So a device that only seems to be online could delay every round until its deadline. Therefore a
device is given up after `MISSES` misses in a row. An admitted update ends the row. A miss is one of these:

* Rounds that had their quorum waited for it in vain, half of a deadline in all, in one round or in several:
  it was silent until the deadline, went offline, or declined late. Two periods do not count: the time before
  the connection to the broker broke, because the device may not be back; and, for a device that has gone or
  declined, the time before an update of another one was admitted, because the round waited for that one, too.
* A round waited for it, and its one answer was refused.

Below quorum there are no misses: such a round waits for its deadline anyway, and all devices may be slow.
Nothing else changes for a device that was given up: it is chosen as before, and its update is admitted. It is
awaited once more in the tenth round after its last miss, and in the first round of a new generation. A device
that declines at once, or is offline, misses nothing.
"""

from collections.abc import Iterable

from aggregator.core import effects as do
from aggregator.core.ability import may_count
from aggregator.core.federation import Federation, Step
from aggregator.core.per_device import PerDevice
from aggregator.core.quorum import updates_needed
from aggregator.core.verdicts import Missed
from fedge.frozen import replace
from fedge.wire.freshness import Attempt

MISSES = 2
"""After this many misses in a row a device is given up."""
SHARE = 0.5
"""The share of a deadline after which waiting for a device in vain is a miss."""
AGAIN = 10
"""This many rounds after its last miss it is awaited once more."""
NAMED = 5
"""The largest number of devices named in one line."""


def is_given_up(state: Federation, device: str) -> bool:
    """Whether the open round does not wait for a device."""
    missed = state.missed.get(device)
    if missed is None or missed.times < MISSES:
        return False
    last = missed.last.round
    return state.round.generation == last.generation and state.round.round < last.round + AGAIN


def given_up(state: Federation) -> list[str]:
    """The devices that the open round does not wait for, by name."""
    return [device for device in state.missed if is_given_up(state, device)]


def waited(before: Federation, taken: Step, now_s: float, moved: Iterable[str]) -> Step:
    """Record when devices began to be awaited, and how long those were awaited that no longer are.

    Args:
        before: the state before the step.
        taken: the step.
        now_s: monotonic seconds.
        moved: all devices that may have changed.
    """
    state, effects = taken
    here = (state.round, state.attempt)
    if state.awaited is before.awaited or here != (before.round, before.attempt):
        return taken
    elapsed_s = state.elapsed(now_s)
    came_s, waited_s, left_s = state.came_s, state.waited_s, state.left_s
    for device in moved:
        if device in before.awaited and device not in state.awaited:
            left_s = left_s.put(device, _waited_s(before, device, elapsed_s))
            waited_s = waited_s.drop(device)
        elif device in state.awaited and device not in before.awaited:
            came_s = came_s.put(device, elapsed_s)
            if device in left_s:
                waited_s, left_s = waited_s.put(device, left_s[device]), left_s.drop(device)
    return replace(state, came_s=came_s, waited_s=waited_s, left_s=left_s), effects


def _waited_s(state: Federation, device: str, elapsed_s: float) -> float:
    """How long the open attempt has waited for a device."""
    if device not in state.awaited:
        return state.left_s.get(device, 0.0)
    before_s = state.waited_s.get(device, 0.0)
    return before_s + elapsed_s - state.came_s.get(device, state.waiting_from_s)


def in_vain(state: Federation, now_s: float) -> Step:
    """Handle a closing round: a miss for each device that has not answered it and was awaited too long."""
    elapsed_s, least_s = state.elapsed(now_s), state.rules.deadline_s * SHARE
    vain_s, silent = state.vain_s, list[str]()
    for device in sorted({*state.awaited, *state.left_s}):
        if device in state.answers or device in state.quarantined:
            continue
        spent_s = vain_s.get(device, 0.0) + _waited_s(state, device, elapsed_s)
        vain_s = vain_s.put(device, spent_s) if 0 < spent_s < least_s else vain_s.drop(device)
        if spent_s >= least_s:
            silent.append(device)
    state, effects, counted = _count(replace(state, vain_s=vain_s), silent)
    if not counted:
        return state, effects
    late = "the deadline has passed, and " if elapsed_s >= state.rules.deadline_s else ""
    said = f"round {state.round}: {late}{_listing(counted)} did not answer"
    lost = [device for device in counted if is_given_up(state, device)]
    if lost:
        said += (
            f". After {MISSES} misses in a row rounds no longer wait for {_listing(lost)}, {_until(state)}"
        )
    return state, [*effects, do.Log("warning" if lost else "info", said)]


def answered(state: Federation, device: str) -> Step:
    """Handle the verdict on a device's one answer in the open round."""
    answer, missed = state.answers[device], state.missed.get(device)
    if answer.verdict != "admitted":
        if (before_s := state.waited_s.get(device)) is not None:
            left_s = state.left_s.put(device, before_s)
            state = replace(state, waited_s=state.waited_s.drop(device), left_s=left_s)
        if is_given_up(state, device):
            return state, []
        state, effects, counted = _count(state, [device])
        if counted and is_given_up(state, device):
            said = (
                f"round {state.round}: rounds no longer wait for {device}, whose answer was refused "
                f"({answer.reason}), after {MISSES} misses in a row, {_until(state)}"
            )
            effects.append(do.Log("warning", said, device, "given up"))
        return state, effects
    # The round has waited for this one, too, so those that are gone may have delayed nothing.
    if state.left_s:
        state = replace(state, left_s=PerDevice())
    if device in state.waited_s or device in state.vain_s:
        waited_s, vain_s = state.waited_s.drop(device), state.vain_s.drop(device)
        state = replace(state, waited_s=waited_s, vain_s=vain_s)
    if missed is None:
        return state, []
    state = replace(state, missed=state.missed.drop(device))
    effects = [do.SaveMissed(device, None)]
    if missed.times >= MISSES:
        said = f"round {state.round}: {device} answers; rounds wait for it again"
        effects.append(do.Log("info", said, device, "awaited again"))
    return state, effects


def too_few(state: Federation) -> list[do.Effect]:
    """The log line at the beginning of a round that cannot close without devices that it does not await."""
    able = [device for device in state.online if may_count(state, device)]
    lost = [device for device in able if is_given_up(state, device)]
    others, needed = len(able) - len(lost), updates_needed(state)
    if not lost or others >= needed:
        return []
    said = (
        f"round {state.round}: it does not wait for {_listing(lost)} after {MISSES} misses in a row. The "
        f"other {others} devices online that can take part are fewer than the {needed} updates that "
        "close it, so it stays open until its deadline"
    )
    return [do.Log("warning", said)]


def unheard(state: Federation) -> str:
    """The devices that an attempt below quorum has awaited in vain, for its log line; these are no misses."""
    return f". Online without an answer: {_listing(list(state.awaited))}" if state.awaited else ""


def _count(state: Federation, devices: Iterable[str]) -> tuple[Federation, list[do.Effect], list[str]]:
    """Count a miss for each of these devices that has none yet in the open attempt."""
    here = Attempt(state.round, state.attempt)
    new: dict[str, Missed] = {}
    for device in devices:
        before = state.missed.get(device)
        if before is None or before.last != here:
            new[device] = Missed(min(MISSES, 1 + (before.times if before is not None else 0)), here)
    if new:
        state = replace(state, missed=state.missed.put_all(new))
    return state, [do.SaveMissed(device, missed) for device, missed in new.items()], list(new)


def _until(state: Federation) -> str:
    return (
        f"until an update is admitted or round {state.round._replace(round=state.round.round + AGAIN)} opens"
    )


def _listing(devices: list[str]) -> str:
    more = len(devices) - NAMED
    return ", ".join(devices[:NAMED]) + (f" and {more} more" if more > 0 else "")
