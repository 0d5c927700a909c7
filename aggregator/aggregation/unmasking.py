"""The sums of a masked round's attempt, once its devices have revealed what takes the masks off.

With hundreds of devices this takes seconds, so the closing job does it beside the loop. It is a function of
the messages that the ledger holds: after a crash the same sums are found again.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from aggregator.aggregation.job import Remark
from aggregator.core.exchange import Exchange
from aggregator.ledger.records import GroupSum, MaskedSum
from fedge.masking import server
from fedge.masking.messages import Terms
from fedge.masking.server_state import Failed, PhaseOver, Summed


@dataclass(frozen=True, eq=False)
class Unmasked:
    """What an attempt has given."""

    found: MaskedSum
    """Without levels if too few groups have a sum."""
    remarks: tuple[Remark, ...] = ()
    """Lines of the log on groups that have none."""


def unmasked(exchange: Exchange, needed: int, go_on: Callable[[], None], prefix: str = "") -> Unmasked:
    """Take the masks off the sums of the groups, or of the cohort if there is one.

    Args:
        exchange: whose last phase has ended.
        needed: the fewest groups that must have a sum.
        go_on: called before each group; what it raises ends the work.
        prefix: of the lines of the log, as "round 1.7: ".
    """
    sums, failures = list[Summed](), list[Failed]()
    for each in exchange.running:
        go_on()
        _, effects = server.step(each, PhaseOver(), lambda *_: False)
        sums += [effect for effect in effects if isinstance(effect, Summed)]
        failures += [effect for effect in effects if isinstance(effect, Failed)]
    texts = [
        f"secure aggregation failed in its phase {each.phase}: {each.refusal.detail}" for each in failures
    ]
    if len(sums) < needed:
        void = MaskedSum(0, exchange.terms.value_bits, exchange.terms.clip, (), None)
        text = texts[0] if texts else "no group is left"
        return Unmasked(void, ((logging.ERROR, f"{prefix}{text}; its model stays as it was"),))
    left_out = tuple((logging.WARNING, f"{prefix}a group is left out: {text}") for text in texts)
    return Unmasked(_joined(exchange.terms, sums, grouped=len(exchange.servers) > 1), left_out)


def _joined(terms: Terms, sums: Sequence[Summed], *, grouped: bool) -> MaskedSum:
    levels = reduce(np.add, (each.levels for each in sums))
    return MaskedSum(
        weight=sum(each.weight for each in sums),
        value_bits=terms.value_bits,
        clip=terms.clip,
        devices=tuple(sorted(device for each in sums for device in each.devices)),
        levels=levels,
        groups=tuple(GroupSum(each.weight, each.devices, each.levels) for each in sums) if grouped else (),
    )
