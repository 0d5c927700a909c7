"""Whether inputs are clipped, and may be float64: decided once, when the survey closes. Pure.

The bound is part of the network (`fedge.nn.spec.Standardize`), and a device of 0.2.0 cannot compute it. So it
is put in only if every known device can: those whose surveys count, and all others that may count and have
sent a status, now or before a restart. A device that lists no capabilities counts as one of 0.2.0. The same
holds for inputs in float64, if a column is too fine for float32.
"""

from typing import TYPE_CHECKING

from aggregator.aggregation.survey import CLIP, REST
from fedge.wire.capabilities import BASE

if TYPE_CHECKING:  # so that `--check` needs no extra; its maps do
    from aggregator.core.federation import Federation

NAMED = 5
"""The largest number of devices named in one line."""


def unable(state: "Federation", name: str = CLIP) -> tuple[str, ...]:
    """The devices of the federation that lack this capability, by name: a function of sets."""
    known = (state.counted | state.abilities.keys()) - state.quarantined
    members = known if state.roster is None else known & state.roster
    return tuple(sorted(device for device in members if name not in state.abilities.get(device, BASE)))


def left_out(devices: tuple[str, ...]) -> str:
    """The log line on inputs that are not clipped because of some devices."""
    return (
        f"inputs are not clipped in this generation ([model] clip): {_names(devices)} cannot do {CLIP}, "
        "which came after Fedge 0.2.0. So one impossible number in the data can make a round useless. "
        "Upgrade these devices, or set aside those that are gone (`fedge quarantine`), and then run "
        "`fedge-aggregator new-generation`"
    )


def narrowed(columns: tuple[str, ...], devices: tuple[str, ...]) -> str:
    """The log line on columns too fine for float32 that stay in it because of some devices."""
    return (
        "inputs are float32 in this generation, which keeps only a few different values of the columns "
        f"{_names(tuple(map(repr, columns)))}: {_names(devices)} cannot do {REST}, "
        "which came after Fedge 0.2.0. Upgrade these devices, or set aside those that are gone "
        "(`fedge quarantine`), and then run `fedge-aggregator new-generation`; or subtract a constant from "
        "these columns on all devices"
    )


def _names(all_of_them: tuple[str, ...]) -> str:
    more = len(all_of_them) - NAMED
    return ", ".join(all_of_them[:NAMED]) + (f" and {more} more" if more > 0 else "")
