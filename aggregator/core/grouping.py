"""The groups of a masked round's attempt: who is in which, what devices are told, and what may fail. Pure.

The groups follow from random bytes that came with the promises (`fedge.masking.groups`), so a restart and
each device find the same ones.
"""

from collections.abc import Iterable

from aggregator.core import effects as do
from aggregator.core.federation import Federation
from aggregator.core.parts import Part
from aggregator.core.quorum import fewest_of
from fedge.masking.groups import groups_of, terms_of_group
from fedge.masking.messages import Terms
from fedge.masking.round_messages import Call
from fedge.masking.server_state import Failed
from fedge.wire.messages.message import pack

NAMED = 10
"""The most devices of a group that a line of the log names."""


def terms_of_groups(state: Federation, terms: Terms) -> list[Terms]:
    """The terms of each group of an attempt; without groups, those of the cohort alone.

    Args:
        state: with the promises of the cohort's devices.
        terms: of the whole cohort.
    """
    rules = state.masking
    assert rules is not None
    if rules.groups == 1:
        return [terms]
    groups = groups_of(terms, rules.groups, _drawn(state, terms))
    return [terms_of_group(terms, group, rules.threshold(len(group))) for group in groups]


def call_of(state: Federation, terms: Terms, part: Terms) -> Call:
    """What the devices of a group are told of it.

    Args:
        state: with the promises.
        terms: of the whole cohort.
        part: of the group.
    """
    certificates = tuple(state.promised[device].certificate for device in part.cohort)
    if part is terms:
        return Call(terms=pack(part), certificates=certificates)
    drawn = b"".join(_drawn(state, terms).values())
    return Call(terms=pack(part), certificates=certificates, whole=terms.cohort, drawn=drawn)


def _drawn(state: Federation, terms: Terms) -> dict[str, bytes]:
    return {device: state.promised[device].drawn or b"" for device in terms.cohort}


def unfit(state: Federation, drawn: bytes | None) -> str | None:
    """Why a promise with these random bytes cannot count; None: it can."""
    assert state.masking is not None
    if state.masking.groups == 1:
        return None
    if drawn is None:
        return "this round has groups, and the promise brings no random bytes for them: upgrade the device"
    if any(each.drawn == drawn for each in state.promised.values()):
        return "another device has promised with the same bytes, which have to be random"
    return None


def needed(rule: Part) -> int:
    """The fewest groups with a sum: as many as the rule keeps its promise of."""
    return max(1, fewest_of(rule))


def left_out(state: Federation, failed: Iterable[Failed]) -> list[do.Effect]:
    """What the log says of groups that have failed, where the others go on."""
    return [
        do.Log(
            "warning",
            f"round {state.round}: a group is left out: secure aggregation failed in its phase "
            f"{each.phase}: {each.refusal.detail}",
        )
        for each in failed
    ]
