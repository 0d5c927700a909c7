"""Receipts for devices: an update is admitted, refused with a reason, or to be sent again. Pure."""

from typing import Literal

from aggregator.core import effects as do
from aggregator.core.federation import Federation, Step
from aggregator.core.verdicts import Verdict
from fedge.frozen import replace
from fedge.wire.freshness import RoundId
from fedge.wire.messages.fields import detail_of
from fedge.wire.messages.frame import Frame
from fedge.wire.messages.receipt import Receipt
from fedge.wire.reasons import Reason

BUSY_RETRY_S = 5.0
SET_ASIDE = "the federation's operator has set this device aside, so its updates do not count for now"


def receipt_of(
    state: Federation,
    digest: bytes,
    verdict: Literal["admitted", "refused", "retry"],
    reason: Reason | None = None,
    detail: str = "",
    round_id: RoundId | None = None,
    **more: object,
) -> Receipt:
    """The receipt of an update, of the open round or another one."""
    where = round_id or state.round
    return Receipt.model_validate(
        {
            "generation": where.generation,
            "round": where.round,
            "update": digest,
            "verdict": verdict,
            "reason": reason,
            "detail": detail_of(detail),
            **more,
        }
    )


def refuse(state: Federation, device: str, digest: bytes, reason: Reason, detail: str) -> Step:
    """Refuse an update, and answer the device."""
    receipt = receipt_of(state, digest, "refused", reason, detail)
    return state, [
        do.CountRefusal(device, reason),
        do.SendReceipt(device, receipt),
        do.Log(
            "warning", f"round {state.round}: refused what {device} sent ({reason}): {detail}", device, reason
        ),
    ]


def turn_away(state: Federation, device: str, digest: bytes) -> Step:
    """Refuse an update of a device in quarantine, and record that."""
    state = replace(state, turned_away=state.turned_away.put(device))
    return refuse(state, device, digest, Reason.QUARANTINED, SET_ASIDE)


def repeat(state: Federation, device: str, answer: Verdict, round_id: RoundId) -> Step:
    """Send the first verdict on a known update again; nothing is stored."""
    receipt = receipt_of(state, answer.digest, answer.verdict, answer.reason, answer.detail, round_id)
    return state, [do.SendReceipt(device, receipt)]


def busy(state: Federation, device: str, frame: Frame, reason: Reason | None = None) -> Step:
    """Ask a device to send its update again later."""
    receipt = receipt_of(state, frame.id, "retry", reason, after_s=BUSY_RETRY_S)
    return state, [do.SendReceipt(device, receipt)]
