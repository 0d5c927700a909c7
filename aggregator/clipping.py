"""Whether standardized inputs are clipped: decided once, at the closing of the survey. Pure.

The bound is part of the network (`fedge.nn.spec.Standardize`), and a device of 0.2.0 cannot compute it. So it
is put in only if every device can that the federation knows: those whose surveys count, and all others that
may count and have told their status, now or to the ledger. One that says nothing of the kind is one of 0.2.0.
"""

from typing import TYPE_CHECKING

from aggregator.survey import CLIP
from fedge.capabilities import BASE

if TYPE_CHECKING:  # `--check` works without the extra, which its maps are of
    from aggregator.federation import Federation

NAMED = 5
"""Devices that one line names at most."""


def unable(state: "Federation") -> tuple[str, ...]:
    """The devices of the federation that cannot clip, in order: a function of sets."""
    known = (state.counted | state.abilities.keys()) - state.quarantined
    members = known if state.roster is None else known & state.roster
    return tuple(sorted(device for device in members if CLIP not in state.abilities.get(device, BASE)))


def left_out(devices: tuple[str, ...]) -> str:
    """What an operator is told of inputs that are not clipped because of some devices."""
    more = len(devices) - NAMED
    names = ", ".join(devices[:NAMED]) + (f" and {more} more" if more > 0 else "")
    return (
        f"inputs are not clipped in this generation ([model] clip): {names} cannot do {CLIP}, which "
        "came after Fedge 0.2.0. So one impossible number in the data can spoil a round. Upgrade them, or "
        "set aside those that are gone (`fedge quarantine`), and begin anew with "
        "`fedge-aggregator new-generation`"
    )
