"""The number of updates that close a round. Pure.

The share is of the devices that `[federation] devices` lists or, without a list, of those online when an
attempt begins; devices in quarantine do not count. It becomes a number then, rounded up, which holds for that
attempt, also after a restart. A device that declines is online, and so counts. The number is at least two,
because a mean of one update would be that device's own model. So a round that opens while no device is online
needs two. A rule that needs more to resist malicious devices keeps the round open below that
(`fedge.algorithms.protocols.Rule.fewest`).
"""

import math
from collections.abc import Set
from functools import lru_cache
from typing import TYPE_CHECKING

from aggregator.core.parts import Part
from aggregator.phases.phase import phase_of
from fedge.algorithms.registry import RULES

if TYPE_CHECKING:  # `--check` works without the extra, which its maps are of
    from aggregator.core.federation import Federation

FEWEST = 2
"""The smallest number of updates that a share of the devices can mean."""


def quorum_of(
    rule: int | float,
    target: int | None,
    online: Set[str],
    roster: Set[str] | None,
    quarantined: Set[str],
) -> int | None:
    """The number of updates for an attempt that begins now; None: the rule itself is a number.

    Args:
        rule: `[rounds] quorum`.
        target: this many updates close a round at once; no quorum is larger.
        online: the devices online.
        roster: the listed devices, if there is a list.
        quarantined: the devices that do not count.
    """
    if isinstance(rule, int):
        return None
    whole = (online if roster is None else roster) - quarantined
    wanted = max(FEWEST, share_of(rule, len(whole)))
    return wanted if target is None else min(wanted, target)


def next_quorum(state: "Federation") -> int | None:
    """The number of updates that an attempt needs if it begins now; None: the rule is a number."""
    rules = state.rules
    return quorum_of(rules.quorum, rules.target, state.online, state.roster, state.quarantined)


def quorum_now(state: "Federation") -> int:
    """The quorum of the open attempt, as a number; not less than the rule of a round of training needs."""
    fewest = fewest_of(state.parts.rule) if phase_of(state.kind).trains else 0
    if isinstance(state.rules.quorum, int):
        return max(state.rules.quorum, fewest)
    return max(FEWEST if state.quorum is None else state.quorum, fewest)


LESS = "get more devices to take part, or set a smaller [rule] f or another [rule] name"
"""What an operator can do if a rule needs more updates than come."""


def needing(rule: Part) -> str:
    """A rule as the operator types it, with the option that says how many updates it needs.

    >>> needing(Part.of(RULES, "krum", {"f": 3})), needing(Part("mean"))
    ('[rule] name = "krum" with f = 3', '[rule] name = "mean"')
    """
    return f'[rule] name = "{rule.name}"' + (f" with f = {rule.given['f']}" if "f" in rule.given else "")


@lru_cache(maxsize=16)
def fewest_of(rule: Part) -> int:
    """The fewest updates that this rule needs."""
    return rule.made(RULES).fewest


def updates_needed(state: "Federation") -> int:
    """The number of admitted updates that closes the open round; a round that only measures needs none.

    Updates that did not make a model are not enough again: at least one more is needed.
    """
    if not phase_of(state.kind).needs_quorum:
        return 0
    if state.insufficient and not state.untried and state.admitted == len(state.insufficient):
        return max(quorum_now(state), state.admitted + 1)
    return quorum_now(state)


def remedy(rule: int | float, admitted: int, whole: int, of_rule: Part | None = None) -> str:
    """What the operator can do if this many updates do not close a round, in words.

    >>> remedy(0.8, 4, 7)
    '[rounds] quorum = 0.57 would close it with the 4 that came (it is 0.8 of 7)'
    >>> remedy(5, 3, 7)
    '[rounds] quorum = 3 would close it with the 3 that came (it is 5)'
    >>> remedy(0.8, 1, 7)
    'no quorum can close it with fewer than 2 updates; `fedge devices` says why devices decline'
    >>> remedy(0.8, 4, 7, Part.of(RULES, "krum", {"f": 1})).partition(": ")[0]
    'no quorum can close it with fewer than the 5 updates that [rule] name = "krum" with f = 1 needs'

    Args:
        rule: `[rounds] quorum`.
        admitted: the updates that count.
        whole: the number of devices that the share refers to, without those in quarantine.
        of_rule: the `[rule]`; None: it needs no more than one update.
    """
    if of_rule is not None and admitted < fewest_of(of_rule) > FEWEST:
        needs = f"the {fewest_of(of_rule)} updates that {needing(of_rule)} needs: {LESS}"
        return f"no quorum can close it with fewer than {needs}; `fedge devices` says why devices decline"
    if admitted < FEWEST:
        fewest = f"no quorum can close it with fewer than {FEWEST} updates"
        return f"{fewest}; `fedge devices` says why devices decline"
    if isinstance(rule, int):
        value, of = f"{admitted}", ""
    else:
        value, of = f"{math.floor(100 * min(admitted / max(whole, 1), 1.0) + 1e-9) / 100:g}", f" of {whole}"
        if value == "0":  # a hundredth of the devices is more than came
            value = f"{admitted}"
    return f"[rounds] quorum = {value} would close it with the {admitted} that came (it is {rule:g}{of})"


def share_of(share: float, whole: int) -> int:
    """The number of devices for a share, rounded up.

    >>> share_of(0.5, 7), share_of(0.1, 30), share_of(0.7, 10), share_of(1.0, 3)
    (4, 3, 7, 3)
    """
    return math.ceil(share * whole - 1e-9)  # .7 · 10 may be a little more than 7 in floating point
