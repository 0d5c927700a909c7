"""A device's group in a masked round with groups: it finds the groups itself, from what the server tells."""

from agent.core.state import MaskedUpdate
from fedge.masking.groups import groups_of
from fedge.masking.keys import pieces_of
from fedge.masking.messages import Terms
from fedge.masking.refusals import Refusal, Why
from fedge.masking.round_messages import DRAWN_BYTES, Call
from fedge.wire.messages.protection import Masks


def unfit(terms: Terms, call: Call, asked: Masks, update: MaskedUpdate, device: str) -> Refusal | None:
    """Why the terms are not those of this device's group; None: they are, or no groups were promised.

    That its own bytes are among those told makes the groups random, whoever chose the others.

    Args:
        terms: of the attempt, for one group.
        call: which brought them.
        asked: what the announcement promised.
        update: whose promise brought this device's own bytes.
        device: this one.
    """
    groups = asked.groups or 1
    if (groups > 1) != (call.whole is not None and call.drawn is not None):
        return Refusal(Why.OTHER_TERMS, f"{groups} groups were announced, and the call has others")
    if call.whole is None or call.drawn is None:
        return None
    whole, drawn = call.whole, pieces_of(call.drawn, DRAWN_BYTES)
    if list(whole) != sorted(set(whole)) or len(drawn) != len(whole) or device not in whole:
        return Refusal(Why.MALFORMED, "the cohort of all groups, or its random bytes, are no such list")
    if len(whole) < groups * asked.cohort:
        few = f"{len(whole)} devices in {groups} groups; {asked.cohort} in each were promised"
        return Refusal(Why.SMALL_COHORT, few)
    told = dict(zip(whole, drawn, strict=True))
    if told[device] != update.drawn:
        return Refusal(Why.OTHER_GROUP, "the random bytes of this device are not those that it has drawn")
    try:
        found = groups_of(terms.model_copy(update={"cohort": whole}), groups, told)
    except ValueError as error:
        return Refusal(Why.OTHER_GROUP, str(error))
    if terms.cohort not in found:
        return Refusal(
            Why.OTHER_GROUP, "these devices are none of the groups that follow from the random bytes"
        )
    return None
