"""Handles the answer about an earlier update. With its verdict the device decides on the newest round."""

from agent.core import events as on
from agent.core.device import Asking, Device, Idle
from agent.core.lifecycle.buffering import is_free
from agent.core.lifecycle.decision import decide
from agent.core.lifecycle.outcome import Step
from agent.core.lifecycle.report import take_receipt, undecided


def take_answer(state: Device, event: on.ReceiptArrived) -> Step:
    """Take a receipt; if it answers what was asked, go on with the round that has waited for it.

    A receipt that is not final (this device is quarantined, or that ledger is an older copy) leaves the
    question to the next announcement. With buffered rounds the newest round waits for the receipt as well.
    """
    before, asked = state, isinstance(state.work, Asking)
    state, effects = take_receipt(state, event)
    known = state.manifest is not None and not undecided(state, state.manifest)
    if (asked or is_free(before, state)) and known and isinstance(state.work, Idle):
        state, more = decide(state, event.now_s)
        effects += more
    return state, effects
