"""The attempts of a round: which devices each asks, how many updates it needs, and the next one. Pure."""

import hashlib

from aggregator.core import effects as do
from aggregator.core import patience
from aggregator.core.ability import able_of, may_count
from aggregator.core.announcement import announce
from aggregator.core.awaited import counted_anew
from aggregator.core.bad_models import blame
from aggregator.core.claims import is_near, named
from aggregator.core.federation import Federation, Stage, Step
from aggregator.core.per_device import Devices, PerDevice
from aggregator.core.quorum import next_quorum, quorum_now, remedy, updates_needed
from fedge.frozen import replace
from fedge.wire.messages.manifest import Cohort
from fedge.wire.reasons import Reason
from fedge.wire.selection import chosen_of

DRAWS = 32
"""The largest number of draws of the cohort's seed, to find enough devices that are online."""


def draw(state: Federation) -> Step:
    """Begin the first or the next attempt.

    Once a cohort has all devices, further attempts use it too, so that a round that waits for days does not
    take more and more memory.
    """
    attempt = state.attempt + 1 if state.cohorts else 0
    state = replace(state, quorum=next_quorum(state))
    cohorts = state.cohorts
    if not cohorts or cohorts[-1].fraction < 1:
        cohorts = (*cohorts, _cohort(state, attempt))
    turned_away = Devices(state.turned_away & state.quarantined)  # the others are asked again
    state = replace(state, attempt=attempt, cohorts=cohorts, elapsed_s=0.0, since_s=None, announced=False)
    state = replace(state, waiting_from_s=0.0, turned_away=turned_away)
    state = replace(state, came_s=PerDevice(), waited_s=PerDevice(), left_s=PerDevice())
    return state, [do.SaveRound(state.round, state.kind, attempt, cohorts, state.quorum)]


def _cohort(state: Federation, attempt: int) -> Cohort:
    """The cohort of an attempt: larger each time, and drawn until enough of it is online."""
    fraction = min(1.0, state.rules.fraction * 2.0 ** min(attempt, 60))
    able = able_of(state, [device for device in state.online if device not in state.quarantined])
    wanted = state.rules.target or quorum_now(state)
    given_up = set(patience.given_up(state))
    answering = [device for device in able if device not in given_up]
    if len(answering) >= wanted:  # otherwise the cohort is drawn for the others, too
        able = answering
    wanted = min(wanted, len(able))
    best: tuple[int, Cohort] | None = None
    for draw in range(DRAWS if fraction < 1 else 1):
        text = f"{state.seed}|{state.round.generation}|{state.round.round}|{attempt}|{draw}"
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
        cohort = Cohort(fraction=fraction, seed=seed)
        reached = len(chosen_of(cohort, *state.round, attempt, able))
        if best is None or reached > best[0]:
            best = (reached, cohort)
        if reached >= wanted:
            break
    assert best is not None
    return best[1]


def again(state: Federation, now_s: float, why: str, more: str = "") -> Step:
    """Begin the next attempt of the same round: a larger cohort, a new deadline; admitted updates stay."""
    published = state.published  # otherwise it is announced later, after the model
    stage = Stage.PREPARING if state.stage is Stage.PREPARING else Stage.COLLECTING
    state, blaming = blame(counted_anew(state))
    state, effects = draw(replace(state, stage=stage))
    state = replace(state, since_s=now_s if published else None, announced=published)
    if stage is Stage.COLLECTING:
        state = counted_anew(state)
    text = f"round {state.round}: {why}; attempt {state.attempt} begins{more}"
    far = [d for d, answer in sorted(state.answers.items()) if answer.reason is Reason.TOO_FAR]
    if 2 * len(far) > len(state.answers):
        text += (
            f". Of {len(state.answers)} updates {len(far)} were too far from the model. If they are valid, "
            "run `fedge-aggregator new-generation --keep-model`, whose first round has no such bound, or set "
            "a larger [rounds] max_norm and start the aggregator again"
        )
    text += _remedy(state) + _dead_end(state) + _older_than_its_fleet(state)
    effects.append(do.Log("warning", text))
    return state, [*blaming, *effects, *(announce(state, now_s) if published else [])]


def _remedy(state: Federation) -> str:
    """What would close a round below quorum, for its log line after 1, 2, 4, 8 … attempts; else nothing."""
    often = state.attempt
    if (
        often & (often - 1)
        or state.admitted >= updates_needed(state)
        or updates_needed(state) != quorum_now(state)
    ):
        return ""
    whole = (state.online if state.roster is None else state.roster) - state.quarantined
    text = remedy(state.rules.quorum, state.admitted, len(whole), state.parts.rule)
    return f". If no more updates come, {text}"


def _dead_end(state: Federation) -> str:
    """How to leave a round that the devices online cannot close, because updates in it were set aside.

    Devices whose updates were set aside do not answer the round again: they would train to the same update.
    """
    aside = sum(answer.reason is Reason.SET_ASIDE for answer in state.answers.values())
    left = [device for device in state.online if device not in state.answers]
    if not aside or state.admitted + sum(may_count(state, device) for device in left) >= updates_needed(
        state
    ):
        return ""
    return (
        f". {aside} of its updates were set aside, and too few devices online may still answer to close it. "
        "To let all devices answer again, run `fedge-aggregator new-generation --from-round "
        f"{state.round.round - 1}`; the aggregator goes on running (docs/operations.md, A bad model)"
    )


def _older_than_its_fleet(state: Federation) -> str:
    """How to leave a round that stays below quorum, because devices have seen newer rounds than this ledger.

    They take part in no older round. They are too few to prove that the ledger is old (`claims`), so an
    operator decides. Only those are named whose updates would count, and with whom the quorum could be met.
    """
    left = [device for device in state.online if device not in state.answers and may_count(state, device)]
    ahead = {device: seen for device in sorted(left) if (seen := state.devices_ahead.get(device)) is not None}
    ahead = {device: seen for device, seen in ahead.items() if is_near(seen, state.round)}
    able = sum(device not in state.devices_ahead for device in left)
    if not state.admitted + able < updates_needed(state) <= state.admitted + able + len(ahead):
        return ""
    return (
        f". {named(ahead)} say that they have seen newer rounds, so they do not take part, and the others "
        "online are too few to close it. If another aggregator announced these rounds, stop this one, and "
        "start it with the newest copy of its state folder, or once with --new-generation"
    )
