"""Reasons of refusals: one list for the aggregator, the devices and the kernel."""

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why something was refused or declined: the text is for people, the name for programs."""

    MALFORMED = "malformed"
    UNKNOWN_VERSION = "unknown_version"
    OVERSIZE = "oversize"
    TOO_MANY_PARTIAL = "too_many_partial"
    FOREIGN_DEVICE = "foreign_device"
    UNKNOWN_DEVICE = "unknown_device"
    NOT_CHOSEN = "not_chosen"
    OTHER_GENERATION = "other_generation"
    STALE_ROUND = "stale_round"
    FUTURE_ROUND = "future_round"
    FORGOTTEN = "forgotten"
    """The update belongs to a round whose verdicts the ledger no longer has; it may have counted."""
    ROUND_CLOSED = "round_closed"
    WRONG_KIND = "wrong_kind"
    WRONG_BASE = "wrong_base"
    WRONG_LENGTH = "wrong_length"
    NOT_FINITE = "not_finite"
    TOO_FAR = "too_far"
    """The update is farther from its base than allowed."""
    SET_ASIDE = "set_aside"
    """The update was admitted, but would have made the mean unusable."""
    BAD_SAMPLE_COUNT = "bad_sample_count"
    IMPLAUSIBLE = "implausible"
    ALREADY_ANSWERED = "already_answered"
    UNSUPPORTED = "unsupported"
    """The round requires a name that this program, or this device, does not know."""
    QUARANTINED = "quarantined"
    """The operator has quarantined the device: `fedge quarantine`."""
    # A device refuses an announcement (see fedge/identity/trust.py):
    UNSIGNED = "unsigned"
    BAD_SIGNATURE = "bad_signature"
    REVOKED_SIGNER = "revoked_signer"
    # A device declines:
    TOO_FEW_SAMPLES = "too_few_samples"
    WRONG_INPUT = "wrong_input"
    BAD_DATA = "bad_data"
    TRAINING_DIVERGED = "training_diverged"
    FAILED = "failed"
    OTHER = "other"
    """A reason of a newer program that this one does not know; the text beside it explains it."""
    # A device's owner does not allow it:
    TOO_MANY_EPOCHS = "too_many_epochs"
    TOO_LONG = "too_long"
    TOO_MUCH_STATE = "too_much_state"
    TOO_MUCH_MEMORY = "too_much_memory"
    UNKNOWN_SOURCE = "unknown_source"
    FORBIDDEN_SOURCE = "forbidden_source"
    UNPROTECTED = "unprotected"
    """The round promises less than the device's owner requires: privacy, masks, or a number of devices."""
    # A device's owner does not allow it now:
    OUTSIDE_HOURS = "outside_hours"
    CLOCK_NOT_SYNCHRONISED = "clock_not_synchronised"
    ON_BATTERY = "on_battery"
    TOO_HOT = "too_hot"
    TOO_BUSY = "too_busy"
    OVER_BYTE_BUDGET = "over_byte_budget"
    CANNOT_MEASURE = "cannot_measure"


PASSING = frozenset(
    {
        Reason.OUTSIDE_HOURS,
        Reason.ON_BATTERY,
        Reason.TOO_HOT,
        Reason.TOO_BUSY,
        Reason.OVER_BYTE_BUDGET,
    }
)
"""Reasons that pass by themselves, without anybody's action."""


@dataclass(frozen=True)
class Rejection:
    """A refusal; `detail` says what was found, and what is accepted."""

    reason: Reason
    detail: str
